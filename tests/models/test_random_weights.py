"""Seeded weights must carry signal: a check on them sees what a check on plain ones does not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mvdeploy import models
from mvdeploy.models import random_weights
from mvdeploy.models.families.mobilevit import CONFIG_A, VARIANTS
from mvdeploy.models.families.mobilevit.network import Attention, MobileViT
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
