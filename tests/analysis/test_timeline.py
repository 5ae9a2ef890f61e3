"""One inference of a case, laid out."""

from __future__ import annotations

import dataclasses
import functools
import math
import string
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.analysis.breakdown_view import NOT_PLACED, breakdown_view_of, category_titles
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.timeline import Span, SpanKind, Timeline, Track, timeline_of
from mvdeploy.analysis.view import view_of
from mvdeploy.records import (
    Breakdown,
    BreakdownRow,
    Category,
    OperatorKind,
    TimeKind,
    Trace,
    TraceEvent,
)
from tests.saved_runs import one_case

RUNS = 3


@functools.cache
def usual() -> CaseView:
    story = one_case()
    return view_of(story.saved, story.breakdowns).cases[0]


def event(row: BreakdownRow, samples: Sequence[int], starts: Sequence[int], track: str) -> Any:
    times = (tuple(samples), tuple(starts), track)
    return TraceEvent(row.name, row.type, row.kind, row.modules, "name", *times)


def row(name: str, modules: tuple[str, ...], ns: float) -> BreakdownRow:
    return BreakdownRow(name, "Conv", OperatorKind.CONV, Category.CONVOLUTION, modules, ns)


def laid_out(
    rows: Sequence[BreakdownRow],
    total: float,
    events: Sequence[TraceEvent] = (),
    scale: float = 1.0,
) -> Timeline:
    outside = max(0.0, total - math.fsum(r.ns for r in rows))
    divided = Breakdown(TimeKind.MEASURED, total, tuple(rows), outside, 0.9, 0.0, scale)
    profiled = (int(total),) * RUNS
    trace = Trace("onnxruntime", TimeKind.MEASURED, tuple(events), profiled, profiled)
    case = usual()
    timeline = timeline_of(
        dataclasses.replace(
            case,
            case=dataclasses.replace(case.case, trace=trace if events else None),
            breakdown=breakdown_view_of(divided, category_titles((), (divided,))),
        )
    )
    assert timeline is not None
    return timeline


def check_nesting(track: Track) -> None:
    """Read the edges as a viewer does."""
    stack: list[Span] = []
    at = 0.0
    for edge in track.edges():
        assert edge.at_ns >= at
        at = edge.at_ns
        if edge.opens:
            assert len(stack) == edge.span.depth
            stack.append(edge.span)
        else:
            assert stack.pop() is edge.span
            around = stack[-1] if stack else edge.span
            assert around.start_ns <= edge.span.start_ns <= edge.span.end_ns <= around.end_ns
    assert not stack


ROWS = (
    row("a", ("stem.conv",), 100.0),
    row("b", ("stem.act",), 50.0),
    row("c", (), 20.0),
    row("d", ("",), 30.0),
    row("e", ("stem.conv",), 40.0),
)


def test_operators_lie_in_their_modules_in_the_order_they_ran() -> None:
    (track,) = laid_out(ROWS, 300.0).tracks
    check_nesting(track)
    assert [(s.name, s.depth, s.start_ns, s.end_ns) for s in track.spans] == [
        ("inference of mobilevit_xxs 2,2,2", 0, 0, 300),
        ("stem", 1, 0, 150),
        ("stem.conv", 2, 0, 100),
        ("a", 3, 0, 100),
        ("stem.act", 2, 100, 150),
        ("b", 3, 100, 150),
        (NOT_PLACED, 1, 150, 170),
        ("c", 2, 150, 170),
        ("d", 1, 170, 200),
        ("stem", 1, 200, 240),
        ("stem.conv", 2, 200, 240),
        ("e", 3, 200, 240),
        ("Unattributed: outside operators (engine dispatch)", 1, 240, 300),
    ]


def test_without_stored_beginnings_there_is_one_track_and_it_says_so() -> None:
    events = [event(r, [int(r.ns)] * RUNS, (), "7") for r in ROWS]
    timeline = laid_out(ROWS, 300.0, events)
    assert timeline.between_scale is None
    assert [track.name for track in timeline.tracks] == ["7"]


