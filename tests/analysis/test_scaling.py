"""Exponents: found again from power laws, with intervals that hold as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mvdeploy.analysis.scaling import Measured, exponent_of, fit

SIDES = (160, 192, 224, 256, 288, 320)


def power_law(
    exponent: float,
    sizes: int,
    sessions: int,
    rng: np.random.Generator,
    between: float = 0.0,
    at_size: float = 0.0,
) -> list[Measured]:
    """Times of squares: `between` is the spread of sessions, `at_size` that of whole sizes."""
    points = []
    for side in SIDES[:sizes]:
        true = 3.0 + exponent * math.log(side**2) + rng.normal(0, at_size)
        logs = true + rng.normal(0, between, sessions)
        points.append(Measured(side**2, tuple(map(float, logs))))
    return points


@settings(deadline=None)
@given(
    st.floats(-1, 4),
    st.floats(-20, 20),
    st.lists(st.integers(1, 10**7), min_size=2, max_size=8, unique=True),
    st.integers(1, 5),
)
def test_a_power_law_is_found_again(
    exponent: float, factor: float, sizes: list[int], sessions: int
) -> None:
    points = [Measured(n, (factor + exponent * math.log(n),) * sessions) for n in sizes]
    found = fit(points)
    apart = math.log(max(sizes) / min(sizes))
    assert found.exponent == pytest.approx(exponent, abs=1e-10 + 1e-12 / apart)
    assert found.at(sizes[0]) == pytest.approx(math.exp(points[0].mean), rel=1e-6)
    assert found.departure == pytest.approx(0, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(3, 6), st.floats(1e-3, 1e3))
def test_the_units_do_not_matter(seed: int, sizes: int, scale: float) -> None:
    points = power_law(1.1, sizes, 4, np.random.default_rng(seed), 0.05, 0.05)
    other = [Measured(p.size * scale, tuple(x + 5 for x in p.logs)) for p in points]
    a, b = fit(points), fit(other)
    assert a.low is not None and b.low is not None
    assert (b.exponent, b.low) == (pytest.approx(a.exponent), pytest.approx(a.low))


def test_the_line_is_that_of_scipy() -> None:
    points = power_law(1.2, 6, 1, np.random.default_rng(3), at_size=0.1)
    x, y = [math.log(p.size) for p in points], [p.mean for p in points]
    theirs, ours = stats.linregress(x, y), fit(points)
    assert (ours.exponent, ours.factor) == pytest.approx((theirs.slope, theirs.intercept))
    half = stats.t.ppf(0.975, 4) * theirs.stderr
    assert ours.low == pytest.approx(theirs.slope - half) and not ours.from_sessions


@pytest.mark.parametrize("sizes", [3, 4, 6])
@pytest.mark.parametrize(("between", "at_size"), [(0.03, 0.0), (0.0, 0.03), (0.03, 0.03)])
def test_intervals_hold_as_often_as_they_say(sizes: int, between: float, at_size: float) -> None:
    rng = np.random.default_rng(11)
    trials = 600
    held = sum(
        fit(power_law(1.1, sizes, 4, rng, between, at_size)).holds(1.1) for _ in range(trials)
    )
    # The standard error of a share of 95 % in 600 trials is 0.9 %.
    assert held / trials >= 0.93


def test_sessions_alone_would_hold_too_seldom() -> None:
    """Why residuals count: a size that departs does so in all of its sessions."""
    rng = np.random.default_rng(5)
    found = [fit(power_law(1.1, 4, 4, rng, 0.005, 0.03)) for _ in range(300)]
    assert sum(one.from_sessions for one in found) < 60
    assert sum(one.holds(1.1) for one in found) >= 0.93 * len(found)


def test_three_sizes_that_lie_on_a_line_are_no_certainty() -> None:
    """The residuals would say that the exponent is exact."""
    logs = [(math.log(n) + 0.05, math.log(n), math.log(n) - 0.05) for n in (1, 2, 4)]
    found = fit([Measured(n, three) for n, three in zip((1, 2, 4), logs, strict=True)])
    assert found.from_sessions and found.few
    assert found.low is not None and found.exponent - found.low > 0.05


def test_two_sizes_have_only_their_sessions() -> None:
    rng = np.random.default_rng(1)
    assert fit(power_law(1.0, 2, 1, rng, 0.1)).low is None
    found = fit(power_law(1.0, 2, 5, rng, 0.1))
    assert found.low is not None and found.from_sessions and found.few


@pytest.mark.parametrize("points", [[], [Measured(4, (1.0,))], [Measured(4, (1.0,))] * 2])
def test_one_size_has_no_exponent(points: list[Measured]) -> None:
    with pytest.raises(ValueError, match="two sizes"):
        fit(points)


def test_amounts_without_errors() -> None:
    assert exponent_of([1, 4, 16], [3, 12, 48]) == pytest.approx(1)
    assert exponent_of([1, 4], [3, 0]) is None
    assert exponent_of([4, 4], [3, 3]) is None
