"""The network against the paper's table, and against a plain rewrite that shares no code with it.

The rewrite is functional: it takes nothing from the package but the weights, by name.
"""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models.families.mobilevit import network as mobilevit
from mvdeploy.models.families.mobilevit.attention import Attention
from mvdeploy.records import PatchSize
from mvdeploy.records.spec import parse_patches

VARIANTS = ("mobilevit_xxs", "mobilevit_xs", "mobilevit_s")
CONFIGS = ("2,2,2", "8,4,2", "3,3,3", "4,4,4", "4x2,2,2")


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def patched(network: nn.Module, config: str) -> nn.Module:
    network = copy.deepcopy(network)
    assert isinstance(network, mobilevit.MobileViT)
    network.set_patches(parse_patches(config))
    return network


# Sizes


@pytest.mark.parametrize(
    ("model", "count"),
    [("mobilevit_xxs", 1_272_024), ("mobilevit_xs", 2_317_848), ("mobilevit_s", 5_578_632)],
)
def test_parameter_count(built, model: str, count: int) -> None:
    assert models.parameter_count(built(model)) == count


TABLE = {
    "mobilevit_xxs": (16, 16, 24, 48, 64, 80, 320),
    "mobilevit_xs": (16, 32, 48, 64, 80, 96, 384),
    "mobilevit_s": (16, 32, 64, 96, 128, 160, 640),
}
STAGES = ("conv_1", "layer_1", "layer_2", "layer_3", "layer_4", "layer_5", "conv_1x1_exp")


@pytest.mark.parametrize("model", VARIANTS)
def test_stages_have_the_shapes_of_the_paper(built, model: str) -> None:
    network, shapes = built(model), {}
    hooks = [
        network.get_submodule(stage).register_forward_hook(
            lambda m, args, out, stage=stage: shapes.update({stage: tuple(out.shape)})
        )
        for stage in STAGES
    ]
    with torch.inference_mode():
        network(images(1, 3, 256, 256))
    for hook in hooks:
        hook.remove()
    sides = (128, 128, 64, 32, 16, 8, 8)
    expected = zip(STAGES, TABLE[model], sides, strict=True)
    assert shapes == {stage: (1, c, side, side) for stage, c, side in expected}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", [(128, 128), (96, 160), (100, 75), (240, 200), (65, 257)])
def test_any_size_and_patches_give_logits(built, config: str, size: tuple[int, int]) -> None:
    if config == "4,4,4" and size in ((100, 75), (96, 160), (65, 257)):
        with pytest.raises(UsageError, match="larger than the"):
            models.make_spec("mobilevit_xxs", patches=parse_patches(config), image_size=size)
        return
    models.make_spec("mobilevit_xxs", patches=parse_patches(config), image_size=size)
    network = patched(built(classes=7), config)
    with torch.inference_mode():
        out = network(images(2, 3, *size))
    assert out.shape == (2, 7)
    assert out.isfinite().all()


@pytest.mark.parametrize(("model", "config"), [*itertools.product(VARIANTS[1:], CONFIGS[1:3])])
def test_larger_variants_give_logits(built, model: str, config: str) -> None:
    with torch.inference_mode():
        out = patched(built(model), config)(images(1, 3, 64, 96))
    assert out.shape == (1, 1000)
    assert out.isfinite().all()


@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=15)
def test_maps_have_the_size_that_patches_are_checked_against(height: int, width: int) -> None:
    x = torch.zeros(1, 1, height, width)
    for stride in (2, 4, 8, 16, 32):
        x = F.conv2d(x, torch.zeros(1, 1, 3, 3), stride=2, padding=1)
        if stride < 8:
            continue
        index = (8, 16, 32).index(stride)
        fits = [PatchSize(1, 1)] * 3
        fits[index] = PatchSize(x.shape[2], x.shape[3])
        models.make_spec("mobilevit_s", patches=tuple(fits), image_size=(height, width))
        for larger in (PatchSize(x.shape[2] + 1, 1), PatchSize(1, x.shape[3] + 1)):
            fits[index] = larger
            with pytest.raises(UsageError, match=f"output stride {stride} "):
                models.make_spec("mobilevit_s", patches=tuple(fits), image_size=(height, width))


@pytest.mark.parametrize("config", ["2", "2,2", "2,2,2,2"])
def test_another_number_of_patch_sizes_is_refused(config: str) -> None:
    with pytest.raises(UsageError, match="takes 3 patch sizes, not"):
        models.make_spec("mobilevit_s", patches=parse_patches(config))


# Unfold and fold


