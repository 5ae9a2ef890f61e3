from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from mvdeploy.analysis import derived_findings
from mvdeploy.analysis.view import view_of
from mvdeploy.records import Comparison, DeviceState, Finding, Level, PairGroup, Samples
from mvdeploy.report import prose, wording
from mvdeploy.stats.reliability import LIMITS, Grade


def test_latency_is_derived_from_all_sessions(two: Any, view_for: Any) -> None:
    case = view_for(two).cases[0]
    times = two.saved.cases[0].measurement.steady.wall_ns
    assert case.timing.wall.p50 == np.percentile(times, 50)
    assert case.timing.wall.count == len(times)
    assert case.timing.cpu is not None
    assert case.timing.interval.low < case.timing.wall.p50 < case.timing.interval.high
    assert case.timing.load_ns == 41_300_000
    assert case.timing.added_memory_bytes == 55_500_000
    assert not case.reason


def test_cpu_times_need_one_thread(two: Any, view_for: Any) -> None:
    plan = dataclasses.replace(two.saved.run.plan, threads=2)
    run = dataclasses.replace(two.saved.run, plan=plan)
    view = view_for(dataclasses.replace(two, saved=dataclasses.replace(two.saved, run=run)))
    assert view.cases[0].timing.cpu is None
    (comparison,) = view.comparisons
    assert comparison.choice.clock == comparison.estimate.clock == "wall"
    assert "2 threads" in comparison.choice.reason
    assert comparison.other is None


def test_parts_add_up_to_the_latency(two: Any, view_for: Any) -> None:
    for case in view_for(two).cases:
        for parts in (case.breakdown.parts, case.breakdown.kinds):
            assert math.fsum(p.ns for p in parts) == pytest.approx(case.breakdown.total_ns)
            assert math.fsum(p.share for p in parts) == pytest.approx(1)
        keys = [p.key for p in case.breakdown.parts]
        assert keys[-2:] == ["unplaced", "outside"]
        assert case.breakdown.parts[-2].ns > 0


def test_reconciliation_line(two: Any, view_for: Any) -> None:
    line, _ = prose.reconciliation(view_for(two))
    start = "sum of operators ÷ latency = 0.97, profiled ÷ plain = 1.06, 99."
    assert line.startswith(f"A: mobilevit_xxs 2,2,2: {start}")
    assert line.endswith("% of operator time attributed, measured.")


def test_operators_and_modules_are_sorted(two: Any, view_for: Any) -> None:
    divided = view_for(two).cases[0].breakdown
    times = [o.row.ns for o in divided.operators]
    assert len(times) == 300
    assert times == sorted(times, reverse=True)
    assert divided.modules[0].path == "stem.conv"
    assert any("+1 fused" in o.module for o in divided.operators)
    assert any(m.path == "(the network itself)" for m in divided.modules)


def test_comparison_in_words(two: Any, view_for: Any) -> None:
    (comparison,) = view_for(two).comparisons
    assert prose.comparison(comparison).startswith(
        "mobilevit_xxs 8,4,2 is 1.13× as fast as mobilevit_xxs 2,2,2 (ratio 0.88"
    )
    assert "CPU time, 10 groups with 600 pairs, detectable from" in prose.comparison(comparison)
    assert comparison.other.clock == "wall"


@pytest.mark.parametrize(
    ("factor", "words"),
    [(1.25, "B takes 1.25× as long as A (ratio 1.250"), (1.0, "No difference detected between B")],
)
def test_other_verdicts(two: Any, view_for: Any, factor: float, words: str) -> None:
    rng = np.random.default_rng(0)
    times = (5e6 * np.exp(rng.normal(0, 0.01, (6, 2, 50)))).astype(int)
    groups = tuple(
        PairGroup(
            1 - 2 * (i % 2),
            Samples(*[tuple(a.tolist())] * 2),
            Samples(*[tuple((b * factor).astype(int).tolist())] * 2),
        )
        for i, (a, b) in enumerate(times)
    )
    story = _with_groups(two, groups)
    (comparison,) = view_for(story).comparisons
    assert (
        prose.comparison(comparison)
        .replace("mobilevit_xxs 2,2,2", "A")
        .replace("mobilevit_xxs 8,4,2", "B")
        .startswith(words[:28])
    )


