"""What tests of networks with published counts say of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from types import ModuleType

import torch

from mvdeploy import models
from mvdeploy.models import macs
from mvdeploy.records import Category


@dataclasses.dataclass(frozen=True)
class Measured:
    """A network as it is built by default.

    Attributes:
        parameters: shared ones count once.
        macs: millions of multiply-accumulates of one image.
        shares: percent of these, by category.
        names: of its state dict.
    """

    parameters: int
    macs: float
    shares: dict[Category, float]
    names: tuple[str, ...]


def measure(family: ModuleType, name: str) -> Measured:
    """Count a network on torch's meta device, where nothing is computed."""
    spec = family.defaults(name)
    network = family.build(spec)
    parameters = sum(weight.numel() for weight in network.parameters())
    names = tuple(network.state_dict())
    image = torch.empty(1, 3, *spec.image_size, device="meta")
    forward = macs.observe(network.to("meta"), image)
    assert not forward.uncounted
    table = models.module_table(network)
    counts: Counter[Category] = Counter()
    for operation in forward.operations:
        category = table[forward.calls[operation.call].module].category
        assert category is not None
        counts[category] += operation.macs
    shares = {category: 100 * count / forward.total for category, count in counts.items()}
    return Measured(parameters, forward.total / 1e6, shares, names)
