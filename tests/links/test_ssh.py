"""A link to a Linux board: a real ssh server on this machine, the real runner and engines."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from mvdeploy import devices, links, models
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.links import RunnerFailed, State
from mvdeploy.links.families.host import HostLink
from mvdeploy.links.families.ssh import SshLink
from mvdeploy.links.lock import DeviceLock
from mvdeploy.models.preprocess import sample_photograph
from mvdeploy.pipeline import bench, report
from mvdeploy.pipeline import evaluate as evaluating
from mvdeploy.pipeline.evaluate import Evaluated, evaluate
from mvdeploy.pipeline.export import Builder
from mvdeploy.pipeline.predict import predict
from mvdeploy.records import DeviceProfile, Job, JobModel, Plan, Warmup
from mvdeploy.records.run import load_run
from tests import textures
from tests.runners.native_kit import host_kit
from tests.ssh.fixtures import running_server, server
from tests.ssh.server import SshServer

__all__ = ["host_kit", "server"]

pytestmark = pytest.mark.slow

LIMIT_S = 60.0


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exports")
    builder = Builder(models.make_spec("yardstick"))
    paths = {"onnxruntime": folder / "net.onnx", "executorch": folder / "net.pte"}
    builder.export("onnx", paths["onnxruntime"])
    builder.export("executorch", paths["executorch"])
    return paths


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A board that no test may harm; what it was sent stays there."""
    with running_server(tmp_path_factory.mktemp("machine")) as server:
        yield server


@pytest.fixture
def profile(machine: SshServer) -> DeviceProfile:
    return links.profile(machine.address)


@pytest.fixture
def options(host_kit: Path) -> dict[str, str]:
    return {"kit": str(host_kit), "keep_on_device": "1"}


def job_for(link: SshLink | HostLink, engine: str, path: Path, folder: Path, count: int = 3) -> Job:
    manifest = json.loads(path.with_name(f"{path.name}.json").read_text())
    name, shape = manifest["inputs"][0]["name"], manifest["inputs"][0]["shape"]
    tensor = folder / "image.npy"
    np.save(tensor, np.random.default_rng(0).random(shape, dtype=np.float32))
    places = link.upload((path, tensor))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    model = JobModel(engine, places[path], sha256, {name: places[tensor]})
    return Job((model,), (0,) * count, threads=1, warmup=Warmup(iterations=1))


def runner_of(link: SshLink) -> psutil.Process:
    """Return the runner: the board is this machine."""
    return psutil.Process(int((Path(link.scratch()) / "pid").read_text()))


def test_an_address_stands_for_a_board(
    profile: DeviceProfile, options: dict[str, str], machine: SshServer
) -> None:
    assert profile.address == machine.address
    assert (profile.link, profile.match) == ("ssh", {})
    with SshLink(profile, options) as link:
        identity = link.identity()
        assert identity["architecture"] == platform.machine()
        assert identity["kernel"] == f"Linux {platform.release()}"
        readings = link.state().readings
        assert isinstance(readings["loadavg_1"], float)
        assert isinstance(readings["total_ticks"], int)


@pytest.mark.parametrize("engine", ["onnxruntime", "executorch"])
def test_the_outputs_are_those_of_the_python_runner(
    profile: DeviceProfile,
    options: dict[str, str],
    exports: dict[str, Path],
    tmp_path: Path,
    engine: str,
) -> None:
    with SshLink(profile, options) as link:
        there = link.run(job_for(link, engine, exports[engine], tmp_path), LIMIT_S)
        folder = Path(link.scratch())
        assert folder.is_dir()
    assert not folder.exists()
    with HostLink(dataclasses.replace(profile, link="host")) as host:
        here = host.run(job_for(host, engine, exports[engine], tmp_path), LIMIT_S)
    assert there.models[0].output_sha256 == here.models[0].output_sha256
    assert len(there.samples) == len(here.samples) == 3


