"""`Trace` and `Breakdown`: what an engine's profiler saw, and what it means."""

from __future__ import annotations

import dataclasses
import enum
import math
import statistics
from collections.abc import Iterator
from typing import Annotated

from mvdeploy.records.category import Category, OperatorKind
from mvdeploy.records.limits import Filled, Nanoseconds
from mvdeploy.records.measurement import Finding
from mvdeploy.records.profiler_cost import Excess, ProfilerCost


class TimeKind(enum.StrEnum):
    """Where an operator's time comes from."""

    MEASURED = "measured"
    ESTIMATED = "estimated"


@dataclasses.dataclass(frozen=True)
class TraceEvent:
    """One operator as the engine ran it.

    Attributes:
        name: the engine's own name for it.
        type: the engine's own operator type.
        kind: what it computes.
        modules: module paths it came from, the one it is counted under first; more than one when
            the engine fused across modules; empty when it cannot be placed.
        placed_by: how the modules are known: ``name``, ``output``, ``tensor`` (what it reads),
            ``neighbour``, ``order`` (in which it runs), or empty.
        samples_ns: one time for each profiled inference.
        starts_ns: when each of these began, on the profile's own clock; empty where the engine does
            not tell.
        track: thread or queue that it ran on; empty where the engine does not tell.
        category: of the `Operator` that it is counted under, where that has one of its own.
    """

    name: str
    type: str
    kind: OperatorKind
    modules: tuple[str, ...]
    placed_by: str
    samples_ns: tuple[Nanoseconds, ...]
    starts_ns: tuple[int, ...] = ()
    track: str = ""
    category: Annotated[Category, Filled()] | None = None


@dataclasses.dataclass(frozen=True)
class OperatorTimes:
    """What an engine's profile says.

    Attributes:
        events: every operator, in execution order.
        findings: what to know about them.
    """

    events: tuple[TraceEvent, ...]
    findings: tuple[Finding, ...] = ()


@dataclasses.dataclass(frozen=True)
class Trace:
    """A profiled session. Profiled and plain inferences took turns in one process.

    Attributes:
        engine: name of the engine.
        time_kind: whether the operator times are measured or estimated.
        events: every operator, in execution order.
        profiled_ns: wall times of the profiled inferences.
        plain_ns: wall times of the inferences between them without the profiler.
        findings: what to know about the trace.
        cost: what profiles of this engine have too much, or lack, for each operator; None where
            that was not measured.
    """

    engine: str
    time_kind: TimeKind
    events: tuple[TraceEvent, ...]
    profiled_ns: tuple[Nanoseconds, ...]
    plain_ns: tuple[Nanoseconds, ...]
    findings: tuple[Finding, ...] = ()
    cost: ProfilerCost | None = None

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        whole = len(self.profiled_ns)
        if not (whole and self.plain_ns and statistics.median(self.plain_ns)):
            yield "has no times of whole inferences"
        for event in self.events:
            if len(event.samples_ns) != whole or len(event.starts_ns) not in (0, whole):
                yield f"has not a time of {event.name[:60]!r} for each of {whole} inferences"
                return
        for track in {event.track for event in self.events}:
            events = [event for event in self.events if event.track == track]
            # Of sound profiles the sum reached 1.00 of the inference; clocks of a profile may count
            # in microseconds.
            for i, limit in enumerate(self.profiled_ns):
                total = sum(event.samples_ns[i] for event in events)
                if total > 1.1 * limit + 1000 * len(events):
                    yield f"has operators of {total} ns in an inference of {limit} ns"
                    return


@dataclasses.dataclass(frozen=True)
class BreakdownRow:
    """The time of one operator of the engine's program, scaled to the latency.

    Attributes:
        name: the engine's own name for it.
        type: the engine's own operator type.
        kind: what it computes.
        category: of the module it is counted under; None when it is unattributed.
        modules: module paths, the one it is counted under first.
        ns: nanoseconds of one inference, corrected by what profiles of this engine have too much
            or lack for each operator, where that is known.
        as_profiled_ns: not corrected; None where nothing was.
    """

    name: str
    type: str
    kind: OperatorKind
    category: Category | None
    modules: tuple[str, ...]
    ns: float
    as_profiled_ns: float | None = None


