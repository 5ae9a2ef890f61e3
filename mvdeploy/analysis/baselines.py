"""Baselines: taken from a run, and held against the cases of a later one."""

from __future__ import annotations

import math

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.comparability import conditions_of
from mvdeploy.analysis.view import View
from mvdeploy.errors import UsageError
from mvdeploy.records import Baseline, BaselineCase, Run
from mvdeploy.stats import unpaired
from mvdeploy.text_format import clean


def baseline_of(view: View) -> Baseline:
    """Return the measured cases of a run as a baseline.

    Raises:
        UsageError: none was measured.
    """
    run = view.run
    kept = [baseline_case(run, case) for case in view.cases]
    cases = tuple(case for case in kept if case is not None)
    if not cases:
        reasons = [why_unmeasured(case).rstrip(".") for case in view.cases] or ["it has no cases"]
        raise UsageError(
            f"There is no baseline to keep, because the run measured nothing: {reasons[0]}.",
            "Correct what went wrong, and run again.",
        )
    return Baseline(run.name, run.created, run.mvdeploy, cases)


def baseline_case(run: Run, case: CaseView) -> BaselineCase | None:
    """Return what a baseline keeps of one case; None when it has no latency of its own."""
    measurement = case.case.measurement
    if measurement is None or why_unmeasured(case):
        return None
    sessions = measurement.sessions
    return BaselineCase(
        slug=case.slug,
        label=case.case.label,
        conditions=conditions_of(case, run.plan),
        sessions=tuple(s.steady.wall_ns for s in sessions if len(s.steady)),
        loads_ns=tuple(s.load_ns for s in sessions),
        firsts_ns=tuple(s.first.wall_ns[0] for s in sessions if len(s.first)),
        parts_ns={p.key: p.ns for p in case.breakdown.parts} if case.breakdown else {},
        peak_memory_bytes=measurement.peak_memory_bytes,
    )


def why_unmeasured(case: CaseView) -> str:
    """Say why a case cannot be held against anything; empty when it can.

    A case that failed after some of its sessions has a latency, but not the one that was asked for.
    """
    if case.case.failure:
        return clean(case.case.failure.message)
    if case.timing and case.timing.in_turns:
        return "It only took turns with another case, which gives no latency of its own."
    return case.reason


def counterpart(case: BaselineCase, cases: int, baseline: Baseline) -> BaselineCase | None:
    """Return the case of a baseline that a case of another result is held against.

    That is the one with the same slug; where both have one case only, that one.

    Args:
        case: of the other result.
        cases: number of cases of that result.
        baseline: the baseline.
    """
    if cases == len(baseline.cases) == 1:
        return baseline.cases[0]
    return next((other for other in baseline.cases if other.slug == case.slug), None)


def estimate_ratio(metric: str, a: BaselineCase, b: BaselineCase) -> unpaired.UnpairedEstimate:
    """Estimate a time of case B divided by that of case A, taken at different times.

    Args:
        metric: a percentile such as ``p50``; ``mean``; ``load``; ``first`` (inference).
        a: the reference.
        b: the other.

    Raises:
        ValueError: a side has fewer than two sessions with samples, or a time of zero.
    """
    if metric == "load":
        return unpaired.ratio_of_values(a.loads_ns, b.loads_ns)
    if metric == "first":
        return unpaired.ratio_of_values(a.firsts_ns, b.firsts_ns)
    if metric == "mean":
        return unpaired.ratio_of_values(_means(a), _means(b))
    return unpaired.ratio(a.sessions, b.sessions, float(metric.removeprefix("p")))


def _means(case: BaselineCase) -> list[float]:
    return [math.fsum(times) / len(times) for times in case.sessions if times]
