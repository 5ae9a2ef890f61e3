"""The formulation for Apple's Neural Engine: 1x1 convolutions, four dimensions, same outputs."""

from __future__ import annotations

import copy
import logging
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mvdeploy import models, passes
from mvdeploy.errors import CheckFailed
from mvdeploy.models.families.mobilevit import channels_first, network
from mvdeploy.models.families.mobilevit.attention import HEADS, Attention
from mvdeploy.passes import channels_first as step
from mvdeploy.records import PatchSize
from mvdeploy.records.spec import parse_patches

FORMULATION = passes.FORMULATIONS["channels_first"]
ALONE = ("channels_first",)
VARIANTS = ("mobilevit_xxs", "mobilevit_xs", "mobilevit_s")
CONFIGS = ("2,2,2", "8,4,2", "4x2,2,2", "3,3,3")
# Maps of 9x12, 5x6 and 3x3: not square, and most patches do not divide them.
SIZE = (72, 96)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def small() -> nn.Module:
    """XXS of 64 pixels; every affine part of a LayerNorm counts."""
    network = models.build(models.make_spec("mobilevit_xxs", image_size=(64, 64), num_classes=7))
    norms = [m for m in network.modules() if isinstance(m, nn.LayerNorm)]
    for norm in norms:
        assert norm.weight.std() > 0.01
        assert norm.bias.std() > 0.01
    return network


@pytest.fixture(scope="module")
def written(small: nn.Module) -> nn.Module:
    rewritten, _ = passes.apply(small, images(1, 3, 64, 64), FORMULATION)
    return rewritten


# Outputs


@pytest.mark.parametrize("model", VARIANTS)
def test_outputs_are_the_same(built, model: str) -> None:
    """For every patch size, also of a network whose patches are changed after the rewriting."""
    plain = copy.deepcopy(built(model)).double()
    example = images(2, 3, *SIZE).double()
    rewritten, (report,) = passes.apply(plain, example, ALONE)
    assert report.changed == ("layer_3.1", "layer_4.1", "layer_5.1")
    assert report.left == ()
    for config in CONFIGS:
        for form in (plain, rewritten):
            form.set_patches(parse_patches(config))
        with torch.inference_mode():
            before, after = plain(example), rewritten(example)
            alone = rewritten(example[1:])
        assert float(before.abs().max()) > 0.1
        torch.testing.assert_close(after, before, rtol=0, atol=1e-9)
        torch.testing.assert_close(alone, before[1:], rtol=0, atol=1e-9)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_whole_formulation_keeps_outputs_and_patches(config: str) -> None:
    patches = parse_patches(config)
    plain = models.build(models.make_spec("mobilevit_xxs", patches=patches, image_size=SIZE))
    example = images(2, 3, *SIZE)
    rewritten, reports = passes.apply(plain, example, FORMULATION)
    assert {report.name: len(report.changed) for report in reports} == {
        "fold_batchnorm": 32,
        "channels_first": 3,
    }
    assert not any(report.left for report in reports)
    blocks = [m for m in rewritten.modules() if isinstance(m, channels_first.ChannelsFirstBlock)]
    assert tuple(block.unfold.patch for block in blocks) == patches
    assert tuple(block.fold.patch for block in blocks) == patches
    other = images(1, 3, *SIZE, seed=1)
    with torch.inference_mode():
        torch.testing.assert_close(rewritten(other), plain(other), rtol=0, atol=1e-4)
        torch.testing.assert_close(
            rewritten.double()(other.double()), plain.double()(other.double()), rtol=0, atol=1e-5
        )


@given(
    patch=st.builds(PatchSize, st.integers(1, 4), st.integers(1, 4)),
    batch=st.integers(1, 3),
    dim=st.integers(1, 5),
    size=st.tuples(st.integers(4, 9), st.integers(4, 9)),
)
def test_rows_and_tokens_have_the_order_of_the_plain_form(
    patch: PatchSize, batch: int, dim: int, size: tuple[int, int]
) -> None:
    x = images(batch, dim, *size)
    plain = network.Unfold(patch)(x)
    tokens = channels_first.ChannelsFirstUnfold(patch)(x)
    assert torch.equal(tokens, plain.transpose(1, 2)[:, :, None])
    back = channels_first.ChannelsFirstFold(patch)(tokens, *size)
    assert torch.equal(back, network.Fold(patch)(plain, *size))


