from __future__ import annotations

import numpy as np
import pytest

from mvdeploy.stats.ranks import median_by_ranks


@pytest.mark.parametrize(
    ("count", "low", "high", "level"),
    [(6, 1, 6, 0.96875), (9, 2, 8, 0.9609375), (20, 6, 15, 0.9586105346679688)],
)
def test_ranks_are_those_of_the_tables(count: int, low: int, high: int, level: float) -> None:
    """As in any table of intervals for a median, such as Conover's."""
    found = median_by_ranks([float(n) for n in range(count, 0, -1)])
    assert found is not None
    assert (found.low, found.high, found.blocks) == (low, high, count)
    assert found.level == pytest.approx(level)


@pytest.mark.parametrize("count", range(1, 6))
def test_too_few_have_none(count: int) -> None:
    assert median_by_ranks([1.0] * count) is None


def test_it_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    trials = rng.lognormal(0, 1, (4000, 9))  # whose median is 1
    found = [median_by_ranks(values.tolist()) for values in trials]
    share = np.mean([one is not None and one.low <= 1 <= one.high for one in found])
    assert share == pytest.approx(0.9609, abs=0.012)