def test_too_few_pairs_are_said_not_raised(two: Any, view_for: Any) -> None:
    lone = PairGroup(1, Samples((5,), (5,)), Samples((5,), (5,)))
    (comparison,) = view_for(_with_groups(two, (lone,))).comparisons
    assert comparison.estimate is None
    assert "cannot be compared: a group holds a single pair" in prose.comparison(comparison)


def test_few_groups_are_flagged(two: Any, view_for: Any) -> None:
    story = _with_groups(two, two.saved.comparisons[0].groups[:2])
    (comparison,) = view_for(story).comparisons
    assert not comparison.estimate.between_groups
    assert "too few groups" in prose.comparison(comparison)


def test_cpu_times_of_zero_leave_the_decision_to_the_wall(two: Any, view_for: Any) -> None:
    groups = tuple(
        PairGroup(g.first_created, Samples(g.a.wall_ns, (0,) * len(g.a)), g.b)
        for g in two.saved.comparisons[0].groups
    )
    (comparison,) = view_for(_with_groups(two, groups)).comparisons
    assert comparison.choice.clock == "wall"


def test_difference_adds_up(two: Any, view_for: Any) -> None:
    (difference,) = view_for(two).differences
    *parts, total = difference.rows
    assert math.fsum(r.b_ns - r.a_ns for r in parts) == pytest.approx(total.b_ns - total.a_ns)
    assert math.fsum(r.change for r in parts) == pytest.approx(total.change)
    assert total.title == "Latency"


def test_no_case_is_dropped(trouble: Any, view_for: Any) -> None:
    failed, drifting, plain, waiting = view_for(trouble).cases
    assert failed.reason == "The runner was killed (out of memory)."
    assert failed.remedy == "Take a smaller --batch."
    assert drifting.timing
    assert plain.breakdown is None
    assert waiting.reason == "The run ended before this case's turn."
    assert [c.key for c in view_for(trouble).cases] == list("ABCD")


def test_names_tell_cases_apart(two: Any, view_for: Any) -> None:
    a, _ = two.saved.cases
    same = tuple(
        dataclasses.replace(a, slug=s, engine=e) for s, e in (("a", "onnxruntime"), ("b", "other"))
    )
    saved = dataclasses.replace(two.saved, cases=same)
    names = [c.name for c in view_for(dataclasses.replace(two, saved=saved)).cases]
    assert names == ["mobilevit_xxs 2,2,2 onnxruntime", "mobilevit_xxs 2,2,2 other"]


def test_an_engine_is_called_by_its_title_and_once(two: Any) -> None:
    """The format is said where one engine has several in the run."""
    a, b = (
        dataclasses.replace(case, label="net", format=f, engine="onnxruntime")
        for case, f in zip(two.saved.cases, ("onnx", "onnx"), strict=True)
    )
    titles = {"onnxruntime": "ONNX Runtime"}

    def names(*cases: Any) -> list[tuple[str, str]]:
        saved = dataclasses.replace(two.saved, cases=cases, comparisons=())
        view = view_of(saved, {}, titles)
        assert {case.label for case in view.cases} == {"net"}
        return [(case.name, case.title) for case in view.cases]

    other = dataclasses.replace(b, engine="openvino")
    assert names(a, other) == [
        ("net ONNX Runtime", "net ONNX Runtime"),
        ("net openvino", "net openvino"),
    ]
    assert names(a, dataclasses.replace(b, format="ort")) == [
        ("net ONNX Runtime (onnx)",) * 2,
        ("net ONNX Runtime (ort)",) * 2,
    ]


def test_derived_findings(trouble: Any, view_for: Any) -> None:
    view = view_for(trouble)
    codes = [f.code for f in view.findings]
    assert {"emulated", "interrupted", "not_interleaved", "parity_failed", "wide_interval"} <= {
        *codes
    }
    levels = [f.level for f in view.findings]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)