def unfold_by_the_rule(x: Tensor, ph: int, pw: int) -> Tensor:
    """Pixel (i, j) goes to row p = (i mod ph)·pw + (j mod pw), token n = (i div ph)·nw + j div pw.

    The result is [B·P, N, d], batch major.
    """
    batch, dim, height, width = x.shape
    patch, nw = ph * pw, width // pw
    out = torch.full((batch * patch, height * width // patch, dim), torch.nan)
    for b, i, j in itertools.product(range(batch), range(height), range(width)):
        row = (i % ph) * pw + (j % pw)
        out[b * patch + row, (i // ph) * nw + (j // pw)] = x[b, :, i, j]
    return out


def fold_by_the_rule(x: Tensor, ph: int, pw: int, height: int, width: int) -> Tensor:
    patch, nw = ph * pw, width // pw
    out = torch.full((x.shape[0] // patch, x.shape[2], height, width), torch.nan)
    for b, i, j in itertools.product(range(len(out)), range(height), range(width)):
        row = (i % ph) * pw + (j % pw)
        out[b, :, i, j] = x[b * patch + row, (i // ph) * nw + (j // pw)]
    return out


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, with the pixels' centres half a pixel from the edge (align_corners=False)."""
    return torch.from_numpy(_along(_along(x.numpy(), height, 2), width, 3))


def _along(x: np.ndarray, size: int, axis: int) -> np.ndarray:
    old = x.shape[axis]
    place = np.maximum((np.arange(size) + 0.5) * old / size - 0.5, 0)
    low = np.minimum(np.floor(place).astype(int), old - 1)
    high = np.minimum(low + 1, old - 1)
    weight = (place - low).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    taken = x.astype(np.float64)
    mixed = taken.take(low, axis) * (1 - weight) + taken.take(high, axis) * weight
    return mixed.astype(np.float32)


small = st.integers(1, 5)


@given(st.integers(1, 2), st.integers(1, 3), small, small, small, small)
def test_unfold_and_fold_follow_the_rule(
    batch: int, dim: int, ph: int, pw: int, nh: int, nw: int
) -> None:
    x = images(batch, dim, nh * ph, nw * pw)
    patch = PatchSize(ph, pw)
    tokens = mobilevit.Unfold(patch)(x)
    assert torch.equal(tokens, unfold_by_the_rule(x, ph, pw))
    assert torch.equal(mobilevit.Fold(patch)(tokens, nh * ph, nw * pw), x)


@given(st.integers(1, 2), small, small, st.integers(1, 9), st.integers(1, 9))
def test_other_maps_are_resized_up_and_back(
    batch: int, ph: int, pw: int, height: int, width: int
) -> None:
    x = images(batch, 2, height, width)
    up = (height + ph - 1) // ph * ph, (width + pw - 1) // pw * pw
    tokens = mobilevit.Unfold(PatchSize(ph, pw))(x)
    expected = unfold_by_the_rule(resized(x, *up), ph, pw)
    torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-6)
    changed = tokens.flip(1)  # so that the way back is not only the inverse of the way there
    back = mobilevit.Fold(PatchSize(ph, pw))(changed, height, width)
    expected = resized(fold_by_the_rule(changed, ph, pw, *up), height, width)
    assert back.shape == x.shape
    torch.testing.assert_close(back, expected, rtol=0, atol=1e-6)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_the_reference_of_resizing_is_torchs(a: int, b: int, c: int, d: int) -> None:
    x = images(1, 2, a, b)
    theirs = F.interpolate(x, (c, d), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resized(x, c, d), theirs, rtol=0, atol=1e-6)


# The whole, rewritten


def norm(w: dict[str, Tensor], path: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{path}.weight"], w[f"{path}.bias"], 1e-5)


def linear(w: dict[str, Tensor], path: str, x: Tensor) -> Tensor:
    return x @ w[f"{path}.weight"].T + w[f"{path}.bias"]


def conv(w: dict[str, Tensor], path: str, x: Tensor, stride: int = 1, act: bool = True) -> Tensor:
    weight = w[f"{path}.conv.weight"]
    groups = x.shape[1] // weight.shape[1]
    x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, groups)
    if f"{path}.norm.weight" in w:
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, gamma, beta = (w[f"{path}.norm.{n}"][:, None, None] for n in names)
        x = (x - mean) / (var + 1e-5).sqrt() * gamma + beta
    return x * torch.sigmoid(x) if act else x


def mv2(w: dict[str, Tensor], path: str, x: Tensor, stride: int = 1) -> Tensor:
    y = conv(w, f"{path}.depthwise", conv(w, f"{path}.expand", x), stride)
    y = conv(w, f"{path}.project", y, act=False)
    return x + y if stride == 1 and x.shape == y.shape else y


def attention(w: dict[str, Tensor], path: str, x: Tensor) -> Tensor:
    """x is (B, P, N, d), as the reference implementations keep it."""
    b, p, n, d = x.shape
    qkv = linear(w, f"{path}.qkv", norm(w, f"{path}.norm", x)).chunk(3, -1)
    q, k, v = (t.reshape(b, p, n, 4, d // 4).transpose(2, 3) for t in qkv)
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(b, p, n, d)
    return x + linear(w, f"{path}.proj", mixed)


def ffn(w: dict[str, Tensor], path: str, x: Tensor) -> Tensor:
    return x + linear(
        w, f"{path}.fc2", F.silu(linear(w, f"{path}.fc1", norm(w, f"{path}.norm", x)))
    )


def block(w: dict[str, Tensor], path: str, x: Tensor, depth: int, ph: int, pw: int) -> Tensor:
    y = conv(w, f"{path}.project_in", conv(w, f"{path}.local", x), act=False)
    b, d, h, wd = y.shape
    nh, nw = (h + ph - 1) // ph, (wd + pw - 1) // pw
    y = resized(y, nh * ph, nw * pw)
    y = y.reshape(b, d, nh, ph, nw, pw).permute(0, 3, 5, 2, 4, 1).reshape(b, ph * pw, nh * nw, d)
    for i in range(depth):
        y = attention(w, f"{path}.transformer.{i}.attention", y)
        y = ffn(w, f"{path}.transformer.{i}.ffn", y)
    y = norm(w, f"{path}.norm", y)
    y = y.reshape(b, ph, pw, nh, nw, d).permute(0, 5, 3, 1, 4, 2).reshape(b, d, nh * ph, nw * pw)
    y = conv(w, f"{path}.project_out", resized(y, h, wd))
    return conv(w, f"{path}.fuse", torch.cat([x, y], 1))


def network(w: dict[str, Tensor], x: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
    x = conv(w, "conv_1", x, 2)
    x = mv2(w, "layer_1.0", x)
    for i, stride in enumerate((2, 1, 1)):
        x = mv2(w, f"layer_2.{i}", x, stride)
    for stage, depth, (ph, pw) in zip((3, 4, 5), (2, 4, 3), sizes, strict=True):
        x = block(w, f"layer_{stage}.1", mv2(w, f"layer_{stage}.0", x, stride=2), depth, ph, pw)
    x = conv(w, "conv_1x1_exp", x)
    return linear(w, "classifier.fc", x.flatten(2).mean(-1))


@pytest.mark.parametrize("tokens", [1, 2, 7])
def test_attention_is_torchs(tokens: int) -> None:
    module = Attention(24)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    x = images(6, tokens, 24)
    w = {f"a.{name}": value for name, value in module.state_dict().items()}
    with torch.no_grad():
        torch.testing.assert_close(module(x), attention(w, "a", x[None])[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "config", "size"),
    [
        ("mobilevit_xxs", "2,2,2", (128, 128)),
        ("mobilevit_xxs", "8,4,2", (256, 256)),
        ("mobilevit_xxs", "3,3,3", (100, 132)),
        ("mobilevit_xxs", "4x2,2,1x2", (96, 128)),
        ("mobilevit_xs", "2,2,2", (64, 96)),
        ("mobilevit_s", "4,4,2", (128, 96)),
    ],
)
def test_the_network_computes_what_the_rewrite_does(
    built, model: str, config: str, size: tuple[int, int]
) -> None:
    net = patched(built(model), config)
    x = images(2, 3, *size, seed=1)
    patches = [(p.height, p.width) for p in parse_patches(config)]
    with torch.no_grad():
        expected, found = network(net.state_dict(), x, patches), net(x)
    assert found.std() > 0.2
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


def test_dropout_is_off(built) -> None:
    net, x = built(), images(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(net(x), net(x))
    assert not any(module.training for module in net.modules())


@given(st.integers(1, 500))
def test_hidden_channels_are_multiples_of_eight_and_never_much_fewer(value: int) -> None:
    made = mobilevit.make_divisible(value, 8)
    assert made % 8 == 0
    # The nearest multiple, or the one above it where the nearest is more than a tenth too few.
    below = max(8, value // 8 * 8)
    nearest = below + 8 if value - below >= 4 else below
    assert made == (nearest if nearest >= 0.9 * value else nearest + 8)


@pytest.mark.parametrize("text", ["1,1,1", "3,4,2"])
def test_other_depths_are_other_networks(text: str) -> None:
    spec = models.make_spec("mobilevit_xxs", arguments=(("depths", text),))
    assert "depths=" + text in spec.label
    blocks = [
        models.build(spec).get_submodule(f"layer_{stage}.1.transformer") for stage in (3, 4, 5)
    ]
    assert [len(block) for block in blocks] == [int(depth) for depth in text.split(",")]


def test_the_depths_of_the_paper_are_no_keyword() -> None:
    plain = models.make_spec("mobilevit_xxs")
    assert models.make_spec("mobilevit_xxs", arguments=(("depths", "2,4,3"),)) == plain
