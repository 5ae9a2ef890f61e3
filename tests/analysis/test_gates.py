from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.analysis.baselines import baseline_of
from mvdeploy.analysis.gates import (
    Gate,
    GateResult,
    check,
    demand_pipeline,
    demand_reference,
    parse,
)
from mvdeploy.analysis.view import View, view_of
from mvdeploy.errors import UsageError
from mvdeploy.records import (
    Baseline,
    Comparison,
    Failure,
    Finding,
    Level,
    PairGroup,
    Samples,
    SavedRun,
    TimeKind,
)
from mvdeploy.stats.unpaired import UnpairedEstimate
from tests.saved_runs import one_case
from tests.staged import timed

MS = 1_000_000


def view(story: Any) -> View:
    return view_of(story.saved, story.breakdowns)


def alone(story: Any, medians_ms: tuple[float, ...] = (4.9, 5.0, 5.1), **changes: Any) -> View:
    """Case A by itself, each session with 100 inferences of one time."""
    case = story.saved.cases[0]
    sessions = tuple(
        dataclasses.replace(
            case.measurement.sessions[0],
            load_ns=int(8 * ms * MS),
            first=Samples((int(2 * ms * MS),), (1,)),
            steady=Samples((int(ms * MS),) * 100, (int(ms * MS),) * 100),
        )
        for ms in medians_ms
    )
    measurement = dataclasses.replace(case.measurement, sessions=sessions)
    case = dataclasses.replace(case, measurement=measurement, **changes)
    run = dataclasses.replace(story.saved.run, cases=(case.slug,))
    breakdowns = {case.slug: story.breakdowns["a"]}
    return view_of(SavedRun(run, (case,)), breakdowns)


def times(factor: float, *medians_ms: float) -> tuple[float, ...]:
    return tuple(factor * ms for ms in medians_ms or (4.9, 5.0, 5.1))


def one(text: str, of: View, baseline: Baseline | None = None) -> GateResult:
    (result,) = check((parse(text),), of, baseline)
    return result


def slower(story: Any) -> View:
    """The story's comparison the other way round: case A against case B."""
    (old,) = story.saved.comparisons
    turned = tuple(PairGroup(-g.first_created, g.b, g.a) for g in old.groups)
    saved = dataclasses.replace(story.saved, comparisons=(Comparison("b", "a", turned),))
    return view_of(saved, story.breakdowns)


def with_ratio(of: View, ratio: float, low: float, high: float) -> View:
    (comparison,) = of.comparisons
    assert comparison.estimate is not None
    estimate = dataclasses.replace(comparison.estimate, ratio=ratio, low=low, high=high)
    return dataclasses.replace(
        of, comparisons=(dataclasses.replace(comparison, estimate=estimate),)
    )


# Absolute limits.


@pytest.mark.parametrize("metric", ["p50", "p90", "p95", "p99", "mean", "load", "first", "memory"])
def test_absolute_limits(two: Any, metric: str) -> None:
    case = view(two).cases[0]
    assert case.timing is not None
    timing = case.timing
    figures = {"load": timing.load_ns, "first": timing.first_ns, "memory": timing.peak_memory_bytes}
    value = (figures.get(metric) or getattr(timing.wall, metric)) / 1e6
    unit = "MB" if metric == "memory" else "ms"
    gates = tuple(Gate(metric, limit, unit) for limit in (0.999 * value, value, 1.001 * value))
    results = [r for r in check(gates, view(two)) if r.slug == "a"]
    assert [r.passed for r in results] == [False, True, True]
    assert [r.gate for r in results] == [*gates]
    shown = f"{value:.1f} MB" if metric == "memory" else f"{value:.3f} ms"
    assert all(shown in r.sentence and case.name in r.sentence for r in results)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("p50:4ms", "p50:4ms failed: N takes 5.000 ms, more than 4 ms."),
        ("p50:5ms", "p50:5ms passed: N takes 5.000 ms, not more than 5 ms."),
        ("p50:4.9999 ms", "p50:4.9999ms failed: N takes 5.000 ms, more than 4.9999 ms."),
        ("p50:5.00000001ms", "p50:5.00000001ms passed: N takes 5.000 ms, not more than 5.00000001"),
        ("p99:4ms", "p99:4ms failed: p99 of N is 5.100 ms, more than 4 ms."),
        ("mean:4ms", "mean:4ms failed: N takes 5.000 ms on average, more than 4 ms."),
        ("load:40ms", "load:40ms failed: loading N takes 41.300 ms, more than 40 ms."),
        ("first:1ms", "first:1ms failed: the first inference of N takes "),
        ("memory:140MB", "memory:140MB failed: N needs 143.6 MB at its peak, more than 140 MB."),
    ],
)
def test_sentences_of_absolute_limits(two: Any, text: str, sentence: str) -> None:
    result = one(text, alone(two))
    assert result.name == "mobilevit_xxs 2,2,2"
    assert result.sentence.replace(result.name, "N").startswith(sentence)
    assert result.note == ""


