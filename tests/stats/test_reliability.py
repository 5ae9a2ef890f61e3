from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.records import (
    UNAVAILABLE,
    DeviceState,
    Finding,
    Level,
    Measurement,
    Plan,
    Reading,
    Samples,
    Session,
)
from mvdeploy.runners.loop import time_order
from mvdeploy.stats.interval import median_interval
from mvdeploy.stats.paired import Clock, RatioEstimate
from mvdeploy.stats.reliability import (
    LIMITS,
    Grade,
    Limits,
    Signal,
    Verdict,
    judge,
    judge_comparison,
    more_threads_than_free_cores,
)

PLAN = Plan()
STATE: dict[str, Reading] = {
    "steal_ticks": 0,
    "total_ticks": 0,
    "cpu_khz": ("1800000", "2400000"),
    "cpu_max_khz": ("2400000", "2400000"),
    "governor": ("schedutil", "schedutil"),
    "background_process": "none",
    "background_cpu_share": 0.0,
}
GRADES = st.sampled_from(list(Grade))


def measured(
    wall: list[int] | None = None,
    cpu: list[int] | None = None,
    *,
    sessions: int = 1,
    before: dict[str, Reading] | None = None,
    after: dict[str, Reading] | None = None,
    findings: tuple[Finding, ...] = (),
    **fields: Any,
) -> Measurement:
    """Times of a case in equal sessions, without trouble but for what is given."""
    wall = [20_000_000] * 40 if wall is None else wall
    cpu = wall if cpu is None else cpu
    edges = [round(i * len(wall) / sessions) for i in range(sessions + 1)]
    steady = [Samples(tuple(wall[i:j]), tuple(cpu[i:j])) for i, j in itertools.pairwise(edges)]
    return Measurement(
        engine="onnxruntime",
        conditions={},
        sessions=tuple(Session(0, 1, Samples(), Samples(), s, **fields) for s in steady),
        load_ns=1,
        first=Samples(),
        peak_memory_bytes=0,
        baseline_memory_bytes=0,
        before=DeviceState("", {**STATE, **(before or {})}),
        after=DeviceState("", {**STATE, "total_ticks": 1000, **(after or {})}),
        findings=findings,
    )


def signal(verdict: Verdict, code: str) -> Signal:
    (found,) = [s for s in verdict.signals if s.code == code]
    return found


def codes(verdict: Verdict) -> set[str]:
    return {s.code for s in verdict.signals}


FINE, DOUBT, BAD = Grade.RELIABLE, Grade.DOUBTFUL, Grade.UNRELIABLE


# Grades


def test_grades_are_ordered_by_severity() -> None:
    assert sorted([BAD, FINE, DOUBT]) == [FINE, DOUBT, BAD] == list(Grade)
    assert max(FINE, DOUBT) is DOUBT
    assert DOUBT >= DOUBT > FINE
    assert FINE <= FINE < BAD
    assert [grade.severity for grade in Grade] == [0, 1, 2]


@given(st.floats(0, 10), st.floats(0, 10), st.sampled_from(list(LIMITS.values())))
def test_a_greater_value_never_has_a_better_grade(x: float, y: float, limits: Limits) -> None:
    assert limits.grade(min(x, y)) <= limits.grade(max(x, y))


def test_a_steady_measurement_is_reliable() -> None:
    verdict = judge(measured(), PLAN)
    assert verdict.grade is FINE
    assert verdict.reasons == ()
    assert verdict.unchecked == ()
    assert codes(verdict) == {"preempted", "drift", "steal", "throttled", "wide_interval"}


@pytest.mark.parametrize("seed", range(20))
def test_steady_samples_as_engines_give_them_are_reliable(seed: int) -> None:
    rng = np.random.default_rng(seed)
    level = np.repeat(np.exp(rng.normal(0, 0.003, 4)), 500)
    cpu = 5e6 * level * np.exp(rng.normal(0, 0.01, 2000))
    wall = cpu + rng.gamma(2, 2000, 2000) + np.where(rng.random(2000) < 0.02, 1_000_000, 0)
    made = measured(
        wall.astype(int).tolist(),
        cpu.astype(int).tolist(),
        sessions=4,
        anchor=Samples((700_000,) * 50, (700_000,) * 50),
    )
    verdict = judge(made, PLAN)
    assert verdict.grade is FINE
    assert verdict.unchecked == ()
    assert {"preempted_samples", "anchor"} < codes(verdict)


