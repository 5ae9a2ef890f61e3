"""What a run was to measure and has no end of: mvdeploy was killed there, or still measures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mvdeploy.analysis.cases import CaseView
from mvdeploy.records import Finding, Level, Plan
from mvdeploy.text_format import join

_SHARE = 0.05
"""Of the time of a load that its last interval may be early by."""


def unfinished(plan: Plan, cases: Sequence[CaseView], *, metered: bool) -> Iterator[Finding]:
    """Tell in one finding what is not whole, where nothing else says why.

    Args:
        plan: what was to be measured.
        cases: of the run.
        metered: whether it is known what the meter told, or why it told nothing.
    """
    left: list[str] = []
    for case in cases:
        if case.case.failure is None and case.case.measurement is not None:
            left += [f"{part} of {case.name}" for part in _parts(plan, case, cases)]
    if plan.energy and not metered and any(case.timing for case in cases):
        left.append("the energy")
    if left:
        yield Finding("unfinished", Level.ERROR, {"what": join(left)})


def _parts(plan: Plan, case: CaseView, cases: Sequence[CaseView]) -> Iterator[str]:
    if plan.sustained_s:
        if not _has_ended(plan, case, cases):
            yield "the sustained load"
        return
    if not case.timing:
        return
    measurement, stages, first_run = case.case.measurement, case.case.stages, case.case.first_run
    told = {finding.code for finding in measurement.findings} if measurement else set()
    if plan.pipeline and "pipeline_failed" not in told:
        sessions = min(plan.sessions, plan.iterations or plan.sessions)
        if stages is None or not (stages.unavailable or len(stages.sessions) >= sessions):
            yield "the whole pipeline"
    started = len(first_run.of(cold=False)) if first_run else 0
    if started < plan.starts and "first_run_failed" not in told:
        yield "the first runs"


def _has_ended(plan: Plan, case: CaseView, cases: Sequence[CaseView]) -> bool:
    """Say whether a load had all of its time, or says itself why it had not."""
    own = case.case.sustained
    if own is None or own.ended:
        return own is not None
    # Those that take turns share the time: it is over with the last of them.
    loads = [one.case.sustained for one in cases] if own.alternating else [own]
    until_s = max(load.until_s for load in loads if load is not None)
    return until_s >= own.asked_s - max(2 * own.interval_s, _SHARE * own.asked_s)
