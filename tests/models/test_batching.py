"""Which module does not take several images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mvdeploy.models import batching


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)  # type: ignore[operator]


class Positions(nn.Module):
    """Adds what does not depend on the images, from a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Apply(lambda x: torch.ones(1, *x.shape[1:]))
        self.inner = nn.Sequential(nn.ReLU(), Apply(lambda x: x.reshape(1, -1, 4)))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x + self.table(x)).mean(1)


ONE, THREE = (torch.rand(1, 2, 4),), (torch.rand(3, 2, 4),)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(8, 5)),
        Apply(lambda x: (x, torch.ones(100, 4))),
        Apply(lambda x: {"a": x.sum((1, 2)), "b": torch.tensor(1.0)}),
        nn.Sequential(Apply(lambda x: x.transpose(0, 1)), Apply(lambda x: x.transpose(0, 1))),
    ],
)
def test_networks_that_take_any_number_of_images(network: nn.Module) -> None:
    assert batching.fixed_in(network, ONE, THREE) is None
    assert batching.decided_in(network, THREE) is None


@pytest.mark.parametrize(
    ("network", "module", "outcome"),
    [
        (Positions(), "inner.1 (Apply)", "returns 1x4"),
        (Apply(lambda x: x.reshape(1, 8)), "the network itself (Apply)", "fails: shape '[1, 8]'"),
        (
            nn.Sequential(nn.ReLU(), Apply(lambda x: x.reshape(1, -1)), nn.Linear(8, 5)),
            "1 (Apply)",
            "fails: mat1 and mat2",
        ),
    ],
)
def test_the_module_that_fixes_it_is_named(network: nn.Module, module: str, outcome: str) -> None:
    found = batching.fixed_in(network, ONE, THREE)
    assert found is not None and found[0] == module
    assert found[1].startswith(outcome)


def test_the_module_that_decides_by_it_is_named() -> None:
    def decide(x: Tensor) -> Tensor:
        return x + 1 if len(x) == 3 else x

    network = nn.Sequential(nn.ReLU(), nn.Sequential(Apply(decide)), nn.ReLU())
    assert batching.decided_in(network, THREE) == "1.0 (Apply)"