def test_the_whole_pipeline_has_a_limit(two: Any) -> None:
    assert not first_of("pipeline:13ms", timed(two)).passed
    passed = first_of("pipeline:33ms", timed(two))
    assert passed.passed
    assert "the whole pipeline of mobilevit_xxs 2,2,2 takes 14." in passed.sentence


def test_a_pipeline_that_was_not_timed_fails_with_the_reason(two: Any) -> None:
    failed = first_of("pipeline:33ms", timed(two, sessions=(), unavailable="a phone has no Python"))
    assert not failed.passed
    assert failed.sentence.endswith("its whole pipeline is unavailable: a phone has no Python.")
    assert "nothing was recorded for pipeline" in first_of("pipeline:33ms", view(two)).sentence


def test_a_pipeline_that_will_not_be_timed_is_refused_before() -> None:
    with pytest.raises(UsageError, match="pipeline:33ms is about the whole pipeline, which is not"):
        demand_pipeline((parse("p50:3ms"), parse("pipeline:33ms")))
    demand_pipeline((parse("p50:3ms"),))


def first_of(text: str, of: View) -> GateResult:
    """Return what became of a gate on the first case."""
    return check((parse(text),), of)[0]


def test_a_figure_beside_its_limit_has_the_digits_to_tell_them_apart(two: Any) -> None:
    result = one("p50:5ms", alone(two, (5.00004,) * 3))
    assert not result.passed
    assert "takes 5.00004 ms, more than 5 ms" in result.sentence


@pytest.mark.parametrize("text", ["first:1000ms", "memory:1000MB", "load:1000ms"])
def test_what_was_not_recorded_fails(two: Any, text: str) -> None:
    case = two.saved.cases[0]
    bare = dataclasses.replace(
        case.measurement, first=Samples(), peak_memory_bytes=0, load_ns=0, sessions=()
    )
    saved = SavedRun(
        dataclasses.replace(two.saved.run, cases=("a",)),
        (dataclasses.replace(case, measurement=bare),),
    )
    result = one(text, view_of(saved, {}))
    assert not result.passed
    assert f"nothing was recorded for {text.partition(':')[0]}." in result.sentence


def turns_only(two: Any) -> SavedRun:
    cases = tuple(
        dataclasses.replace(c, measurement=dataclasses.replace(c.measurement, sessions=()))
        for c in two.saved.cases
    )
    saved: SavedRun = dataclasses.replace(two.saved, cases=cases)
    return saved


def test_latencies_of_cases_that_only_took_turns_are_called_so(two: Any) -> None:
    of = view_of(turns_only(two), {})
    gates = tuple(map(parse, ("p50:500ms", "memory:500MB", "load:500ms", "p50:5%")))
    results = check(gates, of)
    assert [r.passed for r in results] == [True] * 7
    latencies, others = results[:2], results[2:]
    assert all(r.note.startswith("It took turns with another case") for r in latencies)
    assert not any(r.note for r in others)


def test_turns_are_not_held_against_a_baseline(two: Any) -> None:
    results = check((parse("p50:50%"),), view_of(turns_only(two), {}), baseline_of(view(two)))
    assert [r.passed for r in results] == [False, False]
    assert all("It only took turns with another case" in r.sentence for r in results)