def test_a_runner_that_crashes(profile, options, exports, tmp_path) -> None:
    path = exports["onnxruntime"]
    with SshLink(profile, options) as link:

        def on_event(event: dict) -> None:
            if event["event"] == "warmup":
                runner_of(link).send_signal(signal.SIGSEGV)

        with pytest.raises(RunnerFailed, match="killed by SIGSEGV"):
            link.run(job_for(link, "onnxruntime", path, tmp_path, 10**6), LIMIT_S, on_event)
        assert len(link.run(job_for(link, "onnxruntime", path, tmp_path), LIMIT_S).samples) == 3


def test_a_runner_that_hangs(profile, options, exports, tmp_path) -> None:
    held: list[psutil.Process] = []
    with SshLink(profile, options) as link:

        def on_event(event: dict) -> None:
            if event["event"] == "loaded":
                held.append(runner_of(link))
                held[0].suspend()

        with pytest.raises(RunnerFailed, match="did not finish within 3 s"):
            # So many that none has ended before it is suspended.
            job = job_for(link, "onnxruntime", exports["onnxruntime"], tmp_path, 10**6)
            link.run(job, 3.0, on_event)
        assert not held[0].is_running()


def test_a_connection_that_is_lost_meanwhile(server, options, exports, tmp_path) -> None:
    held: list[psutil.Process] = []
    link = SshLink(links.profile(server.address), options)

    def on_event(event: dict) -> None:
        if event["event"] == "warmup":
            held.append(runner_of(link))
            server.kill()

    with link, pytest.raises(DeviceUnavailable):
        path = exports["onnxruntime"]
        link.run(job_for(link, "onnxruntime", path, tmp_path, 10**6), LIMIT_S, on_event)
    assert "left_behind" in {finding.code for finding in link.findings()}
    # A runner that nobody listens to any more ends when it next has something to say.
    held[0].wait(20)


def test_a_board_that_was_lost_is_reached_again(server, options, exports, tmp_path) -> None:
    held: list[psutil.Process] = []
    link = SshLink(links.profile(server.address), options)
    taken: list[int] = []

    def on_event(event: dict) -> None:
        if event["event"] == "warmup" and not held:
            held.append(runner_of(link))
            server.kill()
        if event["event"] == "samples":
            taken.append(len(event["wall_ns"]))

    with link:
        job = job_for(link, "onnxruntime", exports["onnxruntime"], tmp_path, 1)
        endless = dataclasses.replace(job, repeat_s=LIMIT_S)
        with pytest.raises(DeviceUnavailable):
            link.run(endless, 2 * LIMIT_S, on_event)
        with pytest.raises(DeviceUnavailable):
            link.again()
        server.start()
        link.again()
        held[0].wait(20)
        taken.clear()
        result = link.run(dataclasses.replace(job, repeat_s=1.0), LIMIT_S, on_event)
        assert sum(taken) > 1 and not len(result.samples)
    assert "left_behind" not in {finding.code for finding in link.findings()}


def test_a_board_that_is_another_one(profile: DeviceProfile, options) -> None:
    other = dataclasses.replace(profile, match={"ro.product.model": ("Raspberry Pi 5*",)})
    with pytest.raises(DeviceUnavailable, match="is no "):
        SshLink(other, options).open()


def test_a_profile_without_an_address() -> None:
    with pytest.raises(UsageError, match="does not say where it is") as caught:
        SshLink(links.profile("raspberrypi5")).open()
    assert "--address" in caught.value.remedy


def test_a_profile_keeps_its_address_whatever_is_given_for_all(machine, options) -> None:
    """So that two boards of one run have two addresses."""
    pi = dataclasses.replace(devices.get("raspberrypi5"), match={})
    elsewhere = {**options, "address": "nobody@127.0.0.1:1"}
    with links.get(dataclasses.replace(pi, address=machine.address), elsewhere) as link:
        assert Path(link.scratch()).is_relative_to(machine.home)
    with links.get(pi, {**options, "address": machine.address}) as link:
        assert Path(link.scratch()).is_relative_to(machine.home)


