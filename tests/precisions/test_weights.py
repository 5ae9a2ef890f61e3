"""Weights in fewer bits: what stands for them, and what that costs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mvdeploy import precisions
from mvdeploy.precisions import LARGE, _weights, int8

COMPRESSED = ("int8", "palette4", "palette6", "palette8")
HALVES = st.lists(st.floats(-9, 9, width=16), min_size=1, max_size=9)


def weight(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cost(numbers: np.ndarray, stand_for: np.ndarray) -> float:
    return float(((numbers.astype(np.float64) - stand_for.astype(np.float64)) ** 2).sum())


@settings(max_examples=60)
@given(numbers=HALVES, count=st.sampled_from([2, 4]))
def test_no_other_values_are_nearer(numbers: list[float], count: int) -> None:
    """All ways to cut the sorted numbers into so many parts, each with its mean."""
    given_ = np.array(numbers, np.float16)
    values, indices = _weights.nearest_values(given_, count)
    assert (len(values), indices.shape, values.dtype) == (count, given_.shape, np.float16)
    assert indices.max() < count
    ordered = np.sort(given_.astype(np.float64))
    best = min(
        sum(float(((part - part.mean()) ** 2).sum()) for part in np.split(ordered, cuts))
        for parts in range(min(count, len(ordered)))
        for cuts in map(list, itertools.combinations(range(1, len(ordered)), parts))
    )
    # The values themselves are rounded to half.
    rounding = sum((abs(x) * 2.0**-10) ** 2 for x in (*numbers, 1e-3))
    assert cost(given_, values[indices]) <= 1.001 * best + 2 * rounding


@given(numbers=st.lists(HALVES.filter(lambda row: len(row) >= 2), min_size=1, max_size=3))
def test_whole_numbers_are_off_by_half_a_step_at_most(numbers: list[list[float]]) -> None:
    width = min(map(len, numbers))
    given_ = np.array([row[:width] for row in numbers], np.float16)
    stand_for = int8.scaled(given_, 0)
    assert stand_for.dtype == np.float16
    steps = np.abs(given_).max(axis=1, keepdims=True).astype(np.float64) / 127
    # Quotients and products are in half, and the least step that it can tell is 6e-8.
    allowed = 0.5 * steps + np.abs(given_).astype(np.float64) * 2.0**-9 + 127 * 6e-8
    assert (np.abs(stand_for.astype(np.float64) - given_) <= allowed).all()


def test_a_channel_of_zeros_stays_one() -> None:
    stand_for = int8.scaled(np.zeros((2, 3), np.float16), 0)
    assert stand_for.tobytes() == bytes(12)


@pytest.mark.parametrize("name", COMPRESSED)
def test_small_weights_stay_in_half(name: str) -> None:
    stored = precisions.get(name).stored
    for small in (weight(LARGE + 1), weight(2, LARGE // 2)):
        assert torch.equal(stored(small, 0), small.half())
    large = weight(2, LARGE // 2 + 1)
    assert stored(large, 0).dtype is torch.float16
    assert not torch.equal(stored(large, 0), large.half())


@pytest.mark.parametrize("name", COMPRESSED)
def test_fewer_bits_cost_more(name: str) -> None:
    large = weight(64, 64)
    errors = [
        cost(large.numpy(), precisions.get(n).stored(large, 0).float().numpy()) for n in COMPRESSED
    ]
    by_name = dict(zip(COMPRESSED, errors, strict=True))
    assert by_name["palette4"] > by_name["palette6"] > by_name["palette8"] > 0
    assert by_name["palette6"] > by_name["int8"] > 0


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_network_is_rounded_with_its_weights(name: str) -> None:
    network = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 2)).eval()
    precision = precisions.get(name)
    assert precision.rounding is not None
    kept = [parameter.clone() for parameter in network.parameters()]
    with precision.rounding(network) as rounded:
        assert torch.equal(rounded[0].weight, precision.stored(network[0].weight, 0).float())
        assert torch.equal(rounded[1].weight, network[1].weight.half().float())
        assert not torch.equal(rounded(torch.ones(1, 64)), network(torch.ones(1, 64)))
    assert all(map(torch.equal, kept, network.parameters()))


def test_channels_of_a_transposed_convolution_are_its_second_axis() -> None:
    network = nn.Sequential(nn.Conv2d(8, 32, 3), nn.ConvTranspose2d(32, 8, 3))
    axes = precisions.channel_axes(network)
    assert axes == {"0.weight": 0, "0.bias": 0, "1.weight": 1, "1.bias": 1}
    own = weight(32, 64)
    turned = torch.from_numpy(int8.scaled(own.half().mT.numpy(), 0)).mT
    assert torch.equal(torch.from_numpy(int8.scaled(own.half().numpy(), 1)), turned)