def test_without_samples_a_latency_fails_and_the_memory_does_not(two: Any) -> None:
    of = view_of(dataclasses.replace(turns_only(two), comparisons=()), {})
    results = check(tuple(map(parse, ("p50:500ms", "memory:500MB"))), of)
    assert [r.passed for r in results] == [False, False, True, True]
    assert "No inference was measured." in results[0].sentence


# Shares.


@pytest.mark.parametrize(
    "metric", ["pre-and-post", "convolution", "fold", "attention", "ffn", "unattributed"]
)
def test_limits_on_parts(two: Any, metric: str) -> None:
    breakdown = two.breakdowns["a"]
    by_name = {str(c): ns for c, ns in breakdown.by_category().items()}
    ns = {**by_name, "unattributed": breakdown.unattributed_ns}[metric]
    assert ns > 0
    share = 100 * ns / breakdown.total_ns
    for value, unit, shown in ((share, "%", f"({ns / MS:.2f} "), (ns / MS, "ms", f"({share:.1f} ")):
        gates = (Gate(metric, 0.999 * value, unit), Gate(metric, 1.001 * value, unit))
        results = [r for r in check(gates, view(two)) if r.slug == "a"]
        assert [r.passed for r in results] == [False, True]
        assert all(shown in r.sentence for r in results)
        assert all(f"of {breakdown.total_ns / MS:.2f} ms)" in r.sentence for r in results)


def parts_of(two: Any, attention: float, total: float, kind: TimeKind | None = None) -> View:
    """A breakdown in which attention takes so many of so many nanoseconds, and nothing else."""
    made = two.breakdowns["a"]
    row = next(r for r in made.rows if r.category == "attention")
    breakdown = dataclasses.replace(
        made,
        time_kind=kind or made.time_kind,
        rows=(dataclasses.replace(row, ns=attention),),
        outside_ns=total - attention,
        total_ns=total,
    )
    whole = alone(two)
    return view_of(SavedRun(whole.run, (whole.cases[0].case,)), {"a": breakdown})


def test_sentences_of_shares(two: Any) -> None:
    of = parts_of(two, 2.13e6, 4.94e6)
    assert one("attention:40%", of).sentence == (
        "attention:40% failed: attention takes 43.1 % of mobilevit_xxs 2,2,2 (2.13 of 4.94 ms)."
    )
    assert one("attention:43.2%", of).sentence == (
        "attention:43.2% passed: attention takes 43.1 % of mobilevit_xxs 2,2,2 (2.13 of 4.94 ms)."
    )
    assert one("attention:2ms", of).sentence == (
        "attention:2ms failed: attention takes 2.130 ms of mobilevit_xxs 2,2,2 (43.1 % of 4.94 ms)."
    )
    assert one("unattributed:3ms", of).sentence == (
        "unattributed:3ms passed: unattributed takes 2.810 ms of mobilevit_xxs 2,2,2 "
        "(56.9 % of 4.94 ms)."
    )
    assert one("ffn:0%", of).passed
    assert one("attention:43.1%", of).sentence.startswith(
        "attention:43.1% failed: attention takes 43.12 % of"
    )


def test_a_share_that_equals_its_limit_passes(two: Any) -> None:
    assert one("attention:40%", parts_of(two, 2e6, 5e6)).passed
    assert one("attention:2ms", parts_of(two, 2e6, 5e6)).passed


def test_estimated_shares_are_called_so(two: Any) -> None:
    of = parts_of(two, 2.13e6, 4.94e6, TimeKind.ESTIMATED)
    assert "(2.13 of 4.94 ms, estimated)" in one("attention:40%", of).sentence
    assert "(43.1 % of 4.94 ms, estimated)" in one("attention:4ms", of).sentence