def test_a_board_and_the_machine_that_it_is_are_one_device(profile, options) -> None:
    with SshLink(profile, options) as link, HostLink(profile) as host:
        assert link.lock_key() == host.lock_key()


def test_the_doctor(profile: DeviceProfile, options) -> None:
    checks = {check.name: check for check in links.doctor(profile, options)}
    assert checks["engines load"].state is State.MET
    assert "onnxruntime" in checks["engines load"].found
    # The clocks of a virtual machine cannot be read; all else is met.
    assert {check.state for name, check in checks.items() if name != "clocks"} == {State.MET}


def test_the_doctor_leaves_a_device_alone_that_is_measured_on(profile, options) -> None:
    with links.get(profile, options) as link:
        lock = DeviceLock(profile.title)
        lock.take(link.lock_key())
        try:
            first, *others = links.doctor(profile, options)
        finally:
            lock.release()
    assert (first.name, first.state) == ("device", State.MISSING)
    assert f"Another run (process {os.getpid()}) measures on" in first.found
    assert {other.state for other in others} == {State.UNKNOWN}


def test_a_run_ends_in_a_report(profile, options, exports, tmp_path) -> None:
    plan = Plan(warmup=Warmup(iterations=2), iterations=10, sessions=2, profile_iterations=5)
    subjects = tuple(exports.values())
    request = bench.Request(
        subjects, ("onnx", "executorch"), profile, plan, tmp_path / "out", link_options=options
    )
    folder = bench.run(request).folder
    saved = load_run(folder)
    assert not saved.run.device.emulated
    for case in saved.cases:
        assert case.failure is None
        assert report.breakdowns(saved)[case.slug].attributed_share >= 0.95
    report.render(folder)
    assert (folder / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("engine", ["onnxruntime", "executorch"])
def test_a_photograph_is_told_the_same_of_there_as_here(
    profile, options, exports, machine: SshServer, engine: str
) -> None:
    photograph = sample_photograph()
    there = predict(exports[engine], photograph, profile, link_options=options)
    here = predict(exports[engine], photograph, dataclasses.replace(profile, link="host"))
    assert (there.device, here.device) == (profile.title, "")
    assert there.engine.startswith(engine)
    np.testing.assert_allclose(there.outputs["logits"], here.outputs["logits"], rtol=1e-4)
    assert there.answers is not None and here.answers is not None
    assert [one.number for one in there.answers] == [one.number for one in here.answers]


@pytest.mark.parametrize("engine", ["onnxruntime", "executorch"])
def test_a_data_set_is_evaluated_there_as_here(
    profile, options, exports, tmp_path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setattr(evaluating, "_SHARD_ON_DEVICE", 20)
    data = textures.write(tmp_path / "data", classes=6, images=6)

    def run(where: DeviceProfile, **asked: object) -> Evaluated:
        subjects, own = (exports[engine],), {"link_options": options, "limit": 30, **asked}
        return evaluate(evaluating.Request(subjects, data, where, **own))

    def left_there() -> list[str]:
        with links.get(profile, options) as link:
            left = link.shell.call(f"ls {link.home}/files 2>/dev/null || true").out.split()
        return [name for name in left if name.endswith(".npy")]

    before = left_there()  # of other tests, which are cut off in the middle
    here = run(dataclasses.replace(profile, link="host")).evaluation.subjects[0]
    found = run(profile, output=tmp_path / "out")
    there = found.evaluation.subjects[0]
    assert (there.device, here.device) == (profile.title, "")
    assert there.engine.startswith(f"{engine} ")
    assert found.evaluation.images == 30
    assert there.metrics == here.metrics and there.confusions == here.confusions
    assert there.agreement is not None and there.agreement.same == 30
    # What was sent for a job is gone after it, also where the device keeps models and runner.
    assert left_there() == before
    # Of what was cut short, only what is missing is run again.
    (tmp_path / "out" / "shards" / "00001.json").unlink()
    again = run(profile, output=tmp_path / "out")
    assert again.resumed == 20 and again.evaluation.subjects[0].metrics == there.metrics