def versions_told(
    story: Any, view_for: Any, *, verified: str = "", made: str = "", there: str = "1.29.0"
) -> dict[str, Any] | None:
    """Return what is told of a case by the versions that its file met; None for nothing."""
    case, *others = story.saved.cases
    checked = dataclasses.replace(case.parity, engine=verified) if verified else None
    versions = {"torch": "2.13", **({case.engine: made} if made else {})}
    case = dataclasses.replace(
        case,
        artifact=dataclasses.replace(case.artifact, versions=versions),
        parity=checked,
        measurement=dataclasses.replace(case.measurement, conditions={"engine_version": there}),
    )
    view = view_for(
        dataclasses.replace(story, saved=dataclasses.replace(story.saved, cases=(case, *others)))
    )
    found = [f for f in view.findings_of(view.cases[0]) if f.code == "engine_versions_differ"]
    assert {f.level for f in found} <= {Level.WARNING}
    return found[0].values if found else None


def test_an_engine_that_is_measured_in_another_version_than_verified(
    two: Any, view_for: Any
) -> None:
    told = versions_told(two, view_for, verified="onnxruntime 1.32.0", made="1.30.0")
    here = "exported with 1.30.0 and verified with 1.32.0"
    assert told == {"engine": "onnxruntime", "here": here, "there": "1.29.0"}
    told = versions_told(two, view_for, verified="onnxruntime 1.32.0", made="1.29.0+cpu")
    assert told is not None and told["here"] == "verified with 1.32.0"
    told = versions_told(two, view_for, made="1.30.0")
    assert told is not None and told["here"] == "exported with 1.30.0"


@pytest.mark.parametrize(
    "told",
    [
        {"verified": "onnxruntime 1.29.0", "made": "1.29.0"},
        {"verified": "onnxruntime 1.29.0+cpu"},
        {"verified": "onnxruntime 1.32.0", "there": "unavailable"},
        {"verified": "another 1.32.0"},
        {"verified": "onnxruntime"},
        {},
    ],
)
def test_versions_that_do_not_differ_or_are_not_told(
    two: Any, view_for: Any, told: dict[str, str]
) -> None:
    assert versions_told(two, view_for, **told) is None


def test_the_programs_that_made_a_file_of_others_are_not_held_against_the_engine(
    two: Any, view_for: Any
) -> None:
    case, *others = two.saved.cases
    foreign = dataclasses.replace(case.artifact, read_from="the names of its nodes")
    case = dataclasses.replace(case, artifact=foreign)
    story = dataclasses.replace(two, saved=dataclasses.replace(two.saved, cases=(case, *others)))
    assert versions_told(story, view_for, made="1.2") is None


def test_recorded_findings_are_not_made_again(trouble: Any, view_for: Any) -> None:
    view = view_for(trouble)
    drifts = [f for f in view.findings_of(view.cases[1]) if f.code == "drift"]
    assert [f.values["percent"] for f in drifts] == [14.25]


@pytest.mark.parametrize(
    ("slope", "stolen", "grade", "expected"),
    [
        (1.0, 1.0, Grade.RELIABLE, {}),
        (1.03, 1.0, Grade.DOUBTFUL, {"drift": Level.WARNING}),
        (1.08, 1.0, Grade.UNRELIABLE, {"drift": Level.ERROR, "wide_interval": Level.ERROR}),
        (1.0, 1.2, Grade.DOUBTFUL, {"preempted": Level.WARNING}),
        (1.0, 1.4, Grade.UNRELIABLE, {"preempted": Level.ERROR}),
        (1.03, 1.4, Grade.UNRELIABLE, {"drift": Level.WARNING, "preempted": Level.ERROR}),
    ],
)
def test_the_findings_are_those_of_the_verdict(
    two: Any,
    view_for: Any,
    slope: float,
    stolen: float,
    grade: Grade,
    expected: dict[str, Level],
) -> None:
    cpu = [15_000_000] * 100 + [int(15_000_000 * slope)] * 100
    steady = Samples(tuple(int(t * stolen) for t in cpu), tuple(cpu))
    view = view_for(_with_samples(two, steady))
    case = view.cases[0]
    assert case.verdict.grade is grade
    reasons = {s.code: s.values for s in case.verdict.reasons}
    found = [f for f in view.findings_of(case) if f.code in LIMITS or f.code in reasons]
    assert {f.code: f.level for f in found} == expected
    assert {f.code: f.values for f in found} == reasons