def test_without_a_breakdown_a_share_fails_with_the_reason(two: Any, trouble: Any) -> None:
    results = {r.slug: r for r in check((parse("attention:100%"),), view(trouble))}
    assert results["drifting"].passed
    assert "mobilevit_xxs 8,4,2: it was not profiled" in results["plain"].sentence
    assert "The runner was killed (out of memory)." in results["failed"].sentence
    assert "The run ended before this case's turn." in results["waiting"].sentence
    assert sum(r.passed for r in results.values()) == 1

    case = two.saved.cases[0]
    broken = Finding("profile_failed", Level.WARNING, {"reason": "The engine broke"})
    measurement = dataclasses.replace(case.measurement, findings=(broken,))
    run = dataclasses.replace(two.saved.run, cases=("a",))
    saved = SavedRun(run, (dataclasses.replace(case, measurement=measurement),))
    assert "the profiled run failed: The engine broke." in (
        one("attention:100%", view_of(saved, {})).sentence
    )

    without = Finding("no_profiler", Level.NOTE, {"reason": "LiteRT.js has no profiler"})
    measurement = dataclasses.replace(case.measurement, findings=(without,))
    saved = SavedRun(run, (dataclasses.replace(case, measurement=measurement),))
    assert "there is no breakdown, as LiteRT.js has no profiler" in (
        one("attention:100%", view_of(saved, {})).sentence
    )


# Paired comparisons.


def test_a_paired_gate_judges_the_other_case_only(two: Any) -> None:
    (result,) = check((parse("p50:5%"),), view(two))
    (comparison,) = view(two).comparisons
    assert comparison.estimate is not None
    assert (result.slug, result.passed) == ("b", True)
    assert result.sentence.startswith(
        f"p50:5% passed: mobilevit_xxs 8,4,2 takes {comparison.estimate.ratio:.3f}× as long as "
        f"mobilevit_xxs 2,2,2 (95 % interval {comparison.estimate.low:.3f}–"
    )
    assert result.sentence.endswith(", CPU time), not more than 5 % slower.")


def test_a_paired_gate_fails_on_a_slower_case(two: Any) -> None:
    (result,) = check((parse("p50:5%"),), slower(two))
    assert (result.slug, result.passed) == ("a", False)
    assert result.sentence.endswith(", CPU time), more than 5 % slower.")
    (lenient,) = check((parse("p50:20%"),), slower(two))
    assert lenient.passed


@pytest.mark.parametrize(
    ("ratio", "low", "high", "passed", "end"),
    [
        (1.082, 1.061, 1.104, False, "1.082×{}1.061–1.104, CPU time), more than 5 % slower."),
        (1.082, 0.98, 1.19, True, "larger than the threshold, but within the interval."),
        (1.082, 1.0, 1.19, True, "larger than the threshold, but within the interval."),
        (1.04, 1.03, 1.05, True, "not more than 5 % slower."),
        (1.05, 1.04, 1.06, True, "not more than 5 % slower."),
        (1.0500004, 1.04, 1.06, False, "1.0500004×{}1.040–1.060, CPU time), more than 5 %"),
        (1.06, 1.00004, 1.12, False, "1.060×{}1.00004–1.120, CPU time), more than 5 % slower."),
        (0.9, 0.8, 1.2, True, "not more than 5 % slower."),
        (0.5, 0.4, 0.6, True, "not more than 5 % slower."),
    ],
)
def test_it_fails_only_beyond_the_threshold_and_outside_the_interval(
    two: Any, ratio: float, low: float, high: float, passed: bool, end: str
) -> None:
    (result,) = check((parse("p50:5%"),), with_ratio(view(two), ratio, low, high))
    assert result.passed == passed
    between = " as long as mobilevit_xxs 2,2,2 (95 % interval "
    assert end.format(between) in result.sentence
    assert result.note == ""


@given(st.floats(0.5, 2), st.floats(0.001, 1), st.floats(0.001, 1), st.floats(0, 60))
def test_the_rule(two: Any, ratio: float, below: float, above: float, limit: float) -> None:
    of = with_ratio(view(two), ratio, ratio * (1 - below / 2), ratio * (1 + above))
    (result,) = check((Gate("p50", limit, "%"),), of)
    significant = ratio * (1 - below / 2) > 1
    assert result.passed == (not (ratio > 1 + limit / 100 and significant))
    assert f" {'passed' if result.passed else 'failed'}: " in result.sentence


