"""Seeded weights must carry signal: a check on them sees what a check on plain ones does not."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mvdeploy import models
from mvdeploy.errors import UsageError
from mvdeploy.models import random_weights
from mvdeploy.models.families.mobilevit import CONFIG_A, VARIANTS
from mvdeploy.models.families.mobilevit.attention import Attention
from mvdeploy.models.families.mobilevit.network import MobileViT
from mvdeploy.models.preprocess import load_image, sample_photograph
from mvdeploy.records.parity import BLIND
from mvdeploy.verify import inputs

NAMES = tuple(VARIANTS)
CLEAR = 1e-2
"""A fault has to move the logits by this much, so that no tolerance could hide it."""


@pytest.fixture(scope="module")
def pictures() -> dict[str, Tensor]:
    rule = models.preprocessing(models.make_spec("mobilevit_s", image_size=(128, 128)))
    found = {"photograph": load_image(sample_photograph(), rule)}
    found |= inputs.synthetic((1, 3, 128, 128))
    return {name: torch.from_numpy(image) for name, image in found.items()}


def logits(network: nn.Module, pictures: dict[str, Tensor]) -> Tensor:
    with torch.inference_mode():
        return torch.stack([network(image) for image in pictures.values()])


def spread(outputs: Tensor) -> float:
    """How much the outputs vary between inputs, of how much they vary at all."""
    return float(outputs.std(0).mean() / outputs.std())


@pytest.mark.parametrize("name", NAMES)
def test_logits_depend_on_the_input(built, pictures: dict[str, Tensor], name: str) -> None:
    found = logits(built(name), pictures)
    assert spread(found) > 0.3
    # Not only the extremes: noise and a photograph differ as well.
    assert spread(found[:2]) > 0.3
    assert 0.2 < found.std() < 20


@pytest.mark.parametrize("name", NAMES)
def test_softmax_is_neither_flat_nor_one_hot(
    built, pictures: dict[str, Tensor], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    real = torch.softmax

    def watched(x: Tensor, dim: int) -> Tensor:
        seen.append(real(x, dim=dim))
        return seen[-1]

    monkeypatch.setattr(torch, "softmax", watched)
    logits(built(name), {"photograph": pictures["photograph"]})
    assert len(seen) == 9
    for weights in seen:
        tokens = weights.shape[-1]
        entropy = -(weights * weights.clamp_min(1e-30).log()).sum(-1).mean() / np.log(tokens)
        assert 0.02 < entropy < 0.95


# Mutations: faults that exporters and engines have had.


def relu_for_silu(network: nn.Module) -> None:
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.SiLU):
                setattr(module, name, nn.ReLU())


def one_relu_for_silu(network: nn.Module) -> None:
    network.get_submodule("layer_5.1.transformer.1.ffn").act = nn.ReLU()


def dropped_bias(path: str) -> Callable[[nn.Module], None]:
    def drop(network: nn.Module) -> None:
        nn.init.zeros_(network.get_submodule(path).bias)  # type: ignore[arg-type]

    drop.__name__ = f"no_bias_of_{path}"
    return drop


def larger_scale(network: nn.Module) -> None:
    attention = network.get_submodule("layer_3.1.transformer.0.attention")
    assert isinstance(attention, Attention)
    with torch.no_grad():
        queries = attention.qkv.out_features // 3
        attention.qkv.weight[:queries] *= 1.1
        attention.qkv.bias[:queries] *= 1.1


def biased_variance(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3


def swapped_patches(network: nn.Module) -> None:
    block = network.get_submodule("layer_3.1.unfold")
    block.patch = type(block.patch)(1, 4)  # type: ignore[operator]


MUTATIONS = [
    relu_for_silu,
    one_relu_for_silu,
    dropped_bias("layer_3.1.transformer.0.attention.qkv"),
    dropped_bias("layer_4.1.transformer.3.ffn.fc1"),
    dropped_bias("layer_5.1.transformer.2.ffn.fc2"),
    dropped_bias("layer_5.1.norm"),
    dropped_bias("classifier.fc"),
    larger_scale,
    biased_variance,
    swapped_patches,
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda m: m.__name__)
def test_a_fault_shows(
    built, pictures: dict[str, Tensor], name: str, mutate: Callable[[nn.Module], None]
) -> None:
    broken = copy.deepcopy(built(name))
    mutate(broken)
    two = {key: pictures[key] for key in ("photograph", "noise")}
    moved = (logits(broken, two) - logits(built(name), two)).abs().amax((1, 2))
    assert moved.min() > CLEAR


@pytest.fixture
def wrong_axis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    real = torch.softmax
    return lambda: monkeypatch.setattr(torch, "softmax", lambda x, dim: real(x, dim=-2))


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_softmax_axis_shows(
    built, pictures: dict[str, Tensor], name: str, wrong_axis: Callable[[], None]
) -> None:
    right = logits(built(name), pictures)
    wrong_axis()
    moved = (logits(built(name), pictures) - right).abs().amax((1, 2))
    assert moved.min() > CLEAR


def test_plain_initialisation_would_be_blind(
    pictures: dict[str, Tensor], wrong_axis: Callable[[], None]
) -> None:
    """The reason for all this: with torch's own weights the same faults pass."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        plain = MobileViT(VARIANTS["mobilevit_s"], CONFIG_A).eval()
    right = logits(plain, pictures)
    assert spread(right) < BLIND
    wrong_axis()
    assert (logits(plain, pictures) - right).abs().max() < 1e-4


