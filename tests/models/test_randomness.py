from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mvdeploy.errors import UsageError
from mvdeploy.models import randomness


class Net(nn.Module):
    def __init__(self, inner: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(4, 4), inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.first(x))


def active() -> nn.Module:
    network = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Dropout(0.5))).eval()
    network[1][0].train()  # type: ignore[index]
    return network


RANDOM = {
    "dropout in the forward": (
        Net(lambda x: F.dropout(x, 0.5)),
        r"runs: bernoulli in the network itself \(test_randomness.py, line \d+\)\.",
    ),
    "dropout in training mode": (active(), r"runs: bernoulli in '1\.0'\."),
    "noise": (
        nn.Sequential(Net(lambda x: x + 1e-6 * torch.randn_like(x))),
        r"runs: randn_like in '0' \(test_randomness.py, line \d+\)\.",
    ),
    "Python's": (Net(lambda x: x * random.random()), "with numbers that are not torch's"),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_a_random_network_is_refused_and_its_module_named(kind: str) -> None:
    network, message = RANDOM[kind]
    if kind != "dropout in training mode":
        network.eval()
    before = torch.get_rng_state()
    with pytest.raises(UsageError, match=message):
        randomness.check(network, (torch.ones(2, 4),))
    assert torch.equal(torch.get_rng_state(), before)
    assert not network._forward_hooks and not network._forward_pre_hooks


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)),
        Net(lambda x: x + 0 * torch.rand_like(x)),  # drawn, but of no effect
        Net(lambda x: x / 0),  # no number is the same as no number
        Net(lambda x: x.relu_()),
    ],
)
def test_the_same_outputs_twice_are_not_random(network: nn.Module) -> None:
    randomness.check(network.eval(), (torch.ones(2, 4),))
