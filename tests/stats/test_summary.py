from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdeploy.stats.summary import summarise

TIMES = st.lists(st.integers(1, 10**10), min_size=2, max_size=60)


def test_known_values() -> None:
    summary = summarise([2_000_000, 4_000_000, 4_000_000, 4_000_000, 6_000_000])
    assert summary.count == 5
    assert summary.as_ms() == pytest.approx(
        {
            "mean": 4.0,
            "std": 2**0.5,
            "min": 2.0,
            "p10": 2.8,
            "p50": 4.0,
            "p90": 5.2,
            "p95": 5.6,
            "p99": 5.92,
            "max": 6.0,
        }
    )


@settings(deadline=None)
@given(TIMES)
def test_statistics_are_in_order(samples: list[int]) -> None:
    s = summarise(samples)
    ordered = [s.min, s.p10, s.p50, s.p90, s.p95, s.p99, s.max]
    assert all(a <= b * (1 + 1e-12) for a, b in itertools.pairwise(ordered))


@settings(deadline=None)
@given(TIMES, st.integers(2, 1000))
def test_scales_with_the_samples(samples: list[int], factor: int) -> None:
    small, large = summarise(samples), summarise([s * factor for s in samples])
    assert large.p90 == pytest.approx(small.p90 * factor)
    assert large.std == pytest.approx((small.std or 0) * factor, abs=1e-3)


def test_one_sample_has_no_standard_deviation() -> None:
    summary = summarise([5])
    assert summary.std is None
    assert json.loads(json.dumps(summary.as_ms()))["std"] is None


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, ("p90", "p95", "p99")),
        (9, ("p90", "p95", "p99")),
        (10, ("p95", "p99")),
        (20, ("p99",)),
        (99, ("p99",)),
        (100, ()),
    ],
)
def test_says_which_percentiles_have_too_few_samples(count: int, expected: tuple[str, ...]) -> None:
    assert summarise(list(range(1, count + 1))).too_few_for == expected


def test_needs_samples() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summarise([])
