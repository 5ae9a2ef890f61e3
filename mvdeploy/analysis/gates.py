"""Gates: hold the cases of a run against what ``--fail-on`` demands.

A case that lacks what a gate asks about fails it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from mvdeploy import plugins
from mvdeploy.analysis.baselines import baseline_case, counterpart, estimate_ratio, why_unmeasured
from mvdeploy.analysis.breakdown_view import OUTSIDE, UNPLACED
from mvdeploy.analysis.cases import CaseView, Timing
from mvdeploy.analysis.comparability import demand_alike
from mvdeploy.analysis.gate_syntax import LATENCIES, PIPELINE, UNATTRIBUTED, Gate, parse
from mvdeploy.analysis.ratios import CLOCK_NAMES, ComparisonView
from mvdeploy.analysis.stages import stages_view
from mvdeploy.analysis.view import View
from mvdeploy.errors import UsageError
from mvdeploy.records import Baseline, BaselineCase, TimeKind
from mvdeploy.stats import unpaired
from mvdeploy.stats.paired import RatioEstimate
from mvdeploy.stats.percentiles import least
from mvdeploy.stats.summary import TAILS
from mvdeploy.stats.unpaired import UnpairedEstimate
from mvdeploy.text_format import clean, elide, percent

__all__ = ["Gate", "GateResult", "check", "demand_reference", "parse"]

# Absolute and relative; the name of the reference follows on the relative ones.
_WORDS = {
    "p50": ("{name} takes {x} ms", "{name} takes {x}× as long as"),
    "mean": ("{name} takes {x} ms on average", "{name} takes {x}× as long on average as"),
    "load": ("loading {name} takes {x} ms", "loading {name} takes {x}× as long as that of"),
    "first": (
        "the first inference of {name} takes {x} ms",
        "the first inference of {name} takes {x}× as long as that of",
    ),
    "memory": ("{name} needs {x} MB at its peak", ""),
    PIPELINE: ("the whole pipeline of {name} takes {x} ms", ""),
}
_WORDS_OF_PERCENTILES = ("{metric} of {name} is {x} ms", "{metric} of {name} is {x}× that of")
_IN_TURNS = "It took turns with another case, where an inference is slightly slower than alone."


@dataclasses.dataclass(frozen=True)
class GateResult:
    """What became of one gate on one case.

    Attributes:
        gate: the gate.
        slug: of the case.
        name: of the case, as reports print it.
        passed: whether the demand is met.
        sentence: what was found, with the figures, on one line.
        note: what to know about how it was judged; may be empty.
    """

    gate: Gate
    slug: str
    name: str
    passed: bool
    sentence: str
    note: str = ""


def demand_pipeline(gates: Sequence[Gate]) -> None:
    """Refuse gates about the whole pipeline, which is not going to be timed.

    Raises:
        UsageError: there is one.
    """
    for gate in gates:
        if gate.metric == PIPELINE:
            raise UsageError(
                f"The gate {gate} is about the whole pipeline, which is not timed.",
                "Measure with 'mvdeploy bench --pipeline', or leave the gate out.",
            )


def demand_reference(gates: Sequence[Gate], *, baseline: bool, comparing: bool) -> None:
    """Refuse gates that compare when there is nothing to compare with.

    `check` does so too; this is to be told before anything is measured.

    Args:
        gates: the gates.
        baseline: whether there is a baseline.
        comparing: whether cases take turns, so that there will be paired ratios.

    Raises:
        UsageError: a gate has no reference.
    """
    for gate in gates:
        if baseline or not gate.relative:
            continue
        if not comparing:
            raise UsageError(
                f"The gate {gate} needs a reference, and there is none.",
                "Give one with --baseline FILE, as --save-baseline wrote it.",
            )
        if gate.metric != "p50":
            raise UsageError(
                f"The gate {gate} needs a reference: a paired comparison decides on p50 only.",
                "Give one with --baseline FILE, or set the limit on p50.",
            )


def check(
    gates: Sequence[Gate], view: View, baseline: Baseline | None = None
) -> tuple[GateResult, ...]:
    """Hold every case of a run against every gate.

    Args:
        gates: the gates.
        view: the run.
        baseline: the reference of gates that compare; None to let the paired comparisons of the
            run decide, where the case that is their reference has no result of its own.

    Returns:
        Results by gate, then by case.

    Raises:
        UsageError: a gate has no reference, or is about a part that no case has; the baseline was
            taken under other conditions; or the run has no cases.
    """
    if not view.cases:
        raise UsageError("The run has no cases to hold against a gate.", "Measure a model.")
    # A run whose cases failed may have lost its comparisons: then the cases tell why.
    lost = len(view.cases) > 1 and any(map(why_unmeasured, view.cases))
    demand_reference(gates, baseline=baseline is not None, comparing=bool(view.comparisons) or lost)
    _demand_parts(gates, view)
    return tuple(
        result
        for gate in gates
        for case in view.cases
        for result in _results(gate, case, view, baseline)
    )


def _demand_parts(gates: Sequence[Gate], view: View) -> None:
    """Refuse gates about a part that latencies of this run are not divided into.

    A run without any breakdown does not tell: there, such a gate fails.
    """
    parts = (*view.categories, UNATTRIBUTED)
    for gate in gates:
        if view.profiled and gate.of_part and gate.metric not in parts:
            error = plugins.unknown("part", gate.metric, parts)
            raise UsageError(
                f"The gate {gate} is about '{gate.metric}', which is no part of these latencies.",
                error.remedy,
            )


def _results(
    gate: Gate, case: CaseView, view: View, baseline: Baseline | None
) -> tuple[GateResult, ...]:
    if case.case.failure:
        return (_failed(gate, case, why_unmeasured(case)),)
    if not gate.relative:
        return (_part(gate, case, view) if gate.of_part else _absolute(gate, case),)
    if baseline is not None:
        return (_against_baseline(gate, case, view, baseline),)
    return _paired(gate, case, view)


def _absolute(gate: Gate, case: CaseView) -> GateResult:
    value = _figure(gate.metric, case)
    if value is None:
        return _failed(gate, case, _no_figure(gate.metric, case))
    number = value / 1e6
    digits = 1 if gate.metric == "memory" else 3
    text = _words(gate, case, _beside(number, gate.limit, digits))[0]
    passed = number <= gate.limit
    note = _note(gate.metric, case.timing) if case.timing and gate.metric in LATENCIES else ""
    return _result(gate, case, passed, f"{text}, {_more(passed)} {gate.limit_text}", note)


def _no_figure(metric: str, case: CaseView) -> str:
    if metric in LATENCIES or case.case.measurement is None:
        return case.reason
    record = case.case.stages
    if metric == PIPELINE and record is not None and record.unavailable:
        return f"its whole pipeline is unavailable: {record.unavailable}"
    return f"nothing was recorded for {metric}"


def _note(metric: str, timing: Timing) -> str:
    """Return what to know about a latency of a case."""
    few = ""
    if metric in timing.wall.too_few_for:
        few = _few(metric, timing.wall.count)
    return " ".join(filter(None, (_IN_TURNS if timing.in_turns else "", few)))


def _few(metric: str, count: int, where: str = "") -> str:
    return (
        f"{count} samples{where} are too few for {metric}, which takes {least(TAILS[metric])}: it "
        "tells little more than the largest of them does."
    )


def _figure(metric: str, case: CaseView) -> float | None:
    """Return a figure in nanoseconds or bytes; None when it is not known."""
    timing, measurement = case.timing, case.case.measurement
    if metric in LATENCIES:
        latency: float | None = getattr(timing.wall, metric) if timing else None
        return latency
    if measurement is None:
        return None
    if metric == PIPELINE:
        stages = stages_view(case)
        return stages.p50 if stages else None
    # Not from the timing: a case without samples has none, but these figures all the same.
    firsts = measurement.first.wall_ns
    figures = {
        "load": measurement.load_ns,
        "first": firsts[0] if firsts else 0,
        "memory": measurement.peak_memory_bytes,
    }
    return figures[metric] or None


def _part(gate: Gate, case: CaseView, view: View) -> GateResult:
    breakdown = case.breakdown
    if breakdown is None:
        return _failed(gate, case, _no_breakdown(case, view))
    keys = (UNPLACED, OUTSIDE) if gate.metric == UNATTRIBUTED else (gate.metric,)
    ns = math.fsum(part.ns for part in breakdown.parts if part.key in keys)
    total = breakdown.total_ns
    kind = ", estimated" if breakdown.time_kind is TimeKind.ESTIMATED else ""
    if gate.unit == "%":
        share = 100 * ns / total if total else 0.0
        passed = share <= gate.limit
        shown = f"{_beside(share, gate.limit, 1)} % of {case.name}"
        of = f"({ns / 1e6:.2f} of {total / 1e6:.2f} ms{kind})"
    else:
        passed = ns / 1e6 <= gate.limit
        shown = f"{_beside(ns / 1e6, gate.limit, 3)} ms of {case.name}"
        of = f"({percent(ns / total if total else 0.0)} of {total / 1e6:.2f} ms{kind})"
    return _result(gate, case, passed, f"{gate.metric} takes {shown} {of}")


def _no_breakdown(case: CaseView, view: View) -> str:
    if case.reason:
        return case.reason
    for finding in view.findings_of(case):
        if finding.code == "profile_failed":
            reason = clean(str(finding.values.get("reason", "")))
            return f"there is no breakdown, because the profiled run failed: {reason}"
        if finding.code == "no_profiler":
            return f"there is no breakdown, as {clean(str(finding.values.get('reason', '')))}"
    return "it was not profiled, so there is no breakdown"


def _against_baseline(
    gate: Gate, view_case: CaseView, view: View, baseline: Baseline
) -> GateResult:
    case = baseline_case(view.run, view_case)
    if case is None:
        return _failed(gate, view_case, why_unmeasured(view_case))
    reference = counterpart(case, len(view.cases), baseline)
    title = f"the baseline {clean(baseline.name)}"
    if reference is None:
        known = elide(clean(", ".join(c.slug for c in baseline.cases)), 120)
        reason = f"{title} has no case '{clean(case.slug)}', only {known}"
        return _failed(gate, view_case, reason)
    demand_alike(case.conditions, reference.conditions, view_case.name, title)
    try:
        estimate = estimate_ratio(gate.metric, reference, case)
    except ValueError as error:
        # Too little data, on either side: no reason to stop the other gates, none to pass.
        return _failed(gate, view_case, f"it cannot be held against the baseline ({error})")
    blind = _blind_note() if gate.limit < 100 * unpaired.BLIND else ""
    few = _few_in_sessions(gate.metric, reference, case)
    note = " ".join(filter(None, (blind, few)))
    return _regression(gate, view_case, estimate, "the baseline", note=note)


def _few_in_sessions(metric: str, *cases: BaselineCase) -> str:
    """Return what to know of a percentile that is taken of each session."""
    fewest = min((len(s) for case in cases for s in case.sessions), default=0)
    if metric not in TAILS or fewest >= least(TAILS[metric]):
        return ""
    return _few(metric, fewest, " of a session")


def _blind_note() -> str:
    blind = f"{100 * unpaired.BLIND:g} %"
    return (
        f"Two runs of the same model can differ by {blind}, so results of different runs say "
        f"nothing below {blind}: 'mvdeploy compare' of the two files decides."
    )


def _paired(gate: Gate, case: CaseView, view: View) -> tuple[GateResult, ...]:
    comparisons = [c for c in view.comparisons if c.b.slug == case.slug]
    if not comparisons:
        if any(c.a.slug == case.slug for c in view.comparisons):
            return ()
        return (_failed(gate, case, case.reason or "it did not take turns with another case"),)
    return tuple(_of_comparison(gate, comparison) for comparison in comparisons)


def _of_comparison(gate: Gate, comparison: ComparisonView) -> GateResult:
    a, b, estimate = comparison.a, comparison.b, comparison.estimate
    if estimate is None:
        return _failed(gate, b, f"it cannot be compared with {a.name} ({comparison.problem})")
    note = (
        ""
        if estimate.between_groups
        else "There are too few groups of turns: the interval counts only the spread within them."
    )
    return _regression(gate, b, estimate, a.name, CLOCK_NAMES[estimate.clock], note)


def _regression(
    gate: Gate,
    case: CaseView,
    estimate: RatioEstimate | UnpairedEstimate,
    reference: str,
    clock: str = "",
    note: str = "",
) -> GateResult:
    threshold = 1 + gate.limit / 100
    larger, outside = estimate.ratio > threshold, estimate.low > 1
    words = _words(gate, case, _beside(estimate.ratio, threshold, 3))[1]
    interval = f"{_beside(estimate.low, 1, 3)}–{_beside(estimate.high, 1, 3)}"
    evidence = f"{100 * estimate.level:g} % interval {interval}" + (f", {clock}" if clock else "")
    if larger and not outside:
        verdict = "larger than the threshold, but within the interval"
    else:
        verdict = f"{_more(not larger)} {gate.limit_text} slower"
    text = f"{words} {reference} ({evidence}), {verdict}"
    return _result(gate, case, not (larger and outside), text, note)


def _words(gate: Gate, case: CaseView, figure: str) -> tuple[str, str]:
    absolute, relative = _WORDS.get(gate.metric, _WORDS_OF_PERCENTILES)
    values = {"metric": gate.metric, "name": case.name, "x": figure}
    return absolute.format_map(values), relative.format_map(values)


def _more(passed: bool) -> str:
    return "not more than" if passed else "more than"


def _failed(gate: Gate, case: CaseView, reason: str) -> GateResult:
    return _result(gate, case, False, f"{case.name}: {reason.rstrip('.')}")


def _result(gate: Gate, case: CaseView, passed: bool, text: str, note: str = "") -> GateResult:
    sentence = f"{gate} {'passed' if passed else 'failed'}: {text}."
    return GateResult(gate, case.slug, case.name, passed, sentence, note)


def _beside(value: float, limit: float, digits: int) -> str:
    """Return a number with enough digits to tell it from a limit."""
    for more in range(digits, digits + 6):
        text = f"{value:.{more}f}"
        if value == limit or float(text) != limit:
            break
    return text