@given(st.lists(st.sampled_from(["steal", "drift", "preempted", "throttled"]), unique=True))
def test_the_gravest_signal_is_the_verdict(troubles: list[str]) -> None:
    wall, cpu = [20_000_000] * 40, [20_000_000] * 40
    after: dict[str, Reading] = {}
    if "steal" in troubles:
        after["steal_ticks"] = 10
    if "throttled" in troubles:
        after["governor"] = ("powersave", "schedutil")
    if "drift" in troubles:
        wall[20:] = cpu[20:] = [20_600_000] * 20
    if "preempted" in troubles:
        wall = [round(1.2 * t) for t in wall]
    verdict = judge(measured(wall, cpu, after=after), Plan(target=1.0))
    assert {s.code for s in verdict.reasons} == set(troubles)
    expected = BAD if "throttled" in troubles else DOUBT if troubles else FINE
    assert verdict.grade is expected


@pytest.mark.parametrize("plan", [PLAN, Plan(session_time_s=0)])
def test_a_case_without_samples_of_its_own_has_no_verdict(plan: Plan) -> None:
    with pytest.raises(ValueError, match="no latency to judge"):
        judge(measured([]), plan)


# Other programs


@pytest.mark.parametrize(
    ("wall", "grade"),
    [
        (19_000_000, FINE),
        (20_000_000, FINE),
        (21_999_999, FINE),
        (22_000_000, DOUBT),
        (26_000_000, DOUBT),
        (26_000_001, BAD),
    ],
)
def test_wall_time_beyond_cpu_time(wall: int, grade: Grade) -> None:
    verdict = judge(measured([wall] * 40, [20_000_000] * 40), PLAN)
    found = signal(verdict, "preempted")
    assert found.value == wall / 20_000_000
    assert found.grade is verdict.grade is grade
    assert (found.warn, found.bad) == (1.10, 1.30)
    assert found.values["ratio"] == found.value
    assert found.values["basis"] == "wall and CPU times"


@pytest.mark.parametrize(
    ("measured_ns", "delay_ns", "grade"),
    [
        (10**9, 0, FINE),
        (11 * 10**8, 2 * 10**8 - 2, FINE),
        (11 * 10**8, 2 * 10**8, DOUBT),
        (13 * 10**8, 6 * 10**8, DOUBT),
        (13 * 10**8, 6 * 10**8 + 2, BAD),
        (10**9, 2 * 10**9 - 1, BAD),
        (10**9, 2 * 10**9, BAD),
        (10**9, 10**12, BAD),
    ],
)
def test_threads_that_wait_for_a_core(measured_ns: int, delay_ns: int, grade: Grade) -> None:
    used: dict[str, int | str] = {"run_delay_ns": delay_ns}
    made = measured(sessions=2, usage=used, measured_ns=measured_ns)
    found = signal(judge(made, Plan(threads=2)), "preempted")
    assert found.grade is grade
    assert found.value is not None
    assert 1 <= found.value <= 100
    assert "waited" in str(found.values["basis"])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"usage": {"run_delay_ns": 5}},
        {"measured_ns": 10**9},
        {"usage": {"run_delay_ns": UNAVAILABLE}, "measured_ns": 10**9},
    ],
)
def test_several_threads_on_a_system_that_does_not_tell(fields: dict[str, Any]) -> None:
    verdict = judge(measured([30_000_000] * 40, [20_000_000] * 40, **fields), Plan(threads=2))
    assert verdict.unchecked == ("preempted",)
    found = signal(verdict, "preempted")
    assert (found.value, found.grade, found.checked) == (None, FINE, False)
    assert "preempted_samples" not in codes(verdict)


@pytest.mark.parametrize(("cores", "code"), [(2, "more_threads_than_cores"), (16, "preempted")])
def test_more_threads_than_cores_are_not_other_programs(cores: int, code: str) -> None:
    used: dict[str, int | str] = {"run_delay_ns": 10**9}
    made = measured(usage=used, measured_ns=10**9)
    conditions: dict[str, Reading] = {"threads": 16, "cores": tuple(map(str, range(cores)))}
    made = dataclasses.replace(made, conditions=conditions)
    verdict = judge(made, Plan(threads=16))
    assert code in codes(verdict)
    assert ("preempted" in codes(verdict)) == (code == "preempted")
    if code != "preempted":
        assert signal(verdict, code).values.items() >= {("threads", 16), ("cores", 2)}