def test_a_verdict_needs_samples_of_the_case_alone(trouble: Any, two: Any, view_for: Any) -> None:
    failed, drifting, plain, waiting = view_for(trouble).cases
    assert (failed.verdict, waiting.verdict) == (None, None)
    assert drifting.verdict.grade is Grade.UNRELIABLE
    assert plain.verdict.grade is Grade.RELIABLE
    in_turns, measured = view_for(_with_samples(two, Samples())).cases
    assert in_turns.timing.in_turns
    assert in_turns.verdict is None
    assert measured.verdict is not None


def test_the_target_of_the_plan_counts(two: Any, view_for: Any) -> None:
    plan = dataclasses.replace(two.saved.run.plan, target=0.0001)
    run = dataclasses.replace(two.saved.run, plan=plan)
    view = view_for(dataclasses.replace(two, saved=dataclasses.replace(two.saved, run=run)))
    assert {f.level for f in view.findings if f.code == "wide_interval"} == {Level.ERROR}


def test_what_could_not_be_checked_is_a_note(two: Any, view_for: Any) -> None:
    a, b = two.saved.cases
    blank = DeviceState("2026-03-04T10:00:00+00:00", {"steal_ticks": "unavailable"})
    a = dataclasses.replace(a, measurement=dataclasses.replace(a.measurement, before=blank))
    saved = dataclasses.replace(two.saved, cases=(a, b))
    view = view_for(dataclasses.replace(two, saved=saved))
    (note,) = [f for f in view.findings if f.code == "unchecked"]
    assert (note.level, note.subjects) == (Level.NOTE, (view.cases[0].name,))
    assert wording.word(note.finding).sentence.endswith(
        "time that a hypervisor took and changes of clock limits and heat."
    )
    assert view.cases[0].verdict.grade is Grade.RELIABLE


def test_every_signal_has_a_name_for_the_note_and_words() -> None:
    assert set(derived_findings._SIGNALS) == set(LIMITS)
    alone = {"wide_interval", "no_interval", "wide_ratio", "few_groups"}
    assert {*LIMITS, *alone} <= set(wording._words())


def test_few_samples(two: Any, view_for: Any) -> None:
    story = _with_samples(two, Samples((5, 6, 7), (5, 6, 7)))
    view = view_for(story)
    assert view.cases[0].timing.interval is None
    assert {"few_samples", "no_interval", "unchecked"} <= {
        f.code for f in view.findings_of(view.cases[0])
    }
    assert view.cases[0].verdict.grade is Grade.UNRELIABLE


def _in_turns(story: Any, factor: float, field: str) -> Any:
    """The same with turns of the first case that took longer by a factor, by one clock."""
    (compared,) = story.saved.comparisons
    groups = tuple(
        dataclasses.replace(
            group,
            a=dataclasses.replace(
                group.a, **{field: tuple(round(factor * t) for t in getattr(group.a, field))}
            ),
        )
        for group in compared.groups
    )
    changed = dataclasses.replace(compared, groups=groups)
    return dataclasses.replace(
        story, saved=dataclasses.replace(story.saved, comparisons=(changed,))
    )


@pytest.mark.parametrize(
    ("factor", "clock", "found"),
    [
        *((1.3, "cpu_ns", False), (1.7, "cpu_ns", True), (0.5, "cpu_ns", True)),
        (2.5, "wall_ns", False),
    ],
)
def test_views_that_disagree_are_an_error(
    two: Any, view_for: Any, factor: float, clock: str, found: bool
) -> None:
    view = view_for(_in_turns(two, factor, clock))
    errors = [f for f in view.findings if f.code == "views_disagree"]
    assert [(f.level, f.subjects) for f in errors] == found * [(Level.ERROR, (view.cases[0].name,))]


