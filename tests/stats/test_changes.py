"""Changes are found where they are, and hardly any where there is none: by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from mvdeploy.stats import changes

NOISE = 0.01
"""Between runs, relative."""


def series(
    rng: np.random.Generator, runs: int = 20, at: int | None = None, step: float = 1.0
) -> list[float]:
    times = 5e6 * np.exp(rng.normal(0, NOISE, runs))
    if at is not None:
        times[at:] *= step
    return [float(time) for time in times]


def places(times: list[float], **given: float) -> list[int]:
    return [change.at for change in changes.find(times, **given)]


@pytest.mark.parametrize("at", [6, 10, 15])
def test_a_step_of_five_percent_is_found_at_the_right_run(at: int) -> None:
    rng = np.random.default_rng(at)
    found = [places(series(rng, at=at, step=1.05)) for _ in range(25)]
    assert sum(len(one) == 1 for one in found) >= 24
    assert sum(one == [at] for one in found) >= 22
    assert all(abs(one[0] - at) <= 2 for one in found if one)


def test_hardly_any_is_found_among_equal_runs() -> None:
    rng = np.random.default_rng(0)
    assert sum(bool(places(series(rng))) for _ in range(120)) <= 3


def test_disturbed_runs_are_no_change_and_hide_none() -> None:
    rng = np.random.default_rng(2)
    alarms, hits = 0, 0
    for _ in range(25):
        quiet, stepped = series(rng), series(rng, at=12, step=1.05)
        for times in (quiet, stepped):
            times[int(rng.integers(20))] *= 1.3
        alarms += bool(places(quiet))
        hits += places(stepped) in ([11], [12], [13])
    assert alarms <= 2
    assert hits >= 20


def test_a_level_that_comes_back_is_two_changes() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(8):
        times = series(rng, 40)
        times[12:24] = [time * 1.05 for time in times[12:24]]
        found.append(places(times))
    assert sum(one == [12, 24] for one in found) > 5


def test_faster_and_slower_alike_in_any_unit_and_always_the_same() -> None:
    times = series(np.random.default_rng(4), at=10, step=1.05)
    assert places(times) == places([time / 1e6 for time in times]) == [10]
    assert places([1 / time for time in times]) == [10]
    assert changes.find(times) == changes.find(times)


def test_what_is_smaller_than_what_counts_is_none() -> None:
    times = series(np.random.default_rng(5), 30, at=15, step=1.05)
    assert places(times) == [15]
    assert places(times, least_shift=0.1) == []


def test_too_few_runs_tell_nothing() -> None:
    times = [5.0] * 6 + [6.0] * 5
    assert len(times) == changes.LEAST_RUNS - 1
    assert places(times) == []
    assert places([*times, 6.0]) == [6]


def test_runs_that_are_exactly_alike_have_no_change() -> None:
    assert places([5e6] * 30) == []
    assert places([5e6] * 15 + [5e6 * 1.02] * 15) == [15]


def test_many_runs_are_gone_through() -> None:
    """More than there are places that are tried at first."""
    times = series(np.random.default_rng(6), 400, at=250, step=1.03)
    assert [round(place, -1) for place in places(times)] == [250]


def test_a_time_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="a time is zero"):
        changes.find([1.0] * 20 + [0.0])