@pytest.mark.parametrize(
    ("threads", "changes", "free"),
    [
        (2, {"before": {"busy_cores": 1.1}}, 0.9),
        (2, {"after": {"busy_cores": 1.1}}, 0.9),
        (2, {"before": {"busy_cores": 9.0}}, 0.0),
        (2, {"before": {"busy_cores": 0.4}}, None),
        (2, {"before": {"busy_cores": UNAVAILABLE}}, None),
        (2, {"after": {"cpu_quota_cores": 1.0}}, 1.0),
        (2, {"after": {"cpu_quota_cores": "none"}}, None),
        # Both threads together waited 0.8 s of the second that was measured.
        (2, {"usage": {"run_delay_ns": 8 * 10**8}, "measured_ns": 10**9}, 1.2),
        (2, {"usage": {"run_delay_ns": 10**8}, "measured_ns": 10**9}, None),
        (1, {"before": {"busy_cores": 2.0}}, None),
    ],
)
def test_threads_that_others_leave_no_cores_for_are_found(
    threads: int, changes: dict[str, Any], free: float | None
) -> None:
    made = measured(**changes)
    conditions: dict[str, Reading] = {"threads": threads, "cores": ("0", "1")}
    made = dataclasses.replace(made, conditions=conditions)
    found = more_threads_than_free_cores(made)
    expected = {"threads": 2, "cores": 2, "free": free}
    assert found == ({} if free is None else pytest.approx(expected))


def test_the_verdict_names_the_cores_that_were_not_free() -> None:
    made = measured(usage={"run_delay_ns": 8 * 10**8}, measured_ns=10**9)
    conditions: dict[str, Reading] = {"threads": 2, "cores": ("0", "1")}
    made = dataclasses.replace(made, conditions=conditions)
    verdict = judge(made, Plan(threads=2))
    assert "preempted" not in codes(verdict)
    found = signal(verdict, "more_threads_than_free_cores")
    assert found.grade is BAD and found.values["ratio"] == pytest.approx(1 / 0.6)


@pytest.mark.parametrize(
    ("quota", "held_us", "code"),
    [
        (0.5, 400_000, "cpu_quota"),
        (0.5, 1_000, "preempted"),
        (0.5, UNAVAILABLE, "preempted"),
        ("none", UNAVAILABLE, "preempted"),
    ],
)
def test_a_quota_is_named_when_it_held_the_run(quota: Reading, held_us: Reading, code: str) -> None:
    made = measured(
        [9_000_000] * 100,
        [5_000_000] * 100,
        before={"cpu_quota_cores": quota, "cpu_quota_held_us": 0},
        after={"cpu_quota_cores": quota, "cpu_quota_held_us": held_us},
        measured_ns=900_000_000,
    )
    verdict = judge(made, PLAN)
    assert {s.code for s in verdict.reasons} - {code} <= {"preempted_samples"}
    assert signal(verdict, code).grade is BAD
    assert ("preempted_samples" in codes(verdict)) == (code == "preempted")


@pytest.mark.parametrize(
    ("stopped", "periods", "how"),
    [
        (178, 194, "in 178 of 194 periods"),
        (1_234_567, 2_345_678, "in 1234567 of 2345678 periods"),
        (UNAVAILABLE, 194, "for 0.4 s"),
        (0, 0, "for 0.4 s"),
        (194, 178, "for 0.4 s"),
    ],
)
def test_a_quota_tells_how_it_held_the_run(stopped: Reading, periods: Reading, how: str) -> None:
    zeros: dict[str, Reading] = {"cpu_quota_stopped": 0, "cpu_quota_periods": 0}
    counted: dict[str, Reading] = {"cpu_quota_stopped": stopped, "cpu_quota_periods": periods}
    made = measured(
        [9_000_000] * 100,
        [5_000_000] * 100,
        before={"cpu_quota_cores": 0.5, "cpu_quota_held_us": 0, **zeros},
        after={"cpu_quota_cores": 0.5, "cpu_quota_held_us": 400_000, **counted},
        measured_ns=900_000_000,
    )
    assert signal(judge(made, PLAN), "cpu_quota").values.items() >= {("cores", 0.5), ("how", how)}