@pytest.mark.parametrize(("factor", "found"), [(2.5, False), (4.0, True)])
def test_wall_times_may_disagree_by_more(
    two: Any, view_for: Any, factor: float, found: bool
) -> None:
    plan = dataclasses.replace(two.saved.run.plan, threads=2)
    run = dataclasses.replace(two.saved.run, plan=plan)
    story = dataclasses.replace(two, saved=dataclasses.replace(two.saved, run=run))
    view = view_for(_in_turns(story, factor, "wall_ns"))
    assert any(f.code == "views_disagree" for f in view.findings) == found


def test_no_samples_is_a_reason(two: Any, view_for: Any) -> None:
    story = _with_samples(two, Samples())
    alone = dataclasses.replace(story.saved, comparisons=())
    case = view_for(dataclasses.replace(story, saved=alone)).cases[0]
    assert case.timing is None
    assert case.verdict is None
    assert case.reason == "No inference was measured."


def test_partial_cpu_time_is_not_used(two: Any, view_for: Any) -> None:
    a, b = two.saved.cases
    finding = Finding("cpu_time_partial", Level.NOTE, {"threads": 1})
    a = dataclasses.replace(a, measurement=dataclasses.replace(a.measurement, findings=(finding,)))
    saved = dataclasses.replace(two.saved, cases=(a, b))
    view = view_for(dataclasses.replace(two, saved=saved))
    assert view.cases[0].timing.cpu is None
    assert view.cases[1].timing.cpu is not None
    assert view.comparisons[0].choice.clock == "wall"


def _with_groups(story: Any, groups: tuple[PairGroup, ...]) -> Any:
    saved = dataclasses.replace(story.saved, comparisons=(Comparison("a", "b", groups),))
    return dataclasses.replace(story, saved=saved)


def _with_samples(story: Any, steady: Samples) -> Any:
    a, b = story.saved.cases
    session = dataclasses.replace(a.measurement.sessions[0], steady=steady)
    a = dataclasses.replace(a, measurement=dataclasses.replace(a.measurement, sessions=(session,)))
    return dataclasses.replace(story, saved=dataclasses.replace(story.saved, cases=(a, b)))


@pytest.mark.parametrize(("cores", "told"), [(2, True), (16, False)])
def test_more_threads_than_cores_are_told_whatever_the_verdict(
    single: Any, cores: int, told: bool
) -> None:
    (case,) = single.saved.cases
    conditions = {"threads": 16, "cores": tuple(map(str, range(cores)))}
    measurement = dataclasses.replace(case.measurement, conditions=conditions)
    cases = (dataclasses.replace(case, measurement=measurement),)
    saved = dataclasses.replace(single.saved, cases=cases)
    found = [f for f in view_of(saved, {}).findings if f.code == "more_threads_than_cores"]
    assert [f.values for f in found] == ([{"threads": 16, "cores": 2}] if told else [])


def test_more_threads_than_free_cores_are_told_whatever_the_verdict(single: Any) -> None:
    (case,) = single.saved.cases
    conditions = {"threads": 2, "cores": ("0", "1")}
    before = dataclasses.replace(
        case.measurement.before, readings={**case.measurement.before.readings, "busy_cores": 1.2}
    )
    measurement = dataclasses.replace(case.measurement, conditions=conditions, before=before)
    saved = dataclasses.replace(
        single.saved, cases=(dataclasses.replace(case, measurement=measurement),)
    )
    (found,) = [f for f in view_of(saved, {}).findings if f.code == "more_threads_than_free_cores"]
    assert found.values == {"threads": 2, "cores": 2, "free": 0.8}


def test_a_case_whose_result_is_gone_is_named(trouble: Any, view_for: Any) -> None:
    plain = next(case for case in trouble.saved.cases if case.measurement)
    kept = tuple(case for case in trouble.saved.cases if case is not plain)
    without = dataclasses.replace(trouble, saved=dataclasses.replace(trouble.saved, cases=kept))
    (early,) = (f for f in view_for(without).findings if f.code == "interrupted")
    assert plain.slug in str(early)
