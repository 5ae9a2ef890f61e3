from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mvdeploy.stats.unpaired import BLIND, UnpairedEstimate, ratio, ratio_of_values

TIMES = st.lists(st.integers(10**5, 10**8), min_size=2, max_size=8)
SESSIONS = st.lists(
    st.lists(st.integers(10**5, 10**8), min_size=1, max_size=9), min_size=2, max_size=6
)


@settings(deadline=None)
@given(SESSIONS, SESSIONS, st.sampled_from([50.0, 90.0, 95.0, 99.0]))
def test_swapping_the_sides_inverts_everything(
    a: list[list[int]], b: list[list[int]], q: float
) -> None:
    there, back = ratio(a, b, q), ratio(b, a, q)
    assert back.ratio == pytest.approx(1 / there.ratio)
    assert back.low == pytest.approx(1 / there.high)
    assert back.high == pytest.approx(1 / there.low)


@settings(deadline=None)
@given(TIMES, TIMES, st.integers(2, 9))
def test_the_unit_does_not_matter(a: list[int], b: list[int], factor: int) -> None:
    small = ratio_of_values(a, b)
    large = ratio_of_values([t * factor for t in a], [t * factor for t in b])
    assert large.ratio == pytest.approx(small.ratio)
    assert (large.low, large.high) == pytest.approx((small.low, small.high), rel=1e-6)


@settings(deadline=None)
@given(TIMES, TIMES)
def test_the_ratio_lies_in_its_interval(a: list[int], b: list[int]) -> None:
    found = ratio_of_values(a, b)
    assert 0 <= found.low <= found.ratio <= found.high


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("n", "m"), [(4, 6), (2, 9), (5, 2)])
def test_agrees_with_scipy(n: int, m: int, level: float) -> None:
    rng = np.random.default_rng(n)
    a, b = np.exp(rng.normal(0, 0.02, n)), 1.1 * np.exp(rng.normal(0, 0.1, m))
    found = ratio_of_values(a.tolist(), b.tolist(), level)
    expected = stats.ttest_ind(np.log(b), np.log(a), equal_var=False).confidence_interval(level)
    assert np.log([found.low, found.high]) == pytest.approx([expected.low, expected.high])
    assert found.ratio == pytest.approx(np.exp(np.log(b).mean() - np.log(a).mean()))
    assert found.level == level


def test_each_session_counts_once() -> None:
    # One long session must not outweigh short ones: its inferences resemble each other.
    a = [[100] * 1000, [200], [200]]
    b = [[200], [200], [200]]
    assert ratio(a, b).ratio == pytest.approx(2 ** (1 / 3))


def test_the_percentile_that_was_asked_for() -> None:
    a = [list(range(100, 201))] * 2
    b = [[*range(100, 191), *(t * 2 for t in range(191, 201))]] * 2
    assert ratio(a, b, 50).ratio == 1
    assert ratio(a, b, 95).ratio == pytest.approx(2)


def test_sessions_without_samples_are_left_out() -> None:
    a, b = [[10], [11], [12]], [[12], [12], [14]]
    assert ratio([*a, []], [[], *b]) == ratio(a, b)


def test_constant_sides() -> None:
    same = ratio_of_values([5, 5], [5, 5, 5])
    assert (same.ratio, same.low, same.high) == (1, 1, 1)
    half = ratio_of_values([5, 5, 5], [7, 8, 9])
    # With no spread on one side the other's degrees of freedom are all there are.
    expected = stats.t.ppf(0.975, 2) * np.std(np.log([7, 8, 9]), ddof=1) / np.sqrt(3)
    assert np.log(half.high / half.ratio) == pytest.approx(expected)


def test_covers_the_ratio_between_sessions() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(400):
        a, b = np.exp(rng.normal(0, 0.02, 4)), 1.1 * np.exp(rng.normal(0, 0.05, 5))
        found = ratio_of_values(a.tolist(), b.tolist())
        hits += found.low <= 1.1 <= found.high
    assert 0.92 <= hits / 400 <= 0.99


@pytest.mark.parametrize("empty", [[], [5], [5, 0], [0, 0]])
def test_too_little_is_a_value_error(empty: list[int]) -> None:
    message = "a time is zero" if 0 in empty else f"only {len(empty)} of the two or more sessions"
    for sides in ((empty, [5, 6]), ([5, 6], empty)):
        with pytest.raises(ValueError, match=message):
            ratio_of_values(*sides)
        with pytest.raises(ValueError, match=message):
            ratio([[t] for t in sides[0]], [[t] for t in sides[1]])


def test_a_percentile_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        ratio([[1], [2]], [[1], [2]], 101)


@pytest.mark.parametrize(
    ("found", "low", "high", "verdict"),
    [
        (1.10, 1.08, 1.12, "slower"),
        (0.90, 0.88, 0.92, "faster"),
        (1.04, 1.03, 1.05, "no difference detected"),
        (0.96, 0.95, 0.97, "no difference detected"),
        (1.10, 0.99, 1.22, "no difference detected"),
        (0.90, 0.80, 1.01, "no difference detected"),
        (1.10, 1.00, 1.21, "no difference detected"),
        (1.00, 1.00, 1.00, "no difference detected"),
        (1.051, 1.05, 1.052, "slower"),
        (0.949, 0.94, 0.95, "faster"),
    ],
)
def test_verdicts(found: float, low: float, high: float, verdict: str) -> None:
    assert UnpairedEstimate(found, low, high, 0.95).verdict == verdict


@settings(deadline=None)
@given(SESSIONS, SESSIONS)
def test_a_verdict_needs_the_interval_and_the_size(a: list[list[int]], b: list[list[int]]) -> None:
    found = ratio(a, b)
    told = found.verdict != "no difference detected"
    assert told == (abs(found.ratio - 1) >= BLIND and (found.low > 1 or found.high < 1))


def drifting(rng: np.random.Generator) -> tuple[list[list[int]], list[list[int]]]:
    """Two runs of one model on a machine that is up to 4 % slower for the whole of a run."""
    runs = []
    for _ in range(2):
        machine = float(np.exp(rng.uniform(-0.02, 0.02)))
        runs.append((5e6 * machine * np.exp(rng.normal(0, 0.003, (4, 30)))).astype(int).tolist())
    return runs[0], runs[1]


def test_it_is_blind_to_what_runs_differ_by() -> None:
    rng = np.random.default_rng(5)
    found = [ratio(*drifting(rng)) for _ in range(200)]
    # The intervals alone would be wrong most of the time; that is what the limit is for.
    assert np.mean([e.low > 1 or e.high < 1 for e in found]) > 0.5
    assert all(e.verdict == "no difference detected" for e in found)