PARTIAL = (Finding("cpu_time_partial", Level.NOTE, {"threads": 1}),)


@pytest.mark.parametrize(
    ("cpu", "findings"), [([0] * 40, ()), ([], ()), ([3_000_000] * 40, PARTIAL)]
)
def test_cpu_times_that_are_not_whole_do_not_count(
    cpu: list[int], findings: tuple[Finding, ...]
) -> None:
    used: dict[str, int | str] = {"run_delay_ns": 10**9}
    made = measured([9_000_000] * 40, cpu, findings=findings, usage=used, measured_ns=12 * 10**8)
    verdict = judge(made, PLAN)
    assert signal(verdict, "preempted").value == pytest.approx(6)
    assert verdict.unchecked == ("preempted_samples",)


@pytest.mark.parametrize(
    ("lost", "grade"), [(0, FINE), (29, FINE), (30, DOUBT), (50, DOUBT), (51, BAD), (100, BAD)]
)
def test_inferences_that_lost_the_core(lost: int, grade: Grade) -> None:
    wall = [5_200_000] * lost + [5_034_000] * (100 - lost)
    found = signal(judge(measured(wall, [5_000_000] * 100), PLAN), "preempted_samples")
    assert found.value == lost / 100
    assert found.grade is grade
    assert found.values["percent"] == pytest.approx(lost)


@pytest.mark.parametrize(
    ("cpu", "away", "lost"),
    [
        (1_000_000, 100_000, False),
        (1_000_000, 100_001, True),
        (5_000_000, 100_000, False),
        (5_000_000, 100_001, True),
        (8_000_000, 160_000, False),
        (8_000_000, 160_001, True),
    ],
)
def test_what_counts_as_losing_the_core(cpu: int, away: int, lost: bool) -> None:
    verdict = judge(measured([cpu + away] * 40, [cpu] * 40), PLAN)
    assert signal(verdict, "preempted_samples").value == (1 if lost else 0)


@pytest.mark.parametrize(
    ("wall", "threads", "there"),
    [(10_000_000, 1, True), (10_000_001, 1, False), (5_000_000, 2, False)],
)
def test_lost_cores_are_counted_for_short_inferences_on_one_thread(
    wall: int, threads: int, there: bool
) -> None:
    verdict = judge(measured([wall] * 40), Plan(threads=threads))
    assert ("preempted_samples" in codes(verdict)) is there
    assert "preempted_samples" not in verdict.unchecked


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0.05, 0.1, {}),
        (0.95, 0.2, {"process": "before", "share": 0.95}),
        (0.2, 1.5, {"process": "after", "share": 1.5}),
        (UNAVAILABLE, 0.5, {"process": "after", "share": 0.5}),
        (UNAVAILABLE, UNAVAILABLE, {}),
    ],
)
def test_the_busiest_process_is_named(
    before: Reading, after: Reading, expected: dict[str, Reading]
) -> None:
    made = measured(
        [9_000_000] * 40,
        before={"background_process": "before", "background_cpu_share": before},
        after={"background_process": "after", "background_cpu_share": after},
    )
    verdict = judge(made, PLAN)
    for code in ("preempted", "preempted_samples"):
        values = signal(verdict, code).values
        assert {k: values[k] for k in values if k in ("process", "share")} == expected


# The machine


@pytest.mark.parametrize(
    ("last", "grade"),
    [
        (20_000_000, FINE),
        (20_399_999, FINE),
        (20_400_000, DOUBT),
        (19_600_000, DOUBT),
        (21_000_000, DOUBT),
        (19_000_000, DOUBT),
        (21_000_001, BAD),
        (18_999_999, BAD),
    ],
)
def test_drift_between_the_halves(last: int, grade: Grade) -> None:
    made = measured([20_000_000] * 10 + [last] * 10)
    found = signal(judge(made, PLAN), "drift")
    assert found.grade is grade
    assert found.value == abs(last - 20_000_000) / 20_000_000
    assert found.values["percent"] == 100 * (last - 20_000_000) / 20_000_000
    assert (found.values["fine_below"], found.values["bad_above"]) == (2, 5)


def test_drift_needs_samples() -> None:
    assert "drift" in judge(measured([5] * 19), PLAN).unchecked
    assert "drift" in judge(measured([0] * 40), PLAN).unchecked


