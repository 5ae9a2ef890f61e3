from __future__ import annotations

import dataclasses
import statistics
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy import attribute
from mvdeploy.errors import EngineError
from mvdeploy.records import (
    Artifact,
    Category,
    ModelSpec,
    ModuleInfo,
    OperatorKind,
    Preprocessing,
    TimeKind,
    Trace,
    TraceEvent,
)

MODULES = {f"m.{c}": ModuleInfo("M", c) for c in Category.ordered(())} | {
    "none": ModuleInfo("M", None)
}
ARTIFACT = Artifact(
    "a.onnx",
    "",
    0,
    "onnx",
    "fp32",
    ModelSpec("m", (), (1, 1)),
    passes=(),
    inputs=(),
    outputs=(),
    preprocessing=Preprocessing((1, 1), (1, 1)),
    versions={},
    operators=(),
    modules=MODULES,
    parameters=0,
)

times = st.integers(0, 10**11)
spans = st.integers(1, 10**12)
modules = st.lists(st.sampled_from([*MODULES, "unknown"]), max_size=3).map(tuple)
events = st.builds(
    TraceEvent,
    st.text(max_size=3),
    st.just("T"),
    st.sampled_from(OperatorKind),
    modules,
    st.just("name"),
    st.lists(times, min_size=1, max_size=4).map(tuple),
)
traces = st.builds(
    Trace,
    st.just("engine"),
    st.sampled_from(TimeKind),
    st.lists(events, max_size=8).map(tuple),
    st.lists(spans, min_size=1, max_size=4).map(tuple),
    st.lists(spans, min_size=1, max_size=4).map(tuple),
)
latencies = st.integers(1, 10**12).map(float) | st.floats(1, 1e12)


@given(traces, latencies)
def test_time_is_conserved(trace: Trace, latency: float) -> None:
    found = attribute.break_down(trace, ARTIFACT, latency)
    assert found.total_ns == latency
    assert found.time_kind is trace.time_kind
    assert sum(r.ns for r in found.rows) + found.outside_ns == pytest.approx(latency, rel=1e-9)
    assert found.outside_ns >= 0
    assert all(row.ns >= 0 for row in found.rows)
    assert [(r.name, r.modules, r.kind) for r in found.rows] == [
        (e.name, e.modules, e.kind) for e in trace.events
    ]
    categories = sum(found.by_category().values())
    assert categories + found.unattributed_ns == pytest.approx(latency, rel=1e-9)
    assert sum(found.by_kind().values()) == pytest.approx(found.operators_ns, rel=1e-9, abs=1e-6)
    assert -1e-9 <= found.attributed_share <= 1


@given(traces, latencies)
def test_rows_are_medians_scaled_to_the_latency(trace: Trace, latency: float) -> None:
    found = attribute.break_down(trace, ARTIFACT, latency)
    medians = [Fraction(statistics.median(map(Fraction, e.samples_ns))) for e in trace.events]
    plain = Fraction(statistics.median(map(Fraction, trace.plain_ns)))
    total, share = Fraction(latency), sum(medians) / plain
    # More operator time than latency is the profiler's own; it is scaled away.
    scale = total / plain if share <= 1 else total / sum(medians)
    for row, median in zip(found.rows, medians, strict=True):
        assert row.ns == pytest.approx(float(median * scale), rel=1e-9)
    assert found.operator_share == pytest.approx(float(share))
    assert found.scale == pytest.approx(float(scale))
    expected = float(max(Fraction(0), total - sum(medians) * scale))
    assert found.outside_ns == pytest.approx(expected, abs=1e-9 * latency)


@given(traces, latencies)
def test_rows_have_the_category_of_their_first_module(trace: Trace, latency: float) -> None:
    for row in attribute.break_down(trace, ARTIFACT, latency).rows:
        known = MODULES.get(row.modules[0]) if row.modules else None
        assert row.category is (known.category if known else None)


def event(ns: int, *modules: str) -> TraceEvent:
    return TraceEvent("n", "Conv", OperatorKind.CONV, modules, "name", (ns, 10 * ns, ns))


def trace(*events: TraceEvent, plain: int = 100, profiled: int = 150) -> Trace:
    spans = (plain, 10 * plain, plain)
    return Trace("e", TimeKind.MEASURED, events, (profiled, profiled), spans)


def test_a_breakdown_by_hand() -> None:
    found = attribute.break_down(
        trace(event(30, "m.ffn"), event(40, "m.attention", "m.ffn"), event(10)), ARTIFACT, 200.0
    )
    assert [row.ns for row in found.rows] == [60, 80, 20]
    assert found.outside_ns == pytest.approx(40)
    assert found.unplaced_ns == 20
    assert found.unattributed_ns == pytest.approx(60)
    assert found.attributed_share == pytest.approx(140 / 160)
    assert found.fused_across_ns == 80
    assert found.operator_share == 0.8
    assert found.profiler_overhead == 0.5


def test_operators_that_exceed_the_latency_are_scaled_down() -> None:
    found = attribute.break_down(trace(event(90, "m.ffn"), event(30, "none")), ARTIFACT, 100.0)
    assert [row.ns for row in found.rows] == [75, 25]
    assert found.outside_ns == pytest.approx(0)
    assert found.operator_share == 1.2
    assert found.attributed_share == 0.75


def test_without_events_everything_is_outside() -> None:
    found = attribute.break_down(trace(), ARTIFACT, 100.0)
    assert (found.rows, found.outside_ns, found.attributed_share) == ((), 100, 0)


@pytest.mark.parametrize("changes", [{"plain_ns": ()}, {"profiled_ns": ()}, {"plain_ns": (0, 0)}])
def test_a_trace_without_whole_inferences_is_refused(changes: dict[str, tuple[int, ...]]) -> None:
    broken = dataclasses.replace(trace(event(1, "m.ffn")), **changes)
    with pytest.raises(EngineError, match="has no times of whole inferences"):
        attribute.break_down(broken, ARTIFACT, 100.0)