@pytest.mark.parametrize("metric", ["p90", "p95", "p99", "mean", "load", "first"])
def test_a_paired_comparison_decides_on_p50_only(two: Any, metric: str) -> None:
    with pytest.raises(UsageError, match="a paired comparison decides on p50 only") as caught:
        check((parse("p50:5%"), parse(f"{metric}:5%")), view(two))
    assert f"The gate {metric}:5% needs a reference" in caught.value.message
    assert "--baseline FILE" in caught.value.remedy


def test_each_compared_case_has_a_result(four: Any) -> None:
    results = check((parse("p50:5%"), parse("p50:50%")), view(four))
    assert [(r.slug, r.gate.limit) for r in results] == [
        *(("c1", 5.0), ("c2", 5.0), ("c3", 5.0)),
        *(("c1", 50.0), ("c2", 50.0), ("c3", 50.0)),
    ]
    assert [r.passed for r in results] == [False] * 3 + [True] * 3


def test_too_few_pairs_fail(two: Any) -> None:
    (old,) = two.saved.comparisons
    empty = Comparison("a", "b", (PairGroup(1, Samples(), Samples()),))
    saved = dataclasses.replace(two.saved, comparisons=(empty,))
    (result,) = check((parse("p50:5%"),), view_of(saved, two.breakdowns))
    assert not result.passed
    assert "it cannot be compared with mobilevit_xxs 2,2,2 (a group holds no" in result.sentence
    few = dataclasses.replace(two.saved, comparisons=(Comparison("a", "b", old.groups[:2]),))
    (result,) = check((parse("p50:5%"),), view_of(few, two.breakdowns))
    assert result.note.startswith("There are too few groups of turns")


def test_cases_that_took_no_turns_fail(two: Any, trouble: Any) -> None:
    results = check((parse("p50:5%"),), view(trouble))
    assert [r.slug for r in results] == ["failed", "drifting", "plain", "waiting"]
    assert not any(r.passed for r in results)
    assert "The runner was killed" in results[0].sentence
    assert "it did not take turns with another case." in results[1].sentence

    extra = dataclasses.replace(two.saved.cases[0], slug="c", label="third", engine="pytorch")
    saved = dataclasses.replace(two.saved, cases=(*two.saved.cases, extra))
    results = check((parse("p50:5%"),), view_of(saved, two.breakdowns))
    assert [(r.slug, r.passed) for r in results] == [("b", True), ("c", False)]


def test_a_case_that_failed_half_way_fails_every_gate(two: Any) -> None:
    a, b = two.saved.cases
    died = Failure("The runner died.", "Try again.", 4)
    for slug, saved_cases in (
        ("a", (dataclasses.replace(a, failure=died), b)),
        ("b", (a, dataclasses.replace(b, failure=died))),
    ):
        half = view_of(dataclasses.replace(two.saved, cases=saved_cases), two.breakdowns)
        gates = tuple(map(parse, ("p50:50%", "p50:1000ms", "memory:9999MB", "attention:100%")))
        results = [r for r in check(gates, half) if r.slug == slug]
        assert [r.passed for r in results] == [False] * 4
        assert all(r.sentence.endswith("The runner died.") for r in results)
        assert not one_of(check(gates[:1], half, baseline_of(view(two))), slug).passed


def one_of(results: tuple[GateResult, ...], slug: str) -> GateResult:
    return next(r for r in results if r.slug == slug)


# Baselines.


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("p50", "N takes 1.082× as long as the baseline ("),
        ("p90", "p90 of N is 1.082× that of the baseline ("),
        ("p95", "p95 of N is 1.082× that of the baseline ("),
        ("p99", "p99 of N is 1.082× that of the baseline ("),
        ("mean", "N takes 1.082× as long on average as the baseline ("),
        ("load", "loading N takes 1.082× as long as that of the baseline ("),
        ("first", "the first inference of N takes 1.082× as long as that of the baseline ("),
    ],
)
def test_a_regression_against_a_baseline(two: Any, metric: str, words: str) -> None:
    before = baseline_of(alone(two, times(1, 4.99, 5.0, 5.01)))
    after = alone(two, times(1.082, 4.99, 5.0, 5.01))
    result = one(f"{metric}:5%", after, before)
    assert not result.passed
    sentence = result.sentence.replace("mobilevit_xxs 2,2,2", "N")
    assert sentence.startswith(f"{metric}:5% failed: {words}95 % interval 1.07")
    assert sentence.endswith("), more than 5 % slower.")
    assert result.note == ""
    lenient = one(f"{metric}:10%", after, before)
    assert lenient.passed
    assert lenient.sentence.endswith("), not more than 10 % slower.")
    assert one(f"{metric}:5%", alone(two, times(0.8)), before).passed


