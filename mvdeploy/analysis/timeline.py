"""`Timeline`: one inference of a case, its operators one after the other within their modules.

It is made of medians, as the breakdown is, and is as long as the latency that was measured without
the profiler: no single inference was exactly like it.
"""

from __future__ import annotations

import dataclasses
import enum
import statistics
from collections.abc import Iterator, Sequence

from mvdeploy.analysis.breakdown_view import (
    NETWORK,
    NOT_PLACED,
    OUTSIDE,
    UNATTRIBUTED_TITLES,
    BreakdownView,
    OperatorShare,
)
from mvdeploy.analysis.cases import CaseView
from mvdeploy.records import Trace, TraceEvent
from mvdeploy.text_format import clean

_DEEPEST = 32
"""Levels of modules that are told apart; what lies deeper is in the name of the last."""

_SEEN_NS = 1e-3
"""Shorter times are what rounding leaves."""


class SpanKind(enum.StrEnum):
    """What a span of a timeline stands for."""

    INFERENCE = "inference"
    MODULE = "module"
    OPERATOR = "operator"
    OUTSIDE = "outside"


@dataclasses.dataclass(frozen=True)
class Span:
    """Something that took time.

    Attributes:
        name: of the operator as the engine calls it, or the dotted path of the module.
        kind: what it is.
        start_ns: since the inference began, nanoseconds.
        end_ns: likewise.
        depth: how many spans it lies in.
        operator: None for other kinds.
    """

    name: str
    kind: SpanKind
    start_ns: float
    end_ns: float
    depth: int
    operator: OperatorShare | None = None


@dataclasses.dataclass(frozen=True)
class Edge:
    """Where a span begins or ends."""

    at_ns: float
    opens: bool
    span: Span


@dataclasses.dataclass(frozen=True)
class Track:
    """What ran on one thread or queue.

    Attributes:
        name: as the engine calls the thread; empty where it does not tell.
        spans: each before those within it, in the order of time; the first is the inference.
    """

    name: str
    spans: tuple[Span, ...]

    @property
    def operators(self) -> tuple[Span, ...]:
        """The operators, in the order of time."""
        return tuple(span for span in self.spans if span.kind is SpanKind.OPERATOR)

    def edges(self) -> Iterator[Edge]:
        """Give beginnings and ends in the order of time; every span ends before those around it."""
        within: list[Span] = []
        for span in self.spans:
            while len(within) > span.depth:
                yield Edge(within[-1].end_ns, False, within.pop())
            within.append(span)
            yield Edge(span.start_ns, True, span)
        while within:
            yield Edge(within[-1].end_ns, False, within.pop())


@dataclasses.dataclass(frozen=True)
class Timeline:
    """One inference of a case.

    Attributes:
        tracks: one for each thread that the profile knows.
        total_ns: the latency, nanoseconds: median without the profiler.
        between_scale: by which the times between operators are multiplied, so that they fit into
            the latency; None where the run does not hold when operators began.
        inferences: how many profiled ones the times are medians of; 0 where that is not known.
    """

    tracks: tuple[Track, ...]
    total_ns: float
    between_scale: float | None
    inferences: int


def timeline_of(case: CaseView) -> Timeline | None:
    """Lay out one inference of a case; None when it was not profiled.

    Operators are as long as in the breakdown. Where the profile says when they began, each comes
    after as much time as usually passes before it; else they follow each other in the order they
    ran. What of the latency is in neither stands at the end: where it lies is not known.
    """
    breakdown, trace = case.breakdown, case.case.trace
    if breakdown is None:
        return None
    operators = sorted(breakdown.operators, key=lambda operator: operator.position)
    events = trace.events if trace and len(trace.events) == len(operators) else ()
    scale: float | None = None
    if trace and events and all(event.starts_ns for event in events):
        threads, scale = _by_starts(breakdown, operators, trace)
    else:
        names = {event.track for event in events}
        threads = {names.pop() if len(names) == 1 else "": [(o, 0.0) for o in operators]}
    placed = {name: _placed(thread, breakdown.total_ns) for name, thread in threads.items()}
    last = max((end for thread in placed.values() for _, _, end in thread), default=0.0)
    tracks = [
        # The rest is told once.
        Track(clean(name), _spans(case, thread, breakdown.total_ns, last if i == 0 else None))
        for i, (name, thread) in enumerate(placed.items())
    ]
    inferences = len(trace.profiled_ns) if trace else 0
    return Timeline(tuple(tracks), breakdown.total_ns, scale, inferences)


