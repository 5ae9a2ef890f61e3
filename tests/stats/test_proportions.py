"""Shares and differences of shares: those of SciPy and of the literature, and what must hold."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mvdeploy.stats import proportions

COUNTS = st.integers(0, 3000)


@given(COUNTS, COUNTS, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_is_wilsons_of_scipy(hits: int, others: int, level: float) -> None:
    of = hits + others or 1
    found = proportions.wilson(hits, of, level)
    known = stats.binomtest(hits, of).proportion_ci(level, method="wilson")
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-12)
    assert 0 <= found.low <= found.share <= found.high <= 1


@given(COUNTS, COUNTS)
def test_the_test_is_the_binomial_test_of_scipy(only_a: int, only_b: int) -> None:
    found = proportions.mcnemar(only_a, only_b)
    if only_a + only_b == 0:
        assert found == 1
    else:
        known = stats.binomtest(only_a, only_a + only_b).pvalue
        assert found == pytest.approx(known, rel=1e-9, abs=1e-250)  # SciPy's own ends in 0 there


@given(st.integers(0, 60), st.integers(0, 1200))
def test_the_test_is_what_coins_come_to(few: int, many: int) -> None:
    tosses = few + many
    ways = sum(math.comb(tosses, heads) for heads in range(min(few, many) + 1))
    exact = float(min(Fraction(1), Fraction(2 * ways, 2**tosses)))
    assert proportions.mcnemar(few, many) == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_the_interval_of_the_difference_is_newcombes() -> None:
    # Newcombe 1998, table II, method 10: 36, 12, 2 and 0 pairs; his difference is the other way.
    found = proportions.paired_difference(36, 2, 12, 0)
    assert (found.low, found.high) == pytest.approx((0.0569, 0.3404), abs=1e-4)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_a_difference_lies_in_its_interval_and_turns_its_sign(
    both: int, only_a: int, only_b: int, neither: int
) -> None:
    if not both + only_a + only_b + neither:
        both = 1
    found = proportions.paired_difference(both, only_a, only_b, neither)
    other = proportions.paired_difference(both, only_b, only_a, neither)
    assert -1 - 1e-12 <= found.low <= found.difference <= found.high <= 1 + 1e-12
    assert (found.low, found.high) == pytest.approx((-other.high, -other.low), abs=1e-12)
    assert found.p == other.p


@pytest.mark.parametrize(("shares"), [(0.66, 0.02, 0.02, 0.30), (0.5, 0.05, 0.02, 0.43)])
def test_the_interval_covers_the_difference_as_often_as_it_says(
    shares: tuple[float, float, float, float],
) -> None:
    true = shares[2] - shares[1]
    drawn = np.random.default_rng(0).multinomial(500, shares, 2000)
    intervals = (proportions.paired_difference(*map(int, cells)) for cells in drawn)
    covered = np.mean([one.low <= true <= one.high for one in intervals])
    assert abs(covered - 0.95) < 0.02


def test_equal_answers_leave_a_width() -> None:
    found = proportions.paired_difference(700, 0, 0, 300)
    assert found.difference == 0 and found.p == 1
    assert 0 < found.high < 0.003 and found.low == pytest.approx(-found.high)


@pytest.mark.parametrize(("hits", "of"), [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_share(hits: int, of: int) -> None:
    with pytest.raises(ValueError, match="images"):
        proportions.wilson(hits, of)


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="no images"):
        proportions.paired_difference(0, 0, 0, 0)
    with pytest.raises(ValueError, match="negative"):
        proportions.paired_difference(5, -1, 0, 0)
    with pytest.raises(ValueError, match="negative"):
        proportions.mcnemar(-1, 3)
    with pytest.raises(ValueError, match="between 0 and 1"):
        proportions.wilson(1, 2, 1.0)
    assert math.isclose(proportions.mcnemar(0, 1), 1)