@pytest.mark.parametrize(
    ("stolen", "grade"), [(0, FINE), (4, FINE), (5, DOUBT), (20, DOUBT), (21, BAD)]
)
def test_steal(stolen: int, grade: Grade) -> None:
    made = measured(before={"steal_ticks": 70}, after={"steal_ticks": 70 + stolen})
    verdict = judge(made, PLAN)
    assert verdict.grade is signal(verdict, "steal").grade is grade
    assert signal(verdict, "steal").value == stolen / 1000


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"steal_ticks": UNAVAILABLE}, {}),
        ({}, {"steal_ticks": UNAVAILABLE}),
        ({}, {"total_ticks": UNAVAILABLE}),
        ({}, {"total_ticks": 0}),
        ({"total_ticks": 2000}, {}),
        ({"steal_ticks": 9}, {}),
        ({"steal_ticks": "none"}, {}),
        ({"steal_ticks": ("0", "0")}, {}),
    ],
)
def test_steal_that_cannot_be_read(before: dict[str, Reading], after: dict[str, Reading]) -> None:
    verdict = judge(measured(before=before, after=after), PLAN)
    assert verdict.unchecked == ("steal",)
    assert verdict.grade is FINE


def test_readings_that_are_not_there_at_all() -> None:
    made = dataclasses.replace(
        measured(), before=DeviceState("", {}), after=DeviceState("", {"steal_ticks": 0})
    )
    assert judge(made, PLAN).unchecked == ("steal", "throttled")


def anchor(*times: int) -> Samples:
    return Samples(times, times)


@pytest.mark.parametrize(
    ("last", "grade"),
    [
        (1_000_000, FINE),
        (1_019_999, FINE),
        (1_020_000, DOUBT),
        (950_000, DOUBT),
        (1_050_000, DOUBT),
        (1_050_001, BAD),
        (949_999, BAD),
    ],
)
def test_the_anchor_from_the_first_quarter_to_the_last(last: int, grade: Grade) -> None:
    times = (1_000_000,) * 5 + (7_000_000,) * 10 + (last,) * 5
    verdict = judge(measured(anchor=anchor(*times)), PLAN)
    assert verdict.grade is signal(verdict, "anchor").grade is grade
    assert signal(verdict, "anchor").value == abs(last - 1_000_000) / 1_000_000


def test_the_anchor_of_all_sessions_counts() -> None:
    made = measured(sessions=2)
    first, second = made.sessions
    sessions = (
        dataclasses.replace(first, anchor=anchor(*[1_000_000] * 10)),
        dataclasses.replace(second, anchor=anchor(*[1_100_000] * 10)),
    )
    verdict = judge(dataclasses.replace(made, sessions=sessions), PLAN)
    assert signal(verdict, "anchor").values["percent"] == pytest.approx(10)


def test_an_anchor_with_few_samples_is_unchecked_and_no_anchor_is_not_missed() -> None:
    assert judge(measured(anchor=anchor(*[5] * 19)), PLAN).unchecked == ("anchor",)
    assert "anchor" not in codes(judge(measured(), PLAN))


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        (
            {},
            {"cpu_max_khz": ("1800000", "1800000")},
            "cpu_max_khz from 2400000 to 1800000",
        ),
        (
            {},
            {"cpu_max_khz": ("1800000", "2400000"), "governor": ("powersave", "schedutil")},
            "cpu_max_khz from 2400000 to 1800000, 2400000; "
            "governor from schedutil to powersave, schedutil",
        ),
        (
            {"cpu_max_khz": ("1", "1", "2")},
            {"cpu_max_khz": ("1", "2", "2")},
            "cpu_max_khz from 1, 1, 2 to 1, 2, 2",
        ),
        ({"boost": "on"}, {"boost": "off"}, "boost from on to off"),
        (
            {"scheduling_groups": ("cpuset=/foreground", "cpu=/")},
            {"scheduling_groups": ("cpuset=/background", "cpu=/")},
            "scheduling_groups from cpuset=/foreground, cpu=/ to cpuset=/background, cpu=/",
        ),
        (
            {"thermal_status": "none"},
            {"thermal_status": "severe"},
            "thermal_status from none to severe",
        ),
        ({"thermal_status": 0}, {"thermal_status": 3}, "thermal_status from 0 to 3"),
    ],
)
def test_a_clock_limit_or_the_thermal_status_changed(
    before: dict[str, Reading], after: dict[str, Reading], changes: str
) -> None:
    verdict = judge(measured(before=before, after=after), PLAN)
    found = signal(verdict, "throttled")
    assert verdict.grade is found.grade is BAD
    assert found.values == {"changes": changes}
    assert found.value == changes.count(" to ")


