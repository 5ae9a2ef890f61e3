"""A run on the stand-in phone, from the export to the report, which says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy import devices, models, transports
from mvdeploy.export import Options
from mvdeploy.pipeline import bench, report
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import Plan, TimeKind, Warmup
from mvdeploy.records.run import load_run
from tests.apple.stand_in import StandIn

PLAN = Plan(warmup=Warmup(iterations=1), iterations=4, sessions=2, profile_iterations=3)


@pytest.fixture
def measured(make_link, mac: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return a function that measures an exported network on a device."""
    monkeypatch.setenv("MVDEPLOY_STAND_IN_MIL", "1")
    monkeypatch.setenv("MVDEPLOY_STAND_IN_ATTEMPTS", "20")  # the app imports torch meanwhile
    spec = models.make_spec("anchor")
    path = tmp_path / "net.mlpackage"
    Builder(spec).export("coreml", path, Options(image=models.preprocessing(spec)))

    def measure(device: str, **options: str) -> Path:
        link = make_link(device)
        monkeypatch.setattr(transports, "get", lambda profile: link)
        request = bench.Request(
            subjects=(path,),
            formats=("coreml",),
            device=devices.get(device),
            plan=PLAN,
            root=tmp_path / "out",
            engine_options=options,
        )
        return bench.run(request).folder

    return measure


@pytest.mark.slow
@pytest.mark.parametrize("device", ["iphone12", "mac"])
def test_a_run_ends_in_a_report_that_says_what_it_is(measured, device: str) -> None:
    folder = measured(device, compute_units="cpu_and_ne")
    saved = load_run(folder)
    (case,) = saved.cases
    assert case.failure is None and case.measurement is not None
    assert saved.run.device.emulated
    assert case.measurement.conditions["compute_units"] == "cpu_and_ne"
    assert len(case.measurement.steady) == 4
    assert case.trace is not None and case.trace.time_kind is TimeKind.ESTIMATED
    # The twin that takes a tensor was measured, not the package that takes images.
    assert case.artifact is not None and case.artifact.path == "net-tensor.mlpackage"
    breakdown = report.breakdowns(saved)[case.slug]
    assert breakdown.coverage == 1.0
    report.render(folder)
    text = (folder / "report.md").read_text()
    assert "an emulated device" in text
    assert "Operator times are estimated." in text
    assert "operators are estimated, not measured" in text
    assert "measured, not measured" not in text
    assert "With compute units 'cpu_and_ne' Core ML prefers the Neural Engine for" in text