def test_a_noisy_regression_passes_and_says_why(two: Any) -> None:
    before = baseline_of(alone(two, (4.0, 5.0, 6.0)))
    result = one("p50:5%", alone(two, (4.4, 5.5, 6.6)), before)
    assert result.passed
    assert result.sentence.endswith("larger than the threshold, but within the interval.")


def test_small_limits_come_with_what_runs_differ_by(two: Any) -> None:
    before, after = baseline_of(alone(two)), alone(two)
    result = one("p50:4.9%", after, before)
    assert result.note == (
        "Two runs of the same model can differ by 5 %, so results of different runs say nothing "
        "below 5 %: 'mvdeploy compare' of the two files decides."
    )
    assert one("p50:5%", after, before).note == ""
    assert one("p50:6ms", after, before).note == ""


def test_a_baseline_goes_before_the_comparisons(two: Any) -> None:
    results = check((parse("p50:50%"), parse("p99:50%")), view(two), baseline_of(view(two)))
    assert [r.slug for r in results] == ["a", "b", "a", "b"]
    assert all("the baseline" in r.sentence for r in results)
    assert all(r.passed for r in results)


def test_cases_are_matched_by_slug(two: Any) -> None:
    whole = baseline_of(view(two))
    turned = dataclasses.replace(whole, cases=whole.cases[::-1])
    gates = (parse("p50:5%"),)
    assert check(gates, view(two), turned) == check(gates, view(two), whole)


def test_a_case_without_a_counterpart_fails(two: Any) -> None:
    whole = baseline_of(view(two))
    half = dataclasses.replace(whole, cases=whole.cases[:1])
    a, b = check((parse("p50:50%"),), view(two), half)
    assert a.passed
    assert not b.passed
    assert b.sentence == (
        "p50:50% failed: mobilevit_xxs 8,4,2: the baseline 2026-03-04-100000-host has no case 'b', "
        "only a."
    )


def test_single_cases_match_whatever_their_slugs(two: Any) -> None:
    before = baseline_of(alone(two))
    assert one("p50:50%", alone(two, slug="new"), before).passed
    two_before = dataclasses.replace(before, cases=(*before.cases, *baseline_of(view(two)).cases))
    assert not one("p50:50%", alone(two, slug="new"), two_before).passed


def test_unlike_conditions_are_refused(two: Any) -> None:
    before = baseline_of(alone(two))
    unlike = alone(two, engine="pytorch")
    with pytest.raises(UsageError, match="cannot be compared: engine is pytorch") as caught:
        check((parse("p50:5%"),), unlike, before)
    assert "mvdeploy compare A B" in caught.value.remedy
    # Limits that compare nothing need no likeness.
    assert one("p50:50ms", unlike, before).passed


def test_too_few_sessions_fail(two: Any, single: Any) -> None:
    before = baseline_of(alone(two))
    for metric in ("p50", "mean", "load", "first"):
        result = one(f"{metric}:50%", view(single), before)
        assert not result.passed
        assert "it cannot be held against the baseline (only 1 of the two" in result.sentence
    once = dataclasses.replace(before.cases[0], sessions=((1, 2, 3),))
    result = one("p50:50%", alone(two), dataclasses.replace(before, cases=(once,)))
    assert not result.passed


def test_a_time_of_zero_fails(two: Any) -> None:
    before = baseline_of(alone(two))
    case = dataclasses.replace(before.cases[0], loads_ns=(0, 1))
    result = one("load:5%", alone(two), dataclasses.replace(before, cases=(case,)))
    assert not result.passed
    assert "(a time is zero, so there is no ratio)" in result.sentence


