from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdeploy.stats.percentiles import percentile

TIMES = st.lists(st.integers(1, 10**10), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("q", "expected"), [(0, 10.0), (10, 14.0), (50, 30.0), (90, 46.0), (99, 49.6), (100, 50.0)]
)
def test_interpolates_between_order_statistics(q: float, expected: float) -> None:
    assert percentile([50, 10, 40, 20, 30], q) == pytest.approx(expected)


@settings(deadline=None)
@given(TIMES, st.floats(0, 100))
def test_lies_between_the_extremes(samples: list[int], q: float) -> None:
    assert min(samples) <= percentile(samples, q) <= max(samples)


@settings(deadline=None)
@given(TIMES, st.permutations(range(101)))
def test_grows_with_q(samples: list[int], qs: list[int]) -> None:
    low, high = sorted(qs[:2])
    slack = 1 + 1e-12
    assert percentile(samples, low) <= percentile(samples, high) * slack


def test_needs_samples() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


@pytest.mark.parametrize("q", [-1, 100.5])
def test_refuses_what_is_no_percentile(q: float) -> None:
    with pytest.raises(ValueError, match="not between 0 and 100"):
        percentile([1], q)
