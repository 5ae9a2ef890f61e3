"""What the formats that draw timelines have in common: a file for each case, and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mvdeploy.analysis.breakdown_view import (
    UNATTRIBUTED_TITLES,
    UNPLACED,
    BreakdownView,
    OperatorShare,
)
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.timeline import Timeline, Track, timeline_of
from mvdeploy.analysis.view import View
from mvdeploy.errors import UsageError
from mvdeploy.files import writing
from mvdeploy.records import TimeKind
from mvdeploy.report.tables.table import tagged
from mvdeploy.text_format import clean, count, significant

Draw = Callable[[View, CaseView, Timeline], dict[str, Any]]


def write(view: View, folder: Path, ending: str, draw: Draw) -> tuple[Path, ...]:
    """Write ``timelines/<case><ending>`` for every case that was profiled; return the paths.

    Args:
        view: the run.
        folder: of the report.
        ending: of the files' names.
        draw: returns what is written of a case, as plain JSON values.

    Raises:
        UsageError: no case was profiled.
        NotWritten: the folder cannot be written to.
    """
    timelines = [(case, timeline_of(case)) for case in view.cases]
    paths = []
    for case, timeline in timelines:
        if timeline is not None:
            path = folder / "timelines" / f"{case.slug}{ending}"
            # Plain letters only: not every viewer asks which others a file holds.
            writing.text(path, json.dumps(draw(view, case, timeline), allow_nan=False) + "\n")
            paths.append(path)
    if not paths:
        of = "the case" if len(view.cases) == 1 else "a case"
        raise UsageError(
            f"There is no timeline, because no operator times of {of} were measured.",
            "Measure without --no-breakdown; the report says why a profile failed.",
        )
    return tuple(paths)


def title(view: View, case: CaseView) -> str:
    """Return what a timeline is called: the case, and what ran it."""
    return f"{tagged(view, case)} ({case.engine or 'engine not known'})"


def thread(track: Track, number: int) -> str:
    """Return what a track is called; `number` counts from 1."""
    if track.name:
        return f"thread {track.name}"
    return "operators" if number == 1 else f"operators {number}"


def category(view: View, operator: OperatorShare) -> tuple[str, str]:
    """Return what an operator is counted under, as in the breakdown: its key and its title."""
    row = operator.row
    if view.by_kind:
        return str(row.kind), str(row.kind)
    if row.category is None:
        return UNPLACED, UNATTRIBUTED_TITLES[UNPLACED]
    return str(row.category), view.categories.get(row.category, row.category.heading)


def microseconds(ns: float) -> float:
    """Return a time as both formats hold it; what was equal or in order stays so."""
    return round(ns / 1e3, 6)


def facts(view: View, case: CaseView, timeline: Timeline) -> dict[str, Any]:
    """Return what a timeline shows and what its times are; milliseconds, as in the JSON report."""
    breakdown = case.breakdown
    if breakdown is None:
        raise ValueError("a timeline without a breakdown")
    operators = sum(operator.row.ns for operator in breakdown.operators)
    return {
        "made_by": f"mvdeploy {clean(view.run.mvdeploy)}",
        "run": clean(view.run.name),
        "case": case.slug,
        "label": clean(case.case.label),
        "engine": clean(case.case.engine),
        "format": clean(case.format),
        "precision": clean(case.precision),
        "device": clean(case.device.profile.title),
        "total_ms": timeline.total_ns / 1e6,
        "total": "the median latency of the case, measured without the profiler",
        "operators_ms": operators / 1e6,
        "outside_ms": max(0.0, timeline.total_ns - operators) / 1e6,
        "time_kind": str(breakdown.time_kind),
        "times": _times(breakdown, timeline.inferences),
        "scale": breakdown.scale,
        "starts": _starts(timeline),
    }


def _times(breakdown: BreakdownView, inferences: int) -> str:
    of = f" of {count(inferences, 'profiled inference')}" if inferences else ""
    if breakdown.time_kind is TimeKind.ESTIMATED:
        return f"estimated by the engine, medians{of}, × {significant(breakdown.scale)}"
    if breakdown.scale == 1:
        return f"measured: medians{of}"
    return (
        f"estimated: measured medians{of}, × {significant(breakdown.scale)}, so that operators and "
        "the time outside of them add up to the total"
    )


def _starts(timeline: Timeline) -> str:
    if timeline.between_scale is None:
        return (
            "not stored: operators are laid one after another in the order they ran, and the time "
            "outside of them at the end"
        )
    return (
        f"estimated: the time before each operator is the median of "
        f"{count(timeline.inferences, 'profiled inference')}, × "
        f"{significant(timeline.between_scale)}, so that it fits into the total; the rest of the "
        "time outside of operators is at the end, as it is not known where it lies"
    )