def test_batchnorm_keeps_its_momentum_and_has_real_statistics() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.25), nn.Dropout(0.9))
    random_weights.initialise(network, 1)
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    assert norm.momentum == 0.25
    assert norm.running_mean.abs().min() > 1e-3
    assert not any(module.training for module in network.modules())
    a = copy.deepcopy(network.state_dict())
    random_weights.initialise(network, 1)
    assert all(torch.equal(a[name], value) for name, value in network.state_dict().items())


class Branch(nn.Module):
    """What training has to make of its parts before it does anything."""

    def __init__(self, inner: nn.Module, dim: int) -> None:
        super().__init__()
        self.inner = inner
        self.scale = nn.Parameter(torch.full((dim, 1, 1), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.scale * self.inner(x)
        return out


class Attends(nn.Module):
    """Attention of torch over the pixels, with a table of biases that starts at zero."""

    def __init__(self, dim: int, tokens: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.table = nn.Parameter(torch.zeros(tokens, tokens))
        self.position = nn.Parameter(torch.randn(1, tokens, dim) * 0.02)
        self.fixed = nn.Parameter(torch.full((tokens,), 0.25), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2) + self.position
        out: Tensor = self.attention(tokens, tokens, tokens, attn_mask=self.table)[0]
        return (out + self.fixed[:, None]).transpose(1, 2).reshape(x.shape)


def parts() -> nn.Sequential:
    """Layers of every kind that has weights."""
    up = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.ConvTranspose2d(8, 8, 2, 2, groups=8))
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 4),
        nn.BatchNorm2d(8),
        Branch(Attends(8, 64), 8),
        Branch(nn.Sequential(nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 1), nn.PReLU(8)), 8),
        Branch(up, 8),
        nn.Flatten(),
        nn.Linear(512, 16),
        nn.BatchNorm1d(16),
        nn.RMSNorm(16),
        nn.Linear(16, 10),
    )


def test_every_part_takes_part(pictures: dict[str, Tensor]) -> None:
    network = parts()
    random_weights.initialise(network, 0, (32, 32))
    small = {name: image[..., :32, :32] for name, image in pictures.items()}
    right = logits(network, small)
    assert 0.1 < right.std() < 10
    varied = 0
    for name, weight in network.named_parameters():
        if not weight.requires_grad:
            assert torch.equal(weight, torch.full_like(weight, 0.25)), name
            continue
        kept = weight.detach().clone()
        assert kept.numel() == 1 or kept.std() > 0.05, name
        with torch.no_grad():
            weight.mul_(0.5)
            moved = (logits(network, small) - right).std() / right.std()
            weight.copy_(kept)
        # What is the same for all keys cancels in a softmax.
        assert moved > CLEAR or name.endswith("in_proj_bias"), (name, float(moved))
        varied += 1
    assert varied > 20


def test_batchnorm_is_calibrated_on_images_as_they_are_fed() -> None:
    spec = models.make_spec("timm:efficientnet_b0", image_size=(64, 64))
    network, rule = models.build(spec), models.preprocessing(spec)
    fed = {"photograph": load_image(sample_photograph(), rule)}
    found = logits(network, {name: torch.from_numpy(image) for name, image in fed.items()})
    assert 0.05 < found.std() < 20


@pytest.mark.parametrize(
    "name", ["timm:edgenext_xx_small", "timm:efficientformer_l1", "timm:pit_ti_224"]
)
def test_no_attention_is_scaled_away(name: str) -> None:
    """Layer scales of 1e-5 hid a halved attention from every check."""
    spec = models.make_spec(name, image_size=(64, 64) if "edgenext" in name else None)
    network = models.build(spec)
    picture = torch.from_numpy(load_image(sample_photograph(), models.preprocessing(spec)))
    attentions = [m for m in network.modules() if re.search("Att(ention|n)$", type(m).__name__)]
    assert attentions
    with torch.inference_mode():
        right = network(picture)
        for module in attentions:
            halved = module.register_forward_hook(lambda _, __, out: out / 2)
            moved = (network(picture) - right).std() / right.std()
            halved.remove()
            assert moved > CLEAR


def test_calm_weights_pass_noise_on_where_others_amplify_it() -> None:
    left = {}
    for calm in (False, True):
        spec = models.make_spec("mobilevit_xxs", image_size=(128, 128), calm=calm)
        network = models.build(spec)
        generator = torch.Generator().manual_seed(1)
        image = torch.rand(2, 3, 128, 128, generator=generator)
        noise = torch.randn(image.shape, generator=generator)
        noise *= 0.01 * image.norm() / noise.norm()
        with torch.inference_mode():
            wanted, got = network(image), network(image + noise)
        left[calm] = 20 * float(torch.log10(wanted.norm() / (wanted - got).norm()))
    assert left[True] > left[False] + 6
    assert "calm" in spec.label
    assert "calm" in spec.slug


def test_calm_is_for_random_weights_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="as they are"):
        models.make_spec("mobilevit_xxs", weights=tmp_path / "a.pt", calm=True)
