"""A run on the stand-in phone, from the export to the report, which says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdeploy import devices, links, models
from mvdeploy.errors import DeviceUnavailable, EngineError
from mvdeploy.formats import options
from mvdeploy.pipeline import bench, report
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import Plan, TimeKind, Warmup
from mvdeploy.records.run import load_run
from tests.apple.stand_in import StandIn

PLAN = Plan(warmup=Warmup(iterations=1), iterations=4, sessions=2, profile_iterations=3)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a package that takes images, with its twin beside it."""
    spec = models.make_spec("yardstick")
    path = tmp_path_factory.mktemp("package") / "net.mlpackage"
    Builder(spec).export("coreml", path, options("coreml", {"image_input": True}))
    return path


@pytest.fixture
def measured(
    make_link, mac: StandIn, monkeypatch: pytest.MonkeyPatch, package: Path, tmp_path: Path
):
    """Return a function that measures an exported network on a device."""

    def measure(device: str, on_step: bench.OnStep = lambda _: None, **options: str) -> Path:
        link = make_link(device)
        monkeypatch.setattr(links, "get", lambda _profile, _options: link)
        request = bench.Request(
            subjects=(package,),
            formats=("coreml",),
            device=devices.get(device),
            plan=PLAN,
            root=tmp_path / "out",
            engine_options=options,
        )
        return bench.run(request, on_step).folder

    return measure


@pytest.mark.slow
@pytest.mark.parametrize("device", ["iphone12", "mac"])
def test_a_run_ends_in_a_report_that_says_what_it_is(
    measured, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setenv("MVDEPLOY_STAND_IN_MIL", "1")
    folder = measured(device, compute_units="cpu_and_ne")
    saved = load_run(folder)
    (case,) = saved.cases
    assert case.failure is None and case.measurement is not None
    assert saved.run.device.emulated
    assert case.measurement.conditions["chosen_options"] == ("compute_units=cpu_and_ne",)
    assert len(case.measurement.steady) == 4
    assert case.trace is not None and case.trace.time_kind is TimeKind.ESTIMATED
    # The twin that takes a tensor was measured, not the package that takes images.
    assert case.artifact is not None and case.artifact.path == "net-tensor.mlpackage"
    breakdown = report.breakdowns(saved)[case.slug]
    assert breakdown.attributed_share == 1.0
    report.render(folder)
    text = (folder / "report.md").read_text()
    assert "an emulated device" in text
    assert "Operator times are estimated." in text
    assert "operators are estimated, not measured" in text
    assert "measured, not measured" not in text
    assert "With compute units 'cpu_and_ne' Core ML prefers the Neural Engine for" in text


# What goes wrong on the phone in the second of two sessions, and what the case then ends with.
FAULTS = {
    "unplug_at": (DeviceUnavailable.exit_code, "The phone is not connected any more"),
    "die_at": (EngineError.exit_code, "coremltools' app ended on the phone"),
    "refuses": (EngineError.exit_code, "could not load"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_finished_is_kept(measured, mac: StandIn, fault: str) -> None:
    def on_step(step: str) -> None:
        if step == "session 2":
            mac.set({fault: 2})

    folder = measured("iphone12", on_step)
    (case,) = load_run(folder).cases
    status, reason = FAULTS[fault]
    assert case.failure is not None and case.failure.exit_code == status
    assert reason in case.failure.message
    assert case.measurement is not None and len(case.measurement.steady) == 2
    report.render(folder)
    text = (folder / "report.md").read_text()
    assert reason in text
    assert "an emulated device" in text


@pytest.mark.slow
def test_a_phone_that_goes_before_anything_is_measured_ends_the_run(
    measured, mac: StandIn, tmp_path: Path
) -> None:
    mac.set({"unplug_at": 2})
    with pytest.raises(DeviceUnavailable, match="The phone is not connected any more"):
        measured("iphone12")
    (folder,) = (tmp_path / "out").iterdir()
    (case,) = load_run(folder).cases
    assert case.failure is not None and case.failure.exit_code == DeviceUnavailable.exit_code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"faults": {"unsigned": True}}, "could not build and sign"),
        ({"tunnel": "disconnected"}, "The specified device was not found"),
    ],
)
def test_a_phone_that_cannot_be_used_is_told_before_anything_is_measured(
    measured, mac: StandIn, state: dict, reason: str
) -> None:
    mac.set(**state)
    with pytest.raises(DeviceUnavailable, match=reason):
        measured("iphone12")
