"""What profilers cost is measured with real engines, once for each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mvdeploy import devices, models
from mvdeploy.analysis.breakdown_view import OUTSIDE
from mvdeploy.errors import EngineError
from mvdeploy.pipeline import bench, profiling
from mvdeploy.pipeline.report import view
from mvdeploy.records import Plan, Warmup
from mvdeploy.records.run import load_run
from mvdeploy.report.renderers import json as json_renderer

PLAN = Plan(
    iterations=10, sessions=2, warmup=Warmup(iterations=2), profile_iterations=5, profiler_cost=True
)


def request(root: Path, *formats: str) -> bench.Request:
    spec = models.make_spec("yardstick")
    return bench.Request((spec,), formats, devices.get("host"), PLAN, root)


@pytest.mark.slow
def test_every_engine_is_tried_once(tmp_path: Path) -> None:
    steps: list[str] = []
    folder = bench.run(request(tmp_path, "onnx", "executorch"), steps.append).folder
    said = [step for step in steps if "what its profiler costs" in step]
    assert sorted(said) == [
        "executorch: what its profiler costs",
        "onnxruntime: what its profiler costs",
    ]
    assert len(steps) <= bench.step_count(request(tmp_path, "onnx", "executorch")) + 8
    saved = load_run(folder)
    for case in saved.cases:
        assert case.trace is not None and case.trace.cost is not None
        short, long = case.trace.cost.operators
        assert 24 <= short <= 30 and long - short == 96
        assert len(case.trace.cost.stretches) == 5
        for times in case.trace.cost.stretches:
            assert times.plain_ns[0] < times.plain_ns[1]
    shown = view(folder)
    assert {c.slug for c in shown.cases} == {c.slug for c in saved.cases}  # the chains are no cases
    data = json.loads(json_renderer.text(shown))
    for case, raw in zip(shown.cases, data["cases"], strict=True):
        found = case.breakdown
        assert found is not None and found.excess is not None
        assert raw["breakdown"]["profiler_cost"]["operator_ns"] == found.excess.ns
        if found.subtracted_ns:
            assert sum(p.as_profiled or 0.0 for p in found.parts) == pytest.approx(1)
            assert {p.key for p in found.parts} >= {OUTSIDE}


def test_a_profiler_that_cannot_be_tried_leaves_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise EngineError("The chain fell off.", "Mend it.")

    monkeypatch.setattr(profiling.Profiling, "_measured_cost", broken)
    folder = bench.run(request(tmp_path, "onnx")).folder
    saved = load_run(folder)
    (case,) = saved.cases
    assert case.trace is not None and case.trace.cost is None
    (found,) = (f for f in saved.run.findings if f.code == "profiler_cost_unknown")
    assert found.values["reason"] == "The chain fell off."
    shown = view(folder).cases[0].breakdown
    assert shown is not None and shown.excess is None
    assert all(part.as_profiled is None for part in shown.parts)
