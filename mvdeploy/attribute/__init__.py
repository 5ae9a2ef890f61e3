"""Trace → Breakdown: where the latency goes, by category, module and operator.

Time is conserved: the operators, scaled to the latency, and the time outside of them add up to it.
"""

from __future__ import annotations

import statistics

from mvdeploy.errors import EngineError
from mvdeploy.records import Artifact, Breakdown, BreakdownRow, Category, Trace, TraceEvent
from mvdeploy.records.artifact import UNPLACED


def break_down(trace: Trace, artifact: Artifact, latency_ns: float) -> Breakdown:
    """Spread a latency over the operators of a trace.

    The profiled job ran with and without the profiler in turns. What its operators took is scaled
    by how the latency compares with that job's own, unprofiled; the rest of the latency is outside
    of operators. Where the operators add up to more than the latency, which the profiler's own cost
    inside them can cause, they are scaled down to it.

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
    operators = sum(medians)
    scale = latency_ns / plain
    if operators * scale > latency_ns:
        scale = latency_ns / operators
    rows = tuple(
        _row(event, artifact, median * scale)
        for event, median in zip(trace.events, medians, strict=True)
    )
    return Breakdown(
        time_kind=trace.time_kind,
        total_ns=latency_ns,
        rows=rows,
        outside_ns=max(0.0, latency_ns - sum(row.ns for row in rows)),
        operator_share=operators / plain,
        profiler_overhead=statistics.median(trace.profiled_ns) / plain - 1,
        scale=scale,
    )


def _row(event: TraceEvent, artifact: Artifact, ns: float) -> BreakdownRow:
    modules = event.modules
    if artifact.read_from:  # not all operators are placed in a file of others
        modules = tuple(module for module in modules if module != UNPLACED)
    category: Category | None = artifact.category(modules[0]) if modules else None
    if category is None:
        category = event.category
    return BreakdownRow(event.name, event.type, event.kind, category, modules, ns)