def test_the_momentary_clock_is_no_sign() -> None:
    verdict = judge(measured(after={"cpu_khz": ("800000", "800000")}), PLAN)
    assert verdict.grade is FINE


def test_what_was_read_only_once_cannot_have_changed() -> None:
    gone: dict[str, Reading] = {"cpu_max_khz": UNAVAILABLE}
    verdict = judge(measured(after=gone), PLAN)
    assert signal(verdict, "throttled").grade is FINE
    assert verdict.unchecked == ()
    verdict = judge(measured(before={"governor": UNAVAILABLE}, after=gone), PLAN)
    assert verdict.unchecked == ("throttled",)


# The samples


def test_the_interval_has_to_reach_the_target() -> None:
    rng = np.random.default_rng(0)
    wall = (20e6 * np.exp(rng.normal(0, 0.05, 200))).astype(int).tolist()
    interval = median_interval([wall])
    assert interval is not None
    half = interval.half_width_relative
    for target, grade in ((half, FINE), (np.nextafter(half, 0), BAD), (half / 2, BAD)):
        found = signal(judge(measured(wall), Plan(target=float(target))), "wide_interval")
        assert found.grade is grade
        assert (found.value, found.bad, found.warn) == (half, target, None)
        assert found.values == {"percent": 100 * half, "target": 100 * target}


@pytest.mark.parametrize("wall", [[5_000_000], [5_000_000] * 19, [0] * 40])
def test_no_interval_is_not_reliable(wall: list[int]) -> None:
    verdict = judge(measured(wall), PLAN)
    assert verdict.grade is BAD
    found = signal(verdict, "no_interval")
    assert found.values == {"count": len(wall), "target": 2}
    assert found.checked
    assert "wide_interval" not in codes(verdict)


# All of it

TIMES = st.lists(
    st.tuples(st.integers(11_000_000, 40_000_000), st.integers(1, 11_000_000)),
    min_size=1,
    max_size=60,
)


def scaled(samples: Samples, factor: int) -> Samples:
    return Samples(
        tuple(factor * t for t in samples.wall_ns), tuple(factor * t for t in samples.cpu_ns)
    )


@given(TIMES, st.integers(2, 1000), st.sampled_from([1, 2]), st.integers(0, 10**9))
def test_the_unit_of_time_does_not_matter(
    times: list[tuple[int, int]], factor: int, threads: int, delay: int
) -> None:
    wall, cpu = [w for w, _ in times], [c for _, c in times]
    used: dict[str, int | str] = {"run_delay_ns": delay}
    made = measured(wall, cpu, anchor=anchor(*wall), usage=used, measured_ns=sum(wall), sessions=2)
    sessions = tuple(
        dataclasses.replace(
            s,
            steady=scaled(s.steady, factor),
            anchor=scaled(s.anchor, factor),
            usage={"run_delay_ns": factor * delay},
            measured_ns=factor * s.measured_ns,
        )
        for s in made.sessions
    )
    plan = Plan(threads=threads)
    plain = judge(made, plan)
    large = judge(dataclasses.replace(made, sessions=sessions), plan)
    assert large.grade is plain.grade
    assert large.unchecked == plain.unchecked
    for a, b in zip(plain.signals, large.signals, strict=True):
        assert (a.code, a.grade) == (b.code, b.grade)
        assert a.value == pytest.approx(b.value, abs=1e-9)


@given(TIMES, st.data())
def test_more_waiting_is_never_better(times: list[tuple[int, int]], data: st.DataObject) -> None:
    wall, cpu = [w for w, _ in times], [c for _, c in times]
    waits = data.draw(st.lists(st.integers(0, 10**8), min_size=len(wall), max_size=len(wall)))
    slower = [w + wait for w, wait in zip(wall, waits, strict=True)]
    less, more = judge(measured(wall, cpu), PLAN), judge(measured(slower, cpu), PLAN)
    assert signal(more, "preempted").grade >= signal(less, "preempted").grade


