"""What an app waits for, in sentences."""

from __future__ import annotations

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.stages import BETWEEN, StagesView, stages_view
from mvdeploy.analysis.view import View
from mvdeploy.records.stages import INFERENCE
from mvdeploy.report.tables.table import tagged
from mvdeploy.text_format import clean, join, milliseconds, percent

_NAMED = 2
"""Stages beside the inference that a sentence names."""


def sentences(view: View) -> tuple[str, ...]:
    """Say of each case how long a picture takes, and the engine's share of it; or why not."""
    said = []
    for case in view.cases:
        record, found = case.case.stages, stages_view(case)
        if found is not None:
            said.append(_sentence(view, case, found))
        elif record is not None:
            reason = clean(record.unavailable)
            said.append(f"{tagged(view, case)}: its whole pipeline is unavailable: {reason}.")
    return tuple(said)


def _sentence(view: View, case: CaseView, found: StagesView) -> str:
    others = [part for part in found.parts if part.key not in (INFERENCE, BETWEEN)]
    largest = sorted(others, key=lambda part: -part.ns)[:_NAMED]
    parts = join([f"'{part.title}' {percent(part.share, 0)}" for part in largest])
    low, high = min(found.shares), max(found.shares)
    between = "" if len(found.shares) < 2 else f" ({_range(low, high)} by session)"
    return (
        f"{tagged(view, case)}: from the bytes of a picture to an answer an app waits "
        f"{milliseconds(found.p50)} ms: the engine's share, the inference, is "
        f"{percent(found.inference.share, 0)}{between}; {parts}.{_beside(case, found)}"
    )


def _range(low: float, high: float) -> str:
    first, last = percent(low, 0), percent(high, 0)
    return first if first == last else f"{first.removesuffix(' %')}–{last}"


def _beside(case: CaseView, found: StagesView) -> str:
    """Hold the inference among the other stages against the latency of the case."""
    if case.timing is None or case.timing.in_turns:
        return ""
    own, alone = found.inference.p50, case.timing.wall.p50
    change, between, before = own / alone - 1, found.inference.interval, case.timing.interval
    if between is None or before is None:
        how = f"and {milliseconds(alone)} ms alone"
    elif between.low <= before.high and before.low <= between.high:
        how = f"as alone ({milliseconds(alone)} ms) as far as this run can tell"
    else:
        how = f"{percent(abs(change), 0)} {'more' if change > 0 else 'less'} than alone"
    return f" Between the other stages the inference takes {milliseconds(own)} ms, {how}."
