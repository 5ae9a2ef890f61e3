"""What rounding costs where sums are added one number after another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mvdeploy.verify.plain_sums import plain_sums

X = torch.rand(2, 8, 6, 5, generator=torch.Generator().manual_seed(0))
WEIGHT, BIAS = X[0, :, 0, 0], X[1, :, 0, 0]

LONG = torch.rand(2, 3, 4096, generator=torch.Generator().manual_seed(1)) - 0.5

COMPUTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda x: x.sum(),
    "sum of dimensions": lambda x: x.sum((1, 3)),
    "sum of one, kept": lambda x: x.sum(-2, keepdim=True),
    "mean": lambda x: x.mean(),
    "mean of dimensions": lambda x: x.mean((2, 3)),
    "mean of dimensions, kept": lambda x: x.mean((0, 2), keepdim=True),
    "pool": lambda x: functional.adaptive_avg_pool2d(x, 1),
    "pool of several": lambda x: functional.adaptive_avg_pool2d(x, 2),
    "layer_norm": lambda x: functional.layer_norm(x, (6, 5), eps=1e-3),
    "layer_norm, affine": lambda x: functional.layer_norm(
        x.permute(0, 2, 3, 1), (8,), WEIGHT, BIAS
    ),
    "group_norm": lambda x: functional.group_norm(x, 4, WEIGHT, BIAS),
    "instance of three dimensions": lambda x: functional.group_norm(x.flatten(2), 8),
    "numbers of other types": lambda x: (x * 10).long().sum() + x.double().mean(),
    "products": lambda x: LONG @ LONG.mT + (LONG[0] @ LONG[0].mT) + x.sum(),
    "products of short ones": lambda x: x @ x.mT,
    "lists": lambda x: torch.cat([x, x]).mean((2, 3)),
}


@pytest.mark.parametrize("name", COMPUTATIONS)
@pytest.mark.parametrize("inference", [False, True])
def test_the_results_are_the_same_but_for_rounding(name: str, inference: bool) -> None:
    compute = COMPUTATIONS[name]
    with torch.inference_mode(inference):
        usual = compute(X)
        with plain_sums():
            found = compute(X)
    assert (found.shape, found.dtype) == (usual.shape, usual.dtype)
    torch.testing.assert_close(found, usual, rtol=1e-4, atol=1e-4)


def test_a_flat_map_costs_digits_and_a_small_one_none() -> None:
    def error(size: int) -> float:
        x = torch.full((1, 1, size, size), 0.1)
        with plain_sums():
            return float((x.mean((2, 3)).double() - x.double().mean()).abs()) / 0.1

    assert error(256) > 30 * 2**-23 > error(4)


@pytest.mark.parametrize("inference", [False, True])
def test_the_products_of_attention_over_a_large_map_have_a_running_sum(inference: bool) -> None:
    scores, values = torch.full((1, 2, 4, 12544), 1 / 12544), torch.full((1, 2, 12544, 8), 0.1)
    total = np.float32(0)
    for _ in range(12544):
        total = np.float32(float(total) + float(scores[0, 0, 0, 0]) * float(values[0, 0, 0, 0]))
    assert abs(total - 0.1) > 2e-6
    with torch.inference_mode(inference), plain_sums():
        assert (scores @ values == float(total)).all()
        assert (scores.double() @ values.double() - 0.1).abs().max() < 1e-8


def test_networks_work_in_it() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()
    with torch.inference_mode(), plain_sums():
        summed = network(X)
    with torch.inference_mode():
        usual = network(X)
    assert not torch.equal(summed, usual)
    torch.testing.assert_close(summed, usual, rtol=1e-4, atol=1e-5)