@given(
    *[st.tuples(st.integers(0, 10**10), st.integers(0, 10**10)).map(sorted) for _ in range(2)],
    st.integers(1, 8),
)
def test_more_stolen_time_and_more_delay_are_never_better(
    stolen: list[int], delays: list[int], threads: int
) -> None:
    def verdict(steal: int, delay: int) -> Verdict:
        used: dict[str, int | str] = {"run_delay_ns": delay}
        made = measured(
            cpu=[0] * 40,
            after={"steal_ticks": steal, "total_ticks": 10**10},
            usage=used,
            measured_ns=10**9,
        )
        return judge(made, Plan(threads=threads))

    less, more = (verdict(*pair) for pair in zip(stolen, delays, strict=True))
    for code in ("steal", "preempted"):
        assert signal(more, code).grade >= signal(less, code).grade
    assert more.grade >= less.grade


@given(
    TIMES,
    st.dictionaries(st.sampled_from(list(STATE)), st.sampled_from([UNAVAILABLE, 0, 7, "x", ()])),
)
def test_every_verdict_adds_up_and_can_be_written(
    times: list[tuple[int, int]], readings: dict[str, Reading]
) -> None:
    made = measured([w for w, _ in times], [c for _, c in times], after=readings)
    verdict = judge(made, PLAN)
    assert verdict.grade is max(s.grade for s in verdict.signals)
    assert verdict.reasons == tuple(s for s in verdict.signals if s.grade > FINE)
    unknown = {s.code for s in verdict.signals if s.value is None}
    assert set(verdict.unchecked) == unknown - {"no_interval"}
    for found in verdict.signals:
        assert json.dumps(dataclasses.asdict(found), allow_nan=False)


# Ratios


def estimate(half: float, clock: Clock = "cpu", between: bool = True) -> RatioEstimate:
    low = 1.0
    return RatioEstimate(1 + half, low, low * (1 + half) ** 2, 0.95, 6, 600, clock, 0.01, between)


def test_a_ratio_has_to_reach_its_target() -> None:
    known = estimate(0.02)
    for target, grade in ((known.half_width, FINE), (0.0199, BAD), (0.021, FINE)):
        verdict = judge_comparison(known, target)
        assert verdict.grade is signal(verdict, "wide_ratio").grade is grade
        values = signal(verdict, "wide_ratio").values
        assert values == {"percent": pytest.approx(2), "target": 100 * target}


def test_the_target_is_what_the_clock_can_give_unless_one_is_set() -> None:
    assert judge_comparison(estimate(0.02, "cpu")).grade is BAD
    assert judge_comparison(estimate(0.02, "wall")).grade is FINE
    assert judge_comparison(estimate(0.04, "wall")).grade is BAD
    assert judge_comparison(estimate(0.04, "wall"), 0.05).grade is FINE


def test_an_interval_from_within_groups_is_not_reliable() -> None:
    verdict = judge_comparison(estimate(0.001, between=False))
    assert verdict.grade is BAD
    assert [s.code for s in verdict.reasons] == ["few_groups"]
    assert signal(verdict, "few_groups").values == {"groups": 6}
    assert verdict.unchecked == ()
    assert judge_comparison(estimate(0.001)).reasons == ()


# Under load

BUSY = """
import time
print(flush=True)
until = time.monotonic() + 120
while time.monotonic() < until:
    pass
"""


@pytest.fixture
def crowded() -> Iterator[None]:
    """Have two other programs compute on each core that this process may use: on one, if it can be
    bound to it."""
    bound = hasattr(os, "sched_setaffinity")
    before = os.sched_getaffinity(0) if bound else set(range(os.cpu_count() or 1))
    if bound:
        os.sched_setaffinity(0, {min(before)})
    count = 2 if bound else 2 * len(before)
    others = []
    try:
        for _ in range(count):
            command = [sys.executable, "-c", BUSY]
            others.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        for other in others:
            assert other.stdout is not None
            assert other.stdout.readline() == b"\n"
        yield
    finally:
        for other in others:
            other.kill()
            other.communicate()
        if bound:
            os.sched_setaffinity(0, before)


def test_a_loop_among_other_programs_is_called_unreliable(crowded: None) -> None:
    # Each longer than the system lets a program compute before it is another one's turn.
    samples = time_order([lambda: sum(range(2_000_000))], [0] * 40)
    verdict = judge(measured(list(samples.wall_ns), list(samples.cpu_ns)), PLAN)
    assert signal(verdict, "preempted").grade is BAD
    assert verdict.grade is BAD
