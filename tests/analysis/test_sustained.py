"""What is found in series whose truth is known: steps, drift, nothing, and what else changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.sustained import SustainedView, order, sustained_view
from mvdeploy.analysis.view import View, view_of
from mvdeploy.records import DeviceState, Interval, Moment, Plan, Reading, Sustained
from mvdeploy.stats import sketch
from tests.saved_runs import one_case

PLAN = Plan(sustained_s=180.0, interval_s=10.0)


def interval(start_s: float, times: Sequence[float], computing: float = 0.98) -> Interval:
    wall = [round(t) for t in times]
    p50, p90, p99 = np.percentile(wall, (50, 90, 99))
    return Interval(
        start_s=start_s,
        length_s=10.0,
        wall_ns=sum(wall),
        cpu_ns=round(computing * sum(wall)),
        p50_ns=p50,
        p90_ns=p90,
        p99_ns=p99,
        cpu_p50_ns=computing * p50,
        bins=sketch.bins_of(wall),
    )


def series(
    levels: Sequence[float], seed: int = 0, noise: float = 0.01, computing: Sequence[float] = ()
) -> tuple[Interval, ...]:
    """Return intervals about these medians, ms, each off by some noise of its own."""
    rng = np.random.default_rng(seed)
    shares = computing or [0.98] * len(levels)
    return tuple(
        interval(
            10.0 * i, 1e6 * ms * rng.lognormal(0, noise) * rng.lognormal(0, 0.05, 200), shares[i]
        )
        for i, ms in enumerate(levels)
    )


def moments(count: int, readings: Callable[[int], dict[str, Reading]]) -> tuple[Moment, ...]:
    return tuple(Moment(10.0 * i + 5, DeviceState(str(i), readings(i))) for i in range(count))


@pytest.fixture(scope="module")
def case() -> CaseView:
    return view_of(one_case().saved, {}).cases[0]


def seen(
    case: CaseView, intervals: tuple[Interval, ...], taken: tuple[Moment, ...] = ()
) -> SustainedView:
    record = Sustained("now", 180.0, 10.0, sketch.ACCURACY, False, intervals, taken)
    return sustained_view(case, record, PLAN)


STEP = [4.0] * 9 + [6.0] * 9


def test_a_step_is_found_and_dated(case):
    found = seen(case, series(STEP))
    (shift,) = found.shifts
    assert found.slows is shift
    assert (shift.at_s, shift.within_s) == (90.0, 10.0)
    assert shift.median == pytest.approx(1.5, rel=0.03)
    assert found.steady.start_s == 90.0
    assert found.steady.p50_ns == pytest.approx(6e6, rel=0.02)
    assert found.first.stop_s == 60.0
    assert found.factor is not None and found.factor.low < 1.5 < found.factor.high
    assert found.factor.ratio == pytest.approx(1.5, rel=0.02)


def test_what_the_median_does_not_show_is_found_in_the_mean(case):
    """A core that is shared stops one inference of thirty, for long."""
    rng = np.random.default_rng(3)
    parts = []
    for i in range(18):
        times = 1e6 * rng.lognormal(0, 0.02, 600)
        if i >= 9:
            times[::30] += 30e6
        parts.append(interval(10.0 * i, times, 0.5 if i >= 9 else 0.98))
    (shift,) = seen(case, tuple(parts)).shifts
    assert shift.at_s == 90.0
    assert shift.median == pytest.approx(1.0, abs=0.02) and shift.mean > 1.9
    assert shift.cause == "load"


def test_false_alarms_are_rare(case):
    alarms = sum(
        bool(seen(case, series([4.0] * 30, seed, noise=0.06)).shifts) for seed in range(100)
    )
    assert alarms <= 4


def test_what_would_have_been_found_is_found_in_most_runs(case):
    quiet = [seen(case, series([4.0] * 18, seed, noise=0.08)) for seed in range(20)]
    said = float(np.median([found.detectable for found in quiet]))
    assert 0.15 < said < 0.40
    stepped = [4.0] * 9 + [4.0 * (1 + said)] * 9
    found = [bool(seen(case, series(stepped, seed, noise=0.08)).shifts) for seed in range(40)]
    assert sum(found) >= 26
    assert seen(case, series([4.0] * 18, noise=0.001)).detectable == 0.05


def test_drift_without_a_step_is_told(case):
    found = seen(case, series([4.0 * (1 + 0.002 * i) for i in range(24)], noise=0.002))
    assert not found.shifts
    assert found.drift == pytest.approx(0.047, abs=0.01)
    assert seen(case, series([4.0] * 24)).drift is None


def test_too_few_intervals_tell_nothing(case):
    found = seen(case, series([4.0, 4.0, 9.0, 9.0]))
    assert not found.enough and not found.shifts
    assert seen(case, series([4.0])).factor is None


def test_an_interval_that_was_cut_off_is_not_looked_at(case):
    intervals = series([*STEP, 20.0])
    short = dataclasses.replace(intervals[-1], length_s=0.4)
    assert len(seen(case, (*intervals[:-1], short)).intervals) == 18


def cooled(i: int) -> dict[str, Reading]:
    hot = i >= 9
    clocks = ("300000",) * 4 + (("1800000",) * 4 if hot else ("2800000",) * 4)
    return {"cpu_khz": clocks, "thermal_status": "severe" if hot else "none"}


def test_clocks_and_heat_that_changed_with_it_are_told(case):
    (shift,) = seen(case, series(STEP), moments(18, cooled)).shifts
    assert shift.cause == "heat"
    told = {one.name: (one.before, one.after) for one in shift.evidence}
    assert told["thermal status"] == ("none", "severe")
    assert told["clock"] == ("1550 MHz", "1050 MHz")


def test_the_clocks_are_those_of_the_cores_that_work(case):
    record = Sustained(
        "now", 180.0, 10.0, sketch.ACCURACY, False, series(STEP), moments(18, cooled)
    )
    (shift,) = sustained_view(case, record, dataclasses.replace(PLAN, cores=(4, 5))).shifts
    assert [one.before for one in shift.evidence if one.name == "clock"] == ["2800 MHz"]
    (shift,) = sustained_view(case, record, dataclasses.replace(PLAN, cores=(0,))).shifts
    assert [one.name for one in shift.evidence] == ["thermal status"]


def busy(i: int) -> dict[str, Reading]:
    waited = 2e9 * i if i < 9 else 2e9 * 9 + 9e9 * (i - 9)
    return {"run_delay_ns": int(waited), "thermal_status": "none", "cpu_khz": ("2000000",) * 2}


def test_load_of_other_programs_is_not_called_throttling(case):
    (shift,) = seen(case, series(STEP), moments(18, busy)).shifts
    assert shift.cause == "load"
    assert [(one.before, one.after) for one in shift.evidence] == [("0.20", "0.90")]


def test_both_at_once_cannot_be_told_apart(case):
    taken = moments(18, lambda i: {**busy(i), **cooled(i)})
    assert seen(case, series(STEP), taken).shifts[0].cause == "both"


def test_readings_that_stay_are_no_cause(case):
    taken = moments(18, lambda i: {"cpu_khz": ("2000000",), "thermal_status": "none"})
    assert seen(case, series(STEP), taken).shifts[0].cause == "none"


def test_readings_that_speak_for_the_other_direction_are_left_out(case):
    (shift,) = seen(case, series(STEP[::-1]), moments(18, cooled)).shifts
    assert not shift.slower and shift.cause == "none"
    assert seen(case, series(STEP[::-1])).slows is None


def test_a_device_that_tells_nothing_leaves_the_cause_open(case):
    record = Sustained("now", 180.0, 10.0, sketch.ACCURACY, False, series(STEP))
    (shift,) = sustained_view(case, record, dataclasses.replace(PLAN, threads=2)).shifts
    assert shift.cause == "unknown"
    # Core ML tells no CPU times.
    silent = tuple(dataclasses.replace(i, cpu_ns=0, cpu_p50_ns=0.0) for i in series(STEP))
    assert seen(case, silent).shifts[0].cause == "unknown"


def test_cases_that_change_places_are_told_when_they_are_apart(case):
    a, b = (dataclasses.replace(case, key=key) for key in "AB")
    throttles = seen(a, series([4.0] * 9 + [7.0] * 9))
    steady = seen(b, series([5.0] * 18, seed=1))
    found = order([throttles, steady])
    assert found is not None
    assert [c.key for c in found.first] == ["A", "B"]
    assert [c.key for c in found.steady] == ["B", "A"]
    assert [(x.key, y.key) for x, y in found.sure] == [("A", "B")]
    same = order([seen(a, series([5.0] * 18)), steady])
    assert same is not None and not same.sure
    assert order([throttles]) is None


def test_a_view_of_a_run_has_them():
    story = one_case()
    record = Sustained("now", 180.0, 10.0, sketch.ACCURACY, False, series(STEP))
    (one,) = story.saved.cases
    saved = dataclasses.replace(story.saved, cases=(dataclasses.replace(one, sustained=record),))
    view: View = view_of(saved, {})
    assert [found.slows.at_s for found in view.sustained if found.slows] == [90.0]