_Thread = list[tuple[OperatorShare, float]]
"""Operators in the order of time, each with how long nothing ran before it, nanoseconds."""


def _by_starts(
    breakdown: BreakdownView, operators: Sequence[OperatorShare], trace: Trace
) -> tuple[dict[str, _Thread], float]:
    """Return the operators of each thread, and by what the times between them were multiplied.

    They are multiplied as the operators are, or by less, so that all fits into the latency.
    """
    events = trace.events
    began = [min(starts) for starts in zip(*(e.starts_ns for e in events), strict=True)]
    members: dict[str, list[int]] = {}
    for i in sorted(range(len(events)), key=lambda i: _offset(events[i], began)):
        members.setdefault(events[i].track, []).append(i)
    threads: dict[str, _Thread] = {}
    scale = breakdown.scale
    for name, numbers in members.items():
        waits = _waits([events[i] for i in numbers], began, trace.profiled_ns)
        threads[name] = [(operators[i], wait) for i, wait in zip(numbers, waits, strict=True)]
        left = breakdown.total_ns - sum(operators[i].row.ns for i in numbers)
        if sum(waits):
            scale = min(scale, max(0.0, left) / sum(waits))
    scaled = {n: [(o, wait * scale) for o, wait in thread] for n, thread in threads.items()}
    return scaled, scale


def _offset(event: TraceEvent, began: Sequence[int]) -> float:
    """Return when an operator usually began, since the first one of the inference did."""
    return statistics.median(s - first for s, first in zip(event.starts_ns, began, strict=True))


def _waits(events: Sequence[TraceEvent], began: Sequence[int], most: Sequence[int]) -> list[float]:
    """Return how long a thread usually did nothing before each of its operators, nanoseconds.

    Args:
        events: of one thread, in the order of time.
        began: when the first operator of each inference did, on whichever thread.
        most: how long each inference took: a wait is no longer, whatever the profile says.
    """
    waits, ends = [], list(began)
    for event in events:
        gaps = zip(event.starts_ns, ends, most, strict=True)
        waits.append(float(statistics.median(min(max(s - e, 0), limit) for s, e, limit in gaps)))
        times = zip(ends, event.starts_ns, event.samples_ns, strict=True)
        ends = [max(end, start + ns) for end, start, ns in times]
    return waits


_Placed = tuple[OperatorShare, float, float]


def _placed(operators: _Thread, total_ns: float) -> list[_Placed]:
    """Return each operator of a thread with its beginning and its end."""
    at, placed = 0.0, []
    for operator, wait in operators:
        start = min(at + wait, total_ns)
        at = min(start + operator.row.ns, total_ns)
        placed.append((operator, start, at))
    return placed


def _path(operator: OperatorShare) -> list[str]:
    """Return the names of the modules that an operator is in, the outermost first.

    None for an operator of the network itself.
    """
    if not operator.row.modules:
        return [NOT_PLACED]
    path = clean(operator.row.modules[0])
    parts = path.split(".", _DEEPEST - 1) if path else []
    return [".".join(parts[: i + 1]) or NETWORK for i in range(len(parts))]


def _spans(
    case: CaseView, operators: Sequence[_Placed], total_ns: float, rest_from: float | None
) -> tuple[Span, ...]:
    """Return the spans of a thread.

    Args:
        case: what is run.
        operators: of the thread, in the order of time.
        total_ns: how long the inference takes.
        rest_from: where the time begins that is in no operator and between none; None to leave it
            to another thread.
    """
    spans = [Span(f"inference of {case.name}", SpanKind.INFERENCE, 0.0, total_ns, 0)]
    within: list[tuple[str, int]] = []  # names of the modules that are open, and which spans
    for operator, start, end in operators:
        path = _path(operator)
        shared = 0
        while shared < min(len(path), len(within)) and path[shared] == within[shared][0]:
            shared += 1
        del within[shared:]
        for name in path[shared:]:
            within.append((name, len(spans)))
            spans.append(Span(name, SpanKind.MODULE, start, end, len(within)))
        for _, index in within:
            spans[index] = dataclasses.replace(spans[index], end_ns=end)
        name = clean(operator.row.name) or clean(operator.row.type) or "(no name)"
        spans.append(Span(name, SpanKind.OPERATOR, start, end, len(within) + 1, operator))
    if rest_from is not None and total_ns - rest_from > _SEEN_NS:
        title = UNATTRIBUTED_TITLES[OUTSIDE]
        spans.append(Span(title, SpanKind.OUTSIDE, rest_from, total_ns, 1))
    return tuple(spans)
