"""Trace → Breakdown: where the latency goes, by category, module and operator.

Time is conserved: the operators, scaled to the latency, and the time outside of them add up to it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from mvdeploy.attribute.profiler_cost import excess
from mvdeploy.errors import EngineError
from mvdeploy.records import Artifact, Breakdown, BreakdownRow, Category, Trace, TraceEvent
from mvdeploy.records.artifact import UNPLACED


def break_down(trace: Trace, artifact: Artifact, latency_ns: float) -> Breakdown:
    """Spread a latency over the operators of a trace.

    The profiled job ran with and without the profiler in turns. What its operators took is scaled
    by how the latency compares with that job's own, unprofiled; the rest of the latency is outside
    of operators. What the profile has too much for each operator is taken off first, or what it
    lacks is added, where the trace says it (`mvdeploy.attribute.profiler_cost`). Where the
    operators add up to more than the latency, which the profiler's own cost inside them can cause,
    they are scaled down to it.

    Args:
        trace: the profiled job.
        artifact: says which category each module has.
        latency_ns: the latency without the profiler (wall median), nanoseconds.

    Raises:
        EngineError: the trace lacks the times that its operators are scaled by.
    """
    if not trace.plain_ns or not trace.profiled_ns or statistics.median(trace.plain_ns) <= 0:
        raise EngineError(
            f"The trace of {trace.engine} has no times of whole inferences.", "Profile again."
        )
    plain = statistics.median(trace.plain_ns)
    medians = [float(statistics.median(event.samples_ns)) for event in trace.events]
    found = excess(trace.cost) if trace.cost else None
    added = found.subtracted_ns if found else 0.0
    own = [max(0.0, median - added) for median in medians]
    operators, scale = sum(own), _scale(own, plain, latency_ns)
    as_profiled = _scale(medians, plain, latency_ns)
    rows = tuple(
        _row(event, artifact, ns * scale, median * as_profiled if added else None)
        for event, ns, median in zip(trace.events, own, medians, strict=True)
    )
    return Breakdown(
        time_kind=trace.time_kind,
        total_ns=latency_ns,
        rows=rows,
        outside_ns=max(0.0, latency_ns - sum(row.ns for row in rows)),
        operator_share=operators / plain,
        profiler_overhead=statistics.median(trace.profiled_ns) / plain - 1,
        scale=scale,
        excess=found,
        subtracted_ns=sum(medians) - operators,
    )


def _scale(operators_ns: Sequence[float], plain_ns: float, latency_ns: float) -> float:
    """Return what times of the profiled job are multiplied by, so that they fit the latency."""
    operators = sum(operators_ns)
    return latency_ns / max(plain_ns, operators)


def _row(
    event: TraceEvent, artifact: Artifact, ns: float, profiled_ns: float | None
) -> BreakdownRow:
    modules = event.modules
    if artifact.read_from:  # not all operators are placed in a file of others
        modules = tuple(module for module in modules if module != UNPLACED)
    category: Category | None = artifact.category(modules[0]) if modules else None
    if category is None:
        category = event.category
    return BreakdownRow(event.name, event.type, event.kind, category, modules, ns, profiled_ns)
