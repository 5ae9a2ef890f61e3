"""What is published of a network, held against what its module does."""

from __future__ import annotations

import dataclasses
from collections import Counter
from types import ModuleType

import torch
from torch import Tensor, nn

from mvdeploy import models
from mvdeploy.models import macs
from mvdeploy.records import Category

ATTENTION, FFN = Category.ATTENTION, Category.FFN
CONVOLUTION, PRE_AND_POST = Category.CONVOLUTION, Category.PRE_AND_POST


def shapes_of(
    family: ModuleType,
    name: str,
    *,
    image_size: tuple[int, int] | None = None,
    num_classes: int = 1000,
) -> nn.Module:
    """Build a network without memory for its weights, as its paper has it or with these changes."""
    spec = family.defaults(name)
    size = image_size or spec.image_size
    spec = dataclasses.replace(spec, image_size=size, num_classes=num_classes)
    family.check(spec)
    with torch.device("meta"):
        network: nn.Module = family.build(spec)
    return network.eval()


def parameters(network: nn.Module) -> int:
    """Count parameters, those that are not trained too."""
    return sum(parameter.numel() for parameter in network.parameters())


def image(*image_size: int) -> Tensor:
    return torch.empty(1, 3, *image_size, device="meta")


def millions(network: nn.Module, *image_size: int) -> float:
    """Count multiply-accumulates, millions."""
    return macs.count(network, image(*image_size)) / 1e6


def shares(network: nn.Module, *image_size: int) -> dict[Category | None, float]:
    """Return the percent of multiply-accumulates of each category; None: of no category."""
    forward = macs.observe(network, image(*image_size))
    table = models.module_table(network)
    counts: Counter[Category | None] = Counter()
    for operation in forward.operations:
        counts[table[forward.calls[operation.call].module].category] += operation.macs
    return {category: 100 * count / forward.total for category, count in counts.items()}


def forward_pass(network: nn.Module, *image_size: int) -> tuple[int, ...]:
    """Return the shape of the outputs of a network of `shapes_of`."""
    with torch.inference_mode():
        return tuple(network(image(*image_size)).shape)


def randomised(network: nn.Module) -> nn.Module:
    """Give every parameter and statistic values that differ from those of any other."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var") or ("norm" in name and name.endswith("weight")):
                tensor.copy_(1 + 0.1 * noise.abs())
            elif tensor.dim() in (2, 4):  # of layers; others are biases, tokens and positions
                tensor.copy_(noise * 1.5 / tensor[0].numel() ** 0.5)
            else:
                tensor.copy_(0.2 * noise)
    return network.eval()


def small(family: ModuleType, name: str, *image_size: int) -> nn.Module:
    """Build a network in float64 with five classes, with values of `randomised`."""
    spec = dataclasses.replace(family.defaults(name), image_size=image_size, num_classes=5)
    family.check(spec)
    network: nn.Module = family.build(spec)
    return randomised(network.double())


def pictures(*image_size: int) -> Tensor:
    """Return two images that differ in brightness and contrast too."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, *image_size, dtype=torch.float64, generator=generator)
    images[1] = 0.5 * images[1] + 1
    return images


def assert_agrees(network: nn.Module, images: Tensor, expected: Tensor) -> None:
    """Hold a network against what another one, or a rewrite, makes of the same images."""
    with torch.inference_mode():
        outputs = network(images)
    assert outputs.shape == expected.shape
    # Outputs that hardly differ between images would agree whatever is computed.
    assert (expected[0] - expected[1]).abs().max() > 1e-3 * expected.std()
    scale = expected.std().item()
    torch.testing.assert_close(outputs, expected.clone(), rtol=0, atol=1e-9 * scale)
