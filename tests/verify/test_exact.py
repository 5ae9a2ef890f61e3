"""Double precision, whatever a network's code insists on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mvdeploy.verify import exact


class Casting(nn.Module):
    """Casts, makes constants of its own, writes in place, and keeps a tensor that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("scale", torch.rand(8))
        self.kept = torch.rand(8)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        y = self.linear(x).float() * self.scale + torch.ones(8) / 3
        total = torch.zeros(y.shape, dtype=torch.float32)
        total += y @ torch.full((8, 8), 0.1) + self.kept
        return total.softmax(-1, dtype=torch.float32)[:, index]


def test_nothing_is_rounded_to_single_precision() -> None:
    torch.manual_seed(0)
    network, x, index = Casting().eval(), torch.rand(4, 8), torch.tensor([1, 3])
    got = exact.run(exact.doubled(network), x.double(), index)
    assert got.dtype is torch.float64
    weight, bias, scale, kept = (
        t.detach().double().numpy()
        for t in (network.linear.weight, network.linear.bias, network.scale, network.kept)
    )
    y = (x.double().numpy() @ weight.T + bias) * scale + 1 / 3
    total = y @ np.full((8, 8), 0.1) + kept
    wanted = np.exp(total) / np.exp(total).sum(-1, keepdims=True)
    assert np.abs(got.numpy() - wanted[:, [1, 3]]).max() < 1e-14


def test_everything_is_as_it_was_afterwards() -> None:
    network = nn.Linear(2, 2)
    with pytest.raises(RuntimeError):
        exact.run(exact.doubled(network), torch.rand(3, 3).double())
    assert torch.get_default_dtype() is torch.float32
    assert network.weight.dtype is torch.float32
    assert torch.rand(1).dtype is torch.float32


def test_inputs_that_are_no_floats_stay() -> None:
    feed = {"image": np.zeros((1, 2), np.float32), "ids": np.zeros(3, np.int64)}
    wide = exact.widened(feed)
    assert list(wide) == ["image", "ids"]
    assert [array.dtype.name for array in wide.values()] == ["float64", "int64"]
