"""Products that are added up in half precision, number by number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from mvdeploy.precisions import fp16
from mvdeploy.precisions._running_sums import running_sums


def halves(tensor: Tensor) -> Tensor:
    return tensor.half().float()


def by_hand(a: np.ndarray, b: np.ndarray) -> np.float32:
    """A product of two vectors as a kernel in half precision has it."""
    total = np.float16(0)
    for x, y in zip(a, b, strict=True):
        total = np.float16(np.float32(total) + np.float32(x) * np.float32(y))
    return np.float32(total)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_a_product_is_added_up_number_by_number(seed: int, length: int) -> None:
    made = torch.Generator().manual_seed(seed)
    a, b = (halves(torch.randn(2, length, generator=made)) for _ in range(2))
    with running_sums(halves):
        found = a @ b.T
    for i in range(2):
        for j in range(2):
            assert found[i, j].item() == by_hand(a[i].numpy(), b[j].numpy())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6, bias=False),
        nn.Conv2d(6, 4, (1, 3), padding="same", groups=2),
        nn.Linear(10, 7),
        nn.Linear(10, 7, bias=False),
    ],
    ids=str,
)
def test_layers_compute_the_same_in_sums_that_are_not_rounded(layer: nn.Module) -> None:
    torch.manual_seed(0)
    images = isinstance(layer, nn.Conv2d)
    x = torch.randn(2, 6, 9, 10) if images else torch.randn(2, 9, 10)
    seen: list[int] = []

    def watched(tensor: Tensor) -> Tensor:
        seen.append(1)
        return tensor

    with torch.inference_mode():
        usual = layer.eval()(x)
        with running_sums(watched):
            found = layer(x)
    assert seen, "no product was looked at"
    torch.testing.assert_close(usual, found, rtol=1e-4, atol=1e-5)


def test_attention_is_looked_into() -> None:
    q = torch.randn(1, 2, 5, 4)
    seen: list[tuple[int, ...]] = []

    def watched(tensor: Tensor) -> Tensor:
        seen.append(tuple(tensor.shape))
        return tensor

    with running_sums(watched):
        functional.scaled_dot_product_attention(q, q, q)
    assert len(seen) == 4 + 5  # channels of the first product, tokens of the second


def test_a_running_sum_in_halves_costs_more_than_rounding() -> None:
    """Of the sums of many numbers; else the yardstick would be no other."""
    torch.manual_seed(0)
    net = nn.Linear(2000, 50).eval()
    x = torch.rand(4, 2000)
    assert fp16.PRECISION.rounding is not None and fp16.PRECISION.summing is not None
    with torch.inference_mode():
        exact = net.double()(x.double())
        net.float()
        with fp16.PRECISION.rounding(net) as copy:
            rounded = copy(x)
        with fp16.PRECISION.summing(net) as copy:
            summed = copy(x)
    errors = [float((made - exact).norm()) for made in (rounded, summed)]
    assert errors[1] > 3 * errors[0]