def test_a_batchnorm_that_stays_is_no_obstacle(small: nn.Module) -> None:
    """The norm before it then goes into a convolution that had no bias."""
    rewritten, (report,) = passes.apply(small, images(1, 3, 64, 64), ALONE)
    assert isinstance(rewritten.get_submodule("layer_3.1.project_out.norm"), nn.BatchNorm2d)
    assert rewritten.get_submodule("layer_3.1.project_out.conv").bias is not None
    assert small.get_submodule("layer_3.1.project_out.conv").bias is None
    assert report.max_abs_difference < 1e-5


# Weights and modules


def test_weights_are_those_of_the_plain_form(small: nn.Module, written: nn.Module) -> None:
    folded, _ = passes.apply(small, images(1, 3, 64, 64), ("fold_batchnorm",))
    before, after = folded.state_dict(), written.state_dict()
    norms = {path for path, m in folded.named_modules() if isinstance(m, nn.LayerNorm)}
    gone = {f"{path}.{part}" for path in norms for part in ("weight", "bias")}
    assert after.keys() == before.keys() - gone
    into = {path: _consumer(path) for path in norms}
    scaled = {f"{layer}.{part}" for layer in into.values() for part in ("weight", "bias")}
    for name in after.keys() - scaled:
        assert torch.equal(after[name].flatten(), before[name].flatten()), name
    for norm, layer in into.items():
        weight, bias = before[f"{layer}.weight"].flatten(1), before[f"{layer}.bias"]
        rows = torch.ones(len(bias))
        if layer.endswith(".qkv"):
            rows[: len(rows) // 3] = (len(rows) // 3 // HEADS) ** -0.5
        expected = weight * before[f"{norm}.weight"] * rows[:, None]
        torch.testing.assert_close(after[f"{layer}.weight"].flatten(1), expected)
        shift = (bias + weight @ before[f"{norm}.bias"]) * rows
        torch.testing.assert_close(after[f"{layer}.bias"], shift, rtol=1e-5, atol=1e-6)


def _consumer(norm: str) -> str:
    """Return the layer that a LayerNorm feeds."""
    around = norm.removesuffix(".norm")
    return around + {"attention": ".qkv", "ffn": ".fc1"}.get(
        around.rpartition(".")[2], ".project_out.conv"
    )


def test_paths_and_categories_stay(small: nn.Module, written: nn.Module) -> None:
    built, own = models.module_table(small), models.module_table(written)
    assert own.keys() == built.keys()
    assert {path: m.category for path, m in own.items()} == {
        path: m.category for path, m in built.items()
    }
    assert models.with_added(built, written) == built


def test_the_network_that_is_given_stays_as_it_is(small: nn.Module) -> None:
    before = copy.deepcopy(small.state_dict())
    block = small.get_submodule("layer_3.1")
    assert isinstance(block, network.MobileViTBlock)
    block.channels_first()
    assert small.get_submodule("layer_3.1") is block
    after = small.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_network_that_is_written_so_already_stays(written: nn.Module) -> None:
    again, (report,) = passes.apply(written, example := images(1, 3, 64, 64), ALONE)
    assert (report.changed, report.left) == ((), ())
    with torch.inference_mode():
        assert torch.equal(again(example), written(example))


class Tokens(nn.Module):
    """Layers over tokens that do not say how they are written, and one over vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, stride=4)
        self.norm, self.mix = nn.LayerNorm(8), nn.Linear(8, 8)
        self.head, self.unused = nn.Linear(8, 2), nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        out: Tensor = self.head(self.mix(self.norm(x)).mean(1))
        return out


def test_what_does_not_say_how_stays_with_a_reason() -> None:
    plain, example = Tokens().eval(), images(1, 3, 8, 8)
    rewritten, (report,) = passes.apply(plain, example, ALONE)
    assert report.changed == ()
    reason = "nothing around it says how it is written channels first"
    assert report.left == tuple(f"{path}: {reason}" for path in ("norm", "mix", "unused"))
    assert torch.equal(rewritten(example), plain(example))
    assert not any(m._forward_pre_hooks for m in rewritten.modules())


# Rewritings that are wrong


def unscaled(monkeypatch: pytest.MonkeyPatch) -> None:
    def ones(dim: int) -> Tensor:
        return torch.ones(3 * dim, dtype=torch.double)

    monkeypatch.setattr(channels_first, "_query_scale", ones)


def without_affine(monkeypatch: pytest.MonkeyPatch) -> None:
    right = channels_first._pointwise

    def drops(
        layer: nn.Linear | nn.Conv2d, norm: object = None, scale: Tensor | None = None
    ) -> nn.Conv2d:
        return right(layer, None, scale)

    monkeypatch.setattr(channels_first, "_pointwise", drops)


def without_eps(monkeypatch: pytest.MonkeyPatch) -> None:
    right = channels_first.ChannelNorm.__init__

    def init(self: Any, norm: nn.LayerNorm) -> None:
        right(self, norm)
        self.eps *= 100

    monkeypatch.setattr(channels_first.ChannelNorm, "__init__", init)


def folded_across(monkeypatch: pytest.MonkeyPatch) -> None:
    right = channels_first.ChannelsFirstFold.to_map

    def swaps(self: Any, x: Tensor, nh: int, nw: int) -> Tensor:
        return right(self, x, nh, nw).transpose(2, 3)

    monkeypatch.setattr(channels_first.ChannelsFirstFold, "to_map", swaps)


@pytest.mark.parametrize("wrong", [unscaled, without_affine, without_eps, folded_across])
def test_a_wrong_rewriting_is_caught(
    small: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    wrong: Callable[[pytest.MonkeyPatch], None],
) -> None:
    wrong(monkeypatch)
    with pytest.raises(CheckFailed, match="The pass channels_first moved the outputs by"):
        passes.apply(small, images(1, 3, 64, 64), ALONE)


def test_a_promise_that_is_not_kept_is_caught(
    small: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "rewrite", lambda network, example: ([], []))
    with pytest.raises(
        CheckFailed, match=r"The block 'layer_3\.1' could be written channels first"
    ):
        passes.apply(small, images(1, 3, 64, 64), ALONE)


# What exporters find


def test_an_exported_program_computes_the_same(written: nn.Module) -> None:
    example = images(1, 3, 64, 64)
    program = torch.export.export(written, (example,))
    targets = (n.target for n in program.graph.nodes if n.op == "call_function")
    made = Counter(t._opname for t in targets if isinstance(t, torch._ops.OpOverload))
    assert made["linear"] == 1
    assert made["pixel_unshuffle"] == made["pixel_shuffle"] == 3
    assert made["layer_norm"] == 0
    other = images(1, 3, 64, 64, seed=1)
    with torch.inference_mode():
        torch.testing.assert_close(program.module()(other), written(other), rtol=0, atol=1e-6)


def convert(network: nn.Module, example: Tensor) -> list[Any]:
    """Return the operators of the Core ML program, in float32, but for constants."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools as ct

        logging.getLogger("coremltools").setLevel(logging.ERROR)
        model = ct.convert(
            torch.export.export(network.eval(), (example,)).run_decompositions({}),
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
    operations = model._mil_program.functions["main"].operations
    return [op for op in operations if op.op_type != "const"]


def kinds(operators: list[Any]) -> Counter[str]:
    return Counter(op.op_type for op in operators)


def max_rank(operators: list[Any]) -> int:
    return max(len(tensor.shape) for op in operators for tensor in op.outputs)


@pytest.mark.slow
def test_the_core_ml_program_is_what_the_neural_engine_takes(
    small: nn.Module, written: nn.Module
) -> None:
    example = images(1, 3, 64, 64)
    plain, _ = passes.apply(small, example)
    before, after = convert(plain, example), convert(written, example)
    assert max_rank(after) <= 4
    made = kinds(after)
    assert made["transpose"] <= 6
    assert made["linear"] <= 1
    assert made["conv"] == kinds(before)["conv"] + 36
    norms = [op for op in after if op.op_type == "layer_norm"]
    assert len(norms) == 21
    assert all(list(op.axes.val) == [1] and op.gamma is None for op in norms)
    assert not {"mul", "batch_norm", "reduce_sum", "rsqrt", "squeeze"} & made.keys()
    assert len(after) == 224 < len(before)


# Patches of a 4x6 map, batch, transposes, resizes.
BLOCKS = [("2", 1, 2, 0), ("2", 2, 2, 0), ("4x2", 1, 4, 0), ("4x2", 2, 4, 0), ("3", 1, 2, 2)]


@pytest.mark.parametrize(("patch", "batch", "transposes", "resizes"), BLOCKS)
def test_a_block_takes_four_dimensions_whatever_its_patches(
    patch: str, batch: int, transposes: int, resizes: int
) -> None:
    block = network.MobileViTBlock(4, 8, parse_patches(patch)[0], [Attention(8)])
    operators = convert(block.channels_first(), images(batch, 4, 4, 6))
    assert max_rank(operators) == 4
    made = kinds(operators)
    assert made["transpose"] == transposes
    assert made["upsample_bilinear"] == resizes
    assert made["layer_norm"] == 3
    assert made["linear"] == 0
