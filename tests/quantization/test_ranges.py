from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.quantization import METHODS, ranges

LIMITS = st.floats(-1e30, 1e30, allow_subnormal=False)


@given(LIMITS, LIMITS, st.sampled_from([(0, 255), (-128, 127)]))
def test_zero_is_exact_and_others_are_within_half_a_step(
    a: float, b: float, whole: tuple[int, int]
) -> None:
    low, high = sorted((a, b))
    step, zero = ranges.scale(low, high, *whole)
    assert step > 0
    assert whole[0] <= zero <= whole[1]
    assert step == np.float32(step)
    values = np.linspace(min(low, 0.0), max(high, 0.0), 33)
    numbers = np.clip(np.rint(values / step) + zero, *whole)
    off = np.abs((numbers - zero) * step - values)
    # The zero point is rounded too: at one end half a step more may be cut off.
    assert off.max() <= step * (1 + 1e-4)
    assert (np.clip(np.rint(0 / step) + zero, *whole) - zero) * step == 0
    inside = (numbers > whole[0]) & (numbers < whole[1])
    assert off[inside].max(initial=0) <= step * (0.5 + 1e-4)


def test_symmetric_ranges_have_no_zero_point() -> None:
    assert ranges.symmetric(-1.0, 254.0, -128, 127) == (2.0, 0)
    assert ranges.symmetric(-254.0, 1.0, -128, 127) == (2.0, 0)
    assert ranges.symmetric(0.0, 510.0, -128, 127) == (2.0, -128)
    assert ranges.symmetric(3.0, 510.0, -128, 127) == (2.0, -128)


def test_scales_in_half_precision_are_numbers_of_it() -> None:
    for step in (1e-12, 0.1, 3.14159, 500.0):
        halved = ranges.halved(step)
        assert halved == float(np.float16(halved)) >= 2**-14
    assert ranges.halved(0.1) == pytest.approx(0.1, rel=2**-11)


def test_a_tensor_of_zeros_has_a_scale_that_engines_take() -> None:
    step, zero = ranges.scale(0.0, 0.0, -128, 127)
    assert 1e-3 < step < 1
    assert zero == -128


@pytest.mark.parametrize("size", [1e-20, 1e-6, 1e6, 1e30])
def test_small_and_large_tensors_keep_their_steps(size: float) -> None:
    step, _ = ranges.scale(-size, size, 0, 255)
    assert step == pytest.approx(2 * size / 255, rel=1e-6)


def histogram(values: np.ndarray) -> ranges.Histogram:
    made = ranges.Histogram(float(values.min()), float(values.max()))
    made.add(values)
    return made


@given(st.integers(0, 99), st.integers(1, 3000))
def test_counts_are_conserved(seed: int, count: int) -> None:
    values = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
    made = histogram(values)
    made.add(values * 3)
    assert made.counts.sum() == 2 * count


@pytest.mark.parametrize("percent", [50.0, 90.0, 99.0, 99.9, 100.0])
def test_percentiles_are_those_of_numpy(percent: float) -> None:
    values = np.random.default_rng(0).standard_normal(50_000).astype(np.float32)
    low, high = ranges.chosen(histogram(values), "percentile", percent)
    rest = (100 - percent) / 2
    bin_width = np.ptp(values) / ranges.BINS
    wanted = np.percentile(values, [rest, 100 - rest])
    # In the tails numbers lie further apart than the bins.
    apart = np.diff(np.sort(values))[[*range(40), *range(-40, 0)]].max()
    assert np.abs(np.array([low, high]) - wanted).max() <= 2 * bin_width + apart


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("method", METHODS)
def test_no_method_is_wider_than_what_was_seen(method: str, seed: int) -> None:
    values = np.random.default_rng(seed).standard_t(3, 20_000).astype(np.float32)
    low, high = ranges.chosen(histogram(values), method)
    assert values.min() <= low < high <= values.max() + 1e-4
    if method == "min-max":
        assert (low, high) == (values.min(), values.max())


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_is_its_own_range(method: str) -> None:
    assert ranges.chosen(histogram(np.full(9, 2.5, np.float32)), method) == (2.5, 2.5)
