"""The Apple link and runner with coremltools' own code, against a stand-in Mac and phone."""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from mvdeploy import devices, engines, links
from mvdeploy.engines import SessionRequest, coreml
from mvdeploy.engines.coreml import compute_plan
from mvdeploy.engines.coreml.compute_plan import Unit
from mvdeploy.errors import EngineError, UsageError
from mvdeploy.links import RunnerFailed
from mvdeploy.links.families.apple import AppleLink, PhoneGone
from mvdeploy.records import JobModel, Warmup
from tests.apple import stand_in
from tests.apple.stand_in import StandIn, digest, expected, job_for

LIMIT_S = 60.0


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in.write_package(tmp_path_factory.mktemp("package") / "net.mlpackage")


@pytest.fixture
def tensor(tmp_path: Path) -> Path:
    return stand_in.write_input(tmp_path / "image.npy")


@pytest.fixture
def link(make_link) -> Iterator[AppleLink]:
    with make_link() as link:
        yield link


def samples_in(events) -> int:
    return sum(len(event["wall_ns"]) for event in events if event["event"] == "samples")


def has_ended(pid: int) -> bool:
    """Wait for the end of a process; one that nobody has collected yet has ended too."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_the_profiles_lead_here(mac: StandIn) -> None:
    for name in ("mac", "iphone12", "iphone15"):
        profile = devices.get(name)
        assert isinstance(links.get(profile), AppleLink)
        assert engines.for_format("coreml", profile.engines) == "coreml"
    assert devices.get("iPhone13,2").name == "iphone12"


def test_a_phone_runs_a_job(link, mac, package, tensor) -> None:
    heard = []
    job = job_for(package, tensor, "all", "cpu_only", order=(0, 1, 1, 0, 1))
    result = link.run(job, LIMIT_S, heard.append)
    assert [event["event"] for event in heard[:1]] == ["hello"] and heard[-1]["event"] == "done"
    assert {model.output_sha256 for model in result.models} == {digest(expected(tensor))}
    assert result.order == (0, 1, 1, 0, 1) and min(result.samples.wall_ns) > 0
    # Core ML's own times, not those of the way to the phone and back, which takes processes.
    assert statistics.median(result.samples.wall_ns) < 10_000_000
    assert [len(model.warmup) for model in result.models] == [2, 2]
    assert [model.load_ns for model in result.models] == [4_000_000] * 2
    assert set(result.samples.cpu_ns) == {0} and result.peak_memory == 0 and not result.usage
    predictions = ["ALL", "CPU_ONLY", "CPU_ONLY", "ALL", "CPU_ONLY"]
    assert mac.calls() == [
        "MLModelService.Load ALL",
        "MLModelService.Load CPU_ONLY",
        *["MLModelService.Prediction ALL"] * 3,
        *["MLModelService.Prediction CPU_ONLY"] * 3,
        *[f"MLModelService.Prediction {units}" for units in predictions],
        "MLModelService.Unload ALL",
        "MLModelService.Unload CPU_ONLY",
    ]


def test_a_phone_goes_through_an_order_again_and_again(link, mac, package, tensor) -> None:
    heard = []
    job = dataclasses.replace(job_for(package, tensor, order=(0,)), repeat_s=4.0)
    result = link.run(job, LIMIT_S, heard.append)
    assert samples_in(heard) > 1 and not len(result.samples)
    times = [event["at_ns"] for event in heard if event["event"] == "samples"]
    assert times == sorted(times) and times[-1] < 4e9


def test_a_tensor_that_lies_in_memory_in_another_order(link, package, tensor) -> None:
    np.save(tensor, np.asfortranarray(np.load(tensor)))
    result = link.run(job_for(package, tensor, order=()), LIMIT_S)
    assert result.models[0].output_sha256 == digest(expected(tensor))


def test_what_a_phone_says_of_itself(link) -> None:
    identity = link.identity()
    assert identity["machine"] == "mvdeploy stand-in iPhone 12 (iPhone13,2)"
    assert (identity["os"], identity["build"]) == ("iOS 17.5.1", "21F90")
    assert identity["cpu"] == "unavailable" and identity["coremltools"]
    assert link.state().readings["connection"] == "wired"
    assert link.state().readings["thermal_status"] == "unavailable"


def test_compute_units_reach_the_phone_in_their_order(link, mac, package, tensor) -> None:
    job = job_for(package, tensor, *coreml.COMPUTE_UNITS, order=())
    link.run(dataclasses.replace(job, warmup=Warmup(iterations=0)), LIMIT_S)
    loads = [call.split()[1] for call in mac.calls() if "Load " in call]
    assert loads == ["ALL", "CPU_AND_NE", "CPU_AND_GPU", "CPU_ONLY"]


def test_without_an_option_all_units_are_used(link, mac, package, tensor) -> None:
    result = link.run(job_for(package, tensor), LIMIT_S)
    assert mac.calls()[0] == "MLModelService.Load ALL"
    assert result.hello["engine_options"] == {"coreml": {"compute_units": "all"}}
    assert coreml.options(1) == {"compute_units": "all"}


@pytest.mark.parametrize(
    ("device", "units", "placed"),
    [
        ("mac", "all", {Unit.ANE: (3, 0.8), Unit.GPU: (1, 0.2)}),
        ("mac", "cpu_and_gpu", {Unit.GPU: (4, 1.0)}),
        ("mac", "cpu_only", {Unit.CPU: (4, 1.0)}),
        ("iphone12", "cpu_and_ne", {Unit.ANE: (3, 0.8), Unit.CPU: (1, 0.2)}),
    ],
)
def test_a_profile_is_the_compute_plan(
    make_link, package, tensor, tmp_path, device, units, placed
) -> None:
    with make_link(device) as link:
        to = f"{link.scratch()}/profile"
        result = link.run(job_for(package, tensor, units, profile_to=to), LIMIT_S)
        link.fetch(result.models[0].profile, tmp_path / "got" / compute_plan.FILE)
    plan = compute_plan.load(tmp_path / "got" / compute_plan.FILE)
    assert [op.output for op in plan.operators] == list(stand_in.OUTPUTS)
    assert plan.samples_ns[-3:] == result.samples.wall_ns
    found = {p.unit: (p.operators, pytest.approx(p.cost)) for p in compute_plan.placement(plan)}
    assert found == placed
    assert all(op.preferred in op.supported for op in plan.operators)


def test_the_mac_runs_a_job_itself(make_link, mac, package, tensor) -> None:
    with make_link("mac") as link:
        assert link.emulated
        assert link.identity()["python"] and link.state().readings["loadavg_1"] is not None
        result = link.run(job_for(package, tensor, "cpu_and_gpu", "all", order=(0, 1)), LIMIT_S)
    assert {model.output_sha256 for model in result.models} == {digest(expected(tensor))}
    assert [model.load_ns for model in result.models] == [7_000_000] * 2
    assert result.peak_memory > 1_000_000 and "run_delay_ns" in result.usage
    assert mac.calls() == [] and mac.commands() == []


@pytest.mark.slow
@pytest.mark.parametrize("device", ["iphone12", "mac"])
def test_predictions_of_the_reference_interpreter(
    make_link, package, tensor, monkeypatch, device
) -> None:
    from mvdeploy.verify import mil

    monkeypatch.setenv("MVDEPLOY_STAND_IN_MIL", "1")
    with make_link(device) as link:
        result = link.run(job_for(package, tensor, order=(0,)), LIMIT_S)
    session = mil.open_session(SessionRequest(package, {"image": np.load(tensor)}))
    session.infer()
    assert result.models[0].output_sha256 == digest(session.outputs()["logits"])
    assert result.models[0].output_sha256 != digest(expected(tensor))


def test_the_app_is_built_once_and_anew_when_asked(make_link, mac, package, tensor) -> None:
    job = job_for(package, tensor, order=())

    def builds() -> int:
        return sum(word.startswith("xcodebuild -workspace") for word in mac.commands())

    with make_link() as link:
        link.run(job, LIMIT_S)
        link.run(job, LIMIT_S)
    assert builds() == 1
    assert sum("install app" in word for word in mac.commands()) == 2
    with make_link(clean_app="1") as link:
        link.run(job, LIMIT_S)
        link.run(job, LIMIT_S)
    assert builds() == 2


def test_nothing_is_left_behind(make_link, mac, package, tensor) -> None:
    with make_link() as link:
        link.run(job_for(package, tensor, order=(0,) * 4), LIMIT_S)
        scratch = Path(link.scratch())
        assert list(scratch.glob("*.bin")) == []
    assert not scratch.exists()
    assert not (mac.folder / "cache/mvdeploy/modelrunner/build").exists()
    assert has_ended(int((mac.phone / "app.pid").read_text()))


def test_devicectl_is_found_where_xcode_keeps_it(make_link, mac, package, tensor) -> None:
    kept = mac.phone / "developer"
    kept.mkdir()
    shutil.move(mac.programs / "devicectl", kept / "devicectl")
    with make_link() as link:
        assert link.run(job_for(package, tensor), LIMIT_S).samples.wall_ns
    assert "xcrun --find devicectl" in mac.commands()


# Emulated and real.


def test_a_stand_in_is_emulated_and_cannot_pass_as_a_phone(make_link, mac, package, tensor) -> None:
    with make_link() as link:
        assert link.emulated
    mac.set(reality="physical")
    with make_link() as link:
        assert not link.emulated
        with pytest.raises(EngineError, match="the device is not emulated, its Core ML is"):
            link.run(job_for(package, tensor), LIMIT_S)


def test_a_real_core_ml_cannot_pass_as_emulated(make_link) -> None:
    with make_link("mac") as link:
        listen = link._watch(None)
        listen({"event": "hello", "emulated": True})
        with pytest.raises(EngineError, match=r"is emulated, its Core ML is not\. Unset"):
            listen({"event": "hello", "emulated": False})


# What goes wrong during a job.


def test_an_app_that_cannot_be_signed(link, mac, package, tensor) -> None:
    mac.set({"unsigned": True})
    with pytest.raises(PhoneGone, match="could not build and sign") as caught:
        link.run(job_for(package, tensor), LIMIT_S)
    assert 'No Account for Team "ABCDE12345"' in caught.value.message
    assert "the team ABCDE12345" in caught.value.remedy and caught.value.exit_code == 3


def test_an_app_that_does_not_start(link, mac, package, tensor) -> None:
    mac.set({"locked": True})
    with pytest.raises(RunnerFailed, match=r"app ended on the phone.*not, or could not be, unlo"):
        link.run(job_for(package, tensor), LIMIT_S)


def test_a_slow_first_load_is_waited_for(link, mac, package, tensor) -> None:
    mac.set({"loads_when_asked_again": True})
    result = link.run(job_for(package, tensor), LIMIT_S)
    assert sum("Load " in call for call in mac.calls()) == 2
    # The second load found its work done, so Core ML's time for it says nothing of the first.
    assert result.models[0].load_ns > 20 * stand_in.POLL_S * 1e9
    assert len(result.samples) == 3


def test_a_load_that_never_ends_is_given_up(link, mac, package, tensor, monkeypatch) -> None:
    monkeypatch.setenv("MVDEPLOY_STAND_IN_ATTEMPTS", "2")
    mac.set({"load_s": 60.0})
    with pytest.raises(
        RunnerFailed, match=r"has not loaded net\.mlpackage in \d+ s and 2"
    ) as caught:
        link.run(job_for(package, tensor), LIMIT_S)
    assert "--compute-units cpu_only" in caught.value.remedy


def test_a_load_that_the_phone_refuses_is_not_repeated(link, mac, package, tensor) -> None:
    mac.set({"refuses": True})
    with pytest.raises(RunnerFailed, match=r"could not load net\.mlpackage.*cannot be loaded"):
        link.run(job_for(package, tensor), LIMIT_S)
    assert sum("Load " in call for call in mac.calls()) == 1


def test_an_app_that_dies_keeps_what_was_measured(link, mac, package, tensor) -> None:
    mac.set({"die_at": 6})  # the third measured inference: before are the first and the warm-up
    with pytest.raises(RunnerFailed, match="app ended on the phone") as caught:
        link.run(job_for(package, tensor, order=(0,) * 8), LIMIT_S)
    assert "jetsam: memory limit exceeded" in caught.value.message
    assert "failed in the measured inferences" in caught.value.message
    assert samples_in(caught.value.events) == 2
    assert caught.value.exit_code == 4


def test_a_phone_that_is_unplugged_keeps_what_was_measured(link, mac, package, tensor) -> None:
    mac.set({"unplug_at": 8})
    with pytest.raises(PhoneGone, match="not connected any more") as caught:
        link.run(job_for(package, tensor, order=(0,) * 8), LIMIT_S)
    assert caught.value.exit_code == 3 and "cable" in caught.value.remedy
    assert samples_in(caught.value.events) == 4
    assert {"hello", "loaded", "first", "warmup"} <= {e["event"] for e in caught.value.events}


def test_a_phone_that_fell_asleep_between_jobs_is_woken(link, mac, package, tensor) -> None:
    mac.set({"wakes": True}, tunnel="disconnected")
    assert len(link.run(job_for(package, tensor), LIMIT_S).samples) == 3


def test_a_phone_that_was_unplugged_between_jobs(link, mac, package, tensor) -> None:
    mac.set(tunnel="disconnected")
    with pytest.raises(PhoneGone, match="The phone is not connected"):
        link.run(job_for(package, tensor), LIMIT_S)


def test_an_older_system_measures_but_has_no_plan(make_link, mac, package, tensor) -> None:
    mac.set(ios="17.0.3")
    with make_link() as link:
        assert len(link.run(job_for(package, tensor), LIMIT_S).samples) == 3
        to = f"{link.scratch()}/profile"
        with pytest.raises(RunnerFailed, match=r"no compute plan: that needs iOS 17\.4"):
            link.run(job_for(package, tensor, profile_to=to), LIMIT_S)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"compute_units": "gpu"}}, "option 'compute_units' cannot be 'gpu'"),
        ({"options": {"precision": "low"}}, "engine has no option 'precision'"),
        ({"sha256": "00"}, "is not the file that the job describes"),
        ({"inputs": {}}, "takes the inputs image, not none"),
    ],
)
def test_a_job_that_cannot_be_done(link, package, tensor, change, message) -> None:
    job = job_for(package, tensor)
    model = dataclasses.replace(job.models[0], **change)
    with pytest.raises(RunnerFailed, match=message):
        link.run(dataclasses.replace(job, models=(model,)), LIMIT_S)


def test_a_package_that_takes_images_is_refused(link, tmp_path, tensor) -> None:
    package = stand_in.write_package(tmp_path / "image.mlpackage", image=True)
    with pytest.raises(RunnerFailed, match=r"input 'image' of image\.mlpackage is no tensor"):
        link.run(job_for(package, tensor), LIMIT_S)


def test_a_load_that_fails_on_the_mac_says_why(make_link, tmp_path, tensor) -> None:
    package = stand_in.write_package(tmp_path / "bad.mlpackage", author="refuse")
    with make_link("mac") as link, pytest.raises(RunnerFailed, match="stand-in refuses it"):
        link.run(job_for(package, tensor), LIMIT_S)


def test_a_phone_runs_core_ml_only(link, package, tensor) -> None:
    model = JobModel("onnxruntime", "a.onnx", "", {})
    job = dataclasses.replace(job_for(package, tensor), models=(model,))
    with pytest.raises(UsageError, match="runs Core ML only"):
        link.run(job, LIMIT_S)


def test_other_engines_of_the_mac_go_to_the_python_runner(make_link, package, tensor) -> None:
    model = JobModel("no_such_engine", "a.onnx", "", {})
    job = dataclasses.replace(job_for(package, tensor), models=(model,))
    with make_link("mac") as link, pytest.raises(RunnerFailed, match="no engine 'no_such_engine'"):
        link.run(job, LIMIT_S)


def test_time_limits_count_the_way_to_the_phone(make_link, package, tensor) -> None:
    job = job_for(package, tensor, order=(0,) * 100)
    with make_link() as link:
        assert link._extra_s(job) >= 500.0 and link.call_s > 0
    with make_link("mac") as link:
        assert link._extra_s(job) == link.call_s == 0.0