def test_failed_cases_fail_against_a_baseline(two: Any, trouble: Any) -> None:
    before = baseline_of(view(trouble))
    # One session on the drifting case is too few; what is left has a counterpart of its own.
    results = {r.slug: r for r in check((parse("p50:50%"),), view(trouble), before)}
    assert [slug for slug, r in results.items() if r.passed] == ["plain"]
    assert "The runner was killed (out of memory)." in results["failed"].sentence
    assert "The run ended before this case's turn." in results["waiting"].sentence


# References.


def test_a_relative_gate_needs_a_reference(two: Any) -> None:
    for metric in ("p50", "p99", "mean", "load", "first"):
        with pytest.raises(UsageError, match=f"The gate {metric}:5% needs a reference") as caught:
            check((parse("memory:1MB"), parse(f"{metric}:5%")), alone(two))
        assert "--baseline FILE" in caught.value.remedy


def test_several_measured_cases_without_turns_are_no_reference(two: Any) -> None:
    saved = dataclasses.replace(two.saved, comparisons=())
    with pytest.raises(UsageError, match="needs a reference"):
        check((parse("p50:5%"),), view_of(saved, two.breakdowns))


@pytest.mark.parametrize("text", ["p50:5ms", "memory:5MB", "attention:5%", "load:5ms"])
def test_other_gates_need_none(text: str) -> None:
    demand_reference((parse(text),), baseline=False, comparing=False)


def test_references_can_be_demanded_beforehand() -> None:
    demand_reference((parse("p99:5%"),), baseline=True, comparing=False)
    demand_reference((parse("p50:5%"),), baseline=False, comparing=True)
    for text, comparing in (("p50:5%", False), ("p99:5%", True)):
        with pytest.raises(UsageError, match="needs a reference"):
            demand_reference((parse(text),), baseline=False, comparing=comparing)


def test_a_run_without_cases_passes_nothing(two: Any) -> None:
    run = dataclasses.replace(two.saved.run, cases=())
    with pytest.raises(UsageError, match="no cases"):
        check((parse("p50:5ms"),), view_of(SavedRun(run, ()), {}))


def test_no_gates_give_no_results(two: Any) -> None:
    assert check((), view(two)) == ()


def test_hostile_text_stays_on_one_line(hostile_story: Any, hostile_text: str) -> None:
    of = view(hostile_story)
    before = dataclasses.replace(baseline_of(of), name=hostile_text)
    before = dataclasses.replace(
        before, cases=(dataclasses.replace(before.cases[0], slug=hostile_text), *before.cases[1:])
    )
    gates = tuple(map(parse, ("p50:5ms", "p50:5%", "attention:5%", "memory:5MB")))
    results = [*check(gates, of), *check(gates, of, before)]
    assert len(results) > 12
    for result in results:
        assert "\n" not in result.sentence
        assert "\x1b" not in result.sentence


def test_the_unpaired_estimate_decides(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = baseline_of(alone(two)), alone(two)
    found = UnpairedEstimate(1.082, 1.061, 1.104, 0.95)
    monkeypatch.setattr("mvdeploy.analysis.gates.estimate_ratio", lambda *_: found)
    assert one("p50:5%", after, before).sentence == (
        "p50:5% failed: mobilevit_xxs 2,2,2 takes 1.082× as long as the baseline "
        "(95 % interval 1.061–1.104), more than 5 % slower."
    )


def test_a_percentile_of_few_samples_is_told(single: Any) -> None:
    few = one("p95:200ms", view(one_case(count=5)))
    assert few.passed and "5 samples are too few for p95, which takes 20" in few.note
    assert one("p95:200ms", view(single)).note == ""


@pytest.mark.parametrize(
    ("gate", "note"),
    [
        ("p95:50%", ""),
        ("p99:50%", "60 samples of a session are too few for p99, which takes 100"),
        ("p50:50%", ""),
    ],
)
def test_few_samples_of_a_session_are_told_beside_a_baseline(gate: str, note: str) -> None:
    story = one_case(count=60, sessions=4)
    result = one(gate, view(story), baseline_of(view(story)))
    assert result.note.startswith(note) and bool(result.note) == bool(note)