@dataclasses.dataclass(frozen=True)
class Breakdown:
    """Where the latency goes. Rows + time outside operators = total, always.

    Attributes:
        time_kind: measured or estimated.
        total_ns: the latency that is broken down (wall median without the profiler).
        rows: every operator, in execution order.
        outside_ns: the part of the latency that no operator accounts for: the engine between
            operators, and what the profiler does not see.
        operator_share: sum of the operators' medians, corrected, ÷ latency without the profiler,
            both from the profiled job.
        profiler_overhead: latency with ÷ without the profiler, minus 1, from the profiled job.
        scale: factor from the profiled job's operator times to the rows'.
        excess: what the profile has too much for each operator; None where that was not measured.
        subtracted_ns: what was taken off all operators for it; negative where it was added.
    """

    time_kind: TimeKind
    total_ns: float
    rows: tuple[BreakdownRow, ...]
    outside_ns: float
    operator_share: float
    profiler_overhead: float
    scale: float
    excess: Excess | None = None
    subtracted_ns: float = 0.0

    def __post_init__(self) -> None:
        parts = math.fsum(row.ns for row in self.rows) + self.outside_ns
        if not math.isclose(parts, self.total_ns, rel_tol=1e-9, abs_tol=1e-3):
            raise ValueError(f"time is not conserved: parts {parts} ns, total {self.total_ns} ns")
        if self.outside_ns < 0 or any(row.ns < 0 for row in self.rows):
            raise ValueError("a part of the latency is negative")

    @property
    def as_profiled(self) -> Breakdown | None:
        """The same as the profile has it; None where nothing was corrected."""
        times = [row.as_profiled_ns for row in self.rows if row.as_profiled_ns is not None]
        if not times or len(times) < len(self.rows):
            return None
        rows = (
            dataclasses.replace(row, ns=ns, as_profiled_ns=None)
            for row, ns in zip(self.rows, times, strict=True)
        )
        outside = max(0.0, self.total_ns - math.fsum(times))
        return dataclasses.replace(self, rows=tuple(rows), outside_ns=outside)

    @property
    def operators_ns(self) -> float:
        """Time in operators."""
        return math.fsum(row.ns for row in self.rows)

    @property
    def unplaced_ns(self) -> float:
        """Time in operators that could not be placed in a module with a category."""
        return math.fsum(row.ns for row in self.rows if row.category is None)

    @property
    def unattributed_ns(self) -> float:
        """Unplaced operators and time outside operators: total minus the categories."""
        return self.unplaced_ns + self.outside_ns

    @property
    def attributed_share(self) -> float:
        """Share of the operator time that is attributed to a module and a category."""
        operators = self.operators_ns
        return 1 - self.unplaced_ns / operators if operators else 0.0

    @property
    def placed_share(self) -> float:
        """Share of the operator time that is attributed to a module, with or without a category."""
        placed = math.fsum(row.ns for row in self.rows if row.modules)
        return placed / self.operators_ns if self.operators_ns else 0.0

    @property
    def fused_across_ns(self) -> float:
        """Time in operators that the engine fused from more than one module."""
        return math.fsum(row.ns for row in self.rows if len(row.modules) > 1)

    def by_category(self) -> dict[Category, float]:
        """Nanoseconds of each category, in the order of `Category.ordered`."""
        times: dict[Category, list[float]] = {}
        for row in self.rows:
            if row.category is not None:
                times.setdefault(row.category, []).append(row.ns)
        return {c: math.fsum(times.get(c, ())) for c in Category.ordered(times)}

    def by_kind(self) -> dict[OperatorKind, float]:
        """Nanoseconds of each kind of operator, in the order of `OperatorKind`."""
        return {
            kind: math.fsum(row.ns for row in self.rows if row.kind is kind)
            for kind in OperatorKind
        }

    def by_module(self) -> dict[str, float]:
        """Nanoseconds of each module path, largest first; unplaced operators are left out."""
        modules: dict[str, float] = {}
        for row in self.rows:
            if row.modules:
                modules[row.modules[0]] = modules.get(row.modules[0], 0.0) + row.ns
        return dict(sorted(modules.items(), key=lambda item: -item[1]))
