from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.stats import sketch

times = st.lists(st.integers(1, 10**13), min_size=1, max_size=200)


@given(times, st.floats(0, 100))
def test_a_quantile_is_off_by_the_accuracy_at_most(values, q):
    found = sketch.quantile(sketch.bins_of(values), q)
    exact = sorted(values)[math.floor(q / 100 * (len(values) - 1))]
    assert abs(found - exact) <= exact * sketch.ACCURACY * (1 + 1e-9)


@given(st.lists(times, min_size=1, max_size=6))
def test_stretches_put_together_are_the_whole(parts):
    whole = sketch.bins_of(time for part in parts for time in part)
    assert sketch.merged(map(sketch.bins_of, parts)) == whole
    assert sum(count for _, count in whole) == sum(map(len, parts))


def test_hours_take_no_more_room_than_seconds():
    rng = np.random.default_rng(1)
    few, many = (sketch.bins_of((1e6 * rng.lognormal(0, 0.1, n)).tolist()) for n in (2000, 200_000))
    assert len(many) < 2 * len(few) < 1000


def test_a_time_of_zero_is_one_of_the_least():
    assert sketch.quantile(sketch.bins_of([0, 0, 0]), 50) == pytest.approx(1, rel=0.002)


@pytest.mark.parametrize(("bins", "q"), [((), 50), (((1, 1),), 101), (((1, 1),), -1)])
def test_what_has_no_quantile_is_refused(bins, q):
    with pytest.raises(ValueError, match="no times"):
        sketch.quantile(bins, q)