def test_stored_beginnings_give_the_order_and_the_time_between() -> None:
    rows = (row("a", ("m",), 100.0), row("b", ("m",), 50.0), row("c", ("n",), 20.0))
    # In time: b, a, c, with 10 and 20 ns between; one inference was slower.
    starts = {"b": (5, 1005, 2005), "a": (65, 1065, 2900), "c": (185, 1185, 3020)}
    events = [event(r, [int(r.ns)] * RUNS, starts[r.name], "4711") for r in rows]
    timeline = laid_out(rows, 220.0, events)
    (track,) = timeline.tracks
    check_nesting(track)
    assert track.name == "4711"
    assert timeline.between_scale == 1
    assert [(o.name, o.start_ns, o.end_ns) for o in track.operators] == [
        ("b", 0, 50),
        ("a", 60, 160),
        ("c", 180, 200),
    ]
    assert track.spans[-1].kind is SpanKind.OUTSIDE
    assert (track.spans[-1].start_ns, track.spans[-1].end_ns) == (200, 220)


def test_time_between_operators_gives_way_to_the_latency() -> None:
    rows = (row("a", ("m",), 100.0), row("b", ("m",), 50.0))
    events = [event(rows[0], [100] * RUNS, [0] * RUNS, "1")]
    events.append(event(rows[1], [50] * RUNS, [10**9] * RUNS, "1"))
    timeline = laid_out(rows, 160.0, events, scale=0.9)
    (track,) = timeline.tracks
    check_nesting(track)
    assert [(o.start_ns, o.end_ns) for o in track.operators] == [
        (0, 100),
        (pytest.approx(110), pytest.approx(160)),
    ]
    assert timeline.between_scale is not None and timeline.between_scale < 0.9


def test_every_thread_has_a_track() -> None:
    rows = (row("a", ("m",), 100.0), row("b", ("m",), 50.0), row("c", ("n",), 20.0))
    starts, threads = {"a": 0, "b": 30, "c": 110}, {"a": "1", "b": "2", "c": "1"}
    events = [event(r, [int(r.ns)] * RUNS, [starts[r.name]] * RUNS, threads[r.name]) for r in rows]
    timeline = laid_out(rows, 200.0, events)
    for track in timeline.tracks:
        check_nesting(track)
    found = {t.name: [(o.name, o.start_ns) for o in t.operators] for t in timeline.tracks}
    assert found == {"1": [("a", 0), ("c", 110)], "2": [("b", 30)]}
    rests = [s for t in timeline.tracks for s in t.spans if s.kind is SpanKind.OUTSIDE]
    assert [(rest.start_ns, rest.end_ns) for rest in rests] == [(130, 200)]


def test_a_case_without_a_profile_has_none(trouble: Any) -> None:
    view = view_of(trouble.saved, trouble.breakdowns)
    assert [case.slug for case in view.cases if timeline_of(case)] == ["drifting"]


def test_a_path_of_very_many_levels_is_no_trap() -> None:
    (track,) = laid_out([row("a", (".".join("m" * 50_000),), 10.0)], 20.0).tracks
    check_nesting(track)
    assert len(track.spans) < 50


names = st.text(st.one_of(st.characters(), st.sampled_from("\"'\\.\n\x1b\u202e{}<>&" + "ab")))
lists = st.lists(
    st.tuples(
        names,
        st.lists(st.one_of(names, st.text(string.ascii_lowercase[:2] + ".")), max_size=2),
        st.floats(0, 1e9),
        st.lists(st.integers(-(10**20), 10**20), min_size=RUNS, max_size=RUNS),
        st.sampled_from(["", "1", "2"]),
    ),
    max_size=12,
)


@given(lists, st.floats(0, 1e9), st.booleans())
def test_whatever_operators_are_called_time_is_conserved(
    found: list[Any], outside: float, stored: bool
) -> None:
    rows = [row(name, tuple(modules), ns) for name, modules, ns, _, _ in found]
    total = math.fsum(r.ns for r in rows) + outside
    events = [
        event(r, [int(r.ns)] * RUNS, starts if stored else (), track)
        for r, (*_, starts, track) in zip(rows, found, strict=True)
    ]
    timeline = laid_out(rows, total, events)
    for track in timeline.tracks:
        check_nesting(track)
        assert track.spans[0].end_ns == timeline.total_ns == total
    operators = [span for track in timeline.tracks for span in track.operators]
    assert sorted(o.operator.position for o in operators if o.operator) == [
        *range(1, len(rows) + 1)
    ]
    for span in operators:
        assert span.operator is not None
        assert span.end_ns - span.start_ns == pytest.approx(span.operator.row.ns, abs=1e-3)
        assert span.name.isprintable()
