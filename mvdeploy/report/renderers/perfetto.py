"""Timelines for Perfetto and chrome://tracing, as JSON trace events, a file for each case.

Categories are named twice: Perfetto colours slices by their names, so each thread has a lane of
categories beneath it; chrome://tracing has the colours of ``cname``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.timeline import Span, SpanKind, Timeline, Track
from mvdeploy.analysis.view import View
from mvdeploy.report import timelines
from mvdeploy.text_format import clean

EXTENSION = "json"
DESCRIPTION = "a timeline of each case for Perfetto and chrome://tracing"
DEFAULT = False
BY_CASE = True

_COLOURS = (
    *("thread_state_runnable", "rail_animation", "yellow", "rail_response", "rail_load"),
    *("thread_state_iowait", "olive", "startup", "cq_build_passed", "rail_idle"),
)
"""Names that chrome://tracing has, for the categories in the order of reports."""

_UNATTRIBUTED = "grey"


def render(view: View, folder: Path) -> tuple[Path, ...]:
    """Write ``timelines/<case>.perfetto.json`` for every profiled case."""
    return timelines.write(view, folder, ".perfetto.json", _trace)


def _trace(view: View, case: CaseView, timeline: Timeline) -> dict[str, Any]:
    process = view.cases.index(case) + 1
    events = [_named("process_name", process, 0, timelines.title(view, case))]
    for number, track in enumerate(timeline.tracks, 1):
        name, lane = timelines.thread(track, number), 2 * number - 1
        events.append(_named("thread_name", process, lane, name))
        events.append(_named("thread_name", process, lane + 1, f"{name}: categories"))
        events += _slices(view, case, track, {"pid": process, "tid": lane})
        events += _categories(view, track, {"pid": process, "tid": lane + 1})
    return {
        "displayTimeUnit": "ms",
        "otherData": timelines.facts(view, case, timeline),
        "traceEvents": events,
    }


def _named(what: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": process, "tid": thread, "name": what, "args": {"name": name}}


def _slices(
    view: View, case: CaseView, track: Track, place: dict[str, int]
) -> Iterator[dict[str, Any]]:
    for edge in track.edges():
        at = timelines.microseconds(edge.at_ns)
        # Some viewers find the beginning of an end by its name.
        event: dict[str, Any] = {
            "ph": "B" if edge.opens else "E",
            "ts": at,
            "name": edge.span.name,
            **place,
        }
        if edge.opens:
            event["cat"] = str(edge.span.kind)
            event["args"] = _args(view, case, edge.span)
            if edge.span.operator is not None:
                category, _ = timelines.category(view, edge.span.operator)
                event |= {"cat": category, "cname": _colour(view, category)}
        yield event


def _categories(view: View, track: Track, place: dict[str, int]) -> Iterator[dict[str, Any]]:
    for span in track.operators:
        if span.operator is None:
            continue
        category, title = timelines.category(view, span.operator)
        looks = {"name": title, "cat": category, "cname": _colour(view, category)}
        yield {"ph": "B", "ts": timelines.microseconds(span.start_ns), **place, **looks}
        yield {"ph": "E", "ts": timelines.microseconds(span.end_ns), **place, "name": title}


def _colour(view: View, category: str) -> str:
    known = [*view.categories]
    if category not in known:
        return _UNATTRIBUTED
    return _COLOURS[known.index(category) % len(_COLOURS)]


def _args(view: View, case: CaseView, span: Span) -> dict[str, Any]:
    if span.operator is None:
        return {"engine": clean(case.case.engine)} if span.kind is SpanKind.INFERENCE else {}
    row = span.operator.row
    return {
        "ms": row.ns / 1e6,
        "share": span.operator.share,
        "position": span.operator.position,
        "engine": clean(case.case.engine),
        "type": clean(row.type),
        "kind": str(row.kind),
        "category": timelines.category(view, span.operator)[1],
        "module": clean(row.modules[0]) if row.modules else "",
        "fused_modules": [clean(module) for module in row.modules[1:]],
    }
