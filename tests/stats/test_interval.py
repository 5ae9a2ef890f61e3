from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdeploy.stats.interval import median_interval, t_quantile

SESSIONS = st.lists(
    st.lists(st.integers(10**6, 10**7), min_size=20, max_size=40), min_size=1, max_size=5
)


@settings(deadline=None, max_examples=40)
@given(SESSIONS)
def test_holds_the_overall_median(sessions: list[list[int]]) -> None:
    interval = median_interval(sessions)
    assert interval is not None
    median = float(np.median([t for s in sessions for t in s]))
    assert interval.low <= median * (1 + 1e-12)
    assert interval.high >= median * (1 - 1e-12)
    assert interval.blocks >= 10


@settings(deadline=None, max_examples=40)
@given(SESSIONS, st.integers(2, 1000))
def test_relative_width_does_not_depend_on_the_unit(sessions: list[list[int]], factor: int) -> None:
    small = median_interval(sessions)
    large = median_interval([[t * factor for t in s] for s in sessions])
    assert small is not None
    assert large is not None
    assert large.half_width_relative == pytest.approx(small.half_width_relative, abs=1e-9)


def test_identical_samples_have_no_width() -> None:
    interval = median_interval([[5_000_000] * 40] * 4)
    assert interval is not None
    assert interval.low == interval.high == 5_000_000
    assert interval.blocks == 12


def test_drift_widens_it() -> None:
    rng = np.random.default_rng(0)
    still = rng.normal(5e6, 1e5, 1000)
    drifting = still * np.linspace(1, 1.2, 1000)
    a = median_interval([[int(t) for t in still]])
    b = median_interval([[int(t) for t in drifting]])
    assert a is not None
    assert b is not None
    assert b.half_width_relative > 5 * a.half_width_relative


def test_covers_the_median_of_independent_samples() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        sessions = (5e6 * np.exp(rng.normal(0, 0.05, (4, 60)))).astype(int).tolist()
        interval = median_interval(sessions)
        assert interval is not None
        hits += interval.low <= 5e6 <= interval.high
    assert 180 <= hits <= 200


@pytest.mark.parametrize("sessions", [[], [[]], [[5] * 19], [[5] * 100, [5]], [[0] * 100]], ids=str)
def test_too_little_gives_none(sessions: list[list[int]]) -> None:
    assert median_interval(sessions) is None


def test_sessions_without_samples_are_left_out() -> None:
    assert median_interval([[5, 6] * 30, []]) == median_interval([[5, 6] * 30])


def test_t_quantile() -> None:
    assert t_quantile(0.975, 8) == pytest.approx(2.306004)
