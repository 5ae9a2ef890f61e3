"""What goes wrong between machines: real processes on the loopback."""

from __future__ import annotations

import dataclasses
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.pipeline.fleet import keys
from mvdeploy.pipeline.fleet.queue import Queue
from tests.pipeline.fleet.conftest import Cluster, MakeJob, told, unit
from tests.pipeline.fleet.test_queue import Heard

distributed = pytest.importorskip("distributed")

from mvdeploy.pipeline.fleet.executors import cluster  # noqa: E402

MakeCluster = Callable[..., Cluster]

pytestmark = pytest.mark.slow


class Acting(Heard):
    """Does something at the first step of a task."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self._act: Callable[[], None] | None = act

    def step(self, job, text: str) -> None:
        super().step(job, text)
        act, self._act = self._act, None
        if act is not None:
            act()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    keys.make(tmp_path / "keys")
    return tmp_path / "keys"


def test_a_killed_worker_loses_the_running_task_which_is_done_again_once(
    make_cluster: MakeCluster, make_job: MakeJob, tmp_path: Path
) -> None:
    made = make_cluster()
    workers = [made.ready(unit(f"serial{number}", "pixel4")) for number in range(2)]
    executor = made.executor()
    jobs = [make_job("pixel4", steps=["go"], pause_s=0.3, number=n) for n in range(6)]
    killed: list[str] = []

    def kill() -> None:
        workers[0].signal(signal.SIGKILL)
        killed.append("serial0")

    heard = Acting(kill)
    runs: list[str] = []
    heard.done = lambda job, run: runs.append(run)  # type: ignore[method-assign]
    try:
        Queue(jobs, executor, tmp_path / "runs", heard, wait_s=5).run()
    finally:
        executor.close()
    assert not heard.errors and len(runs) == 6
    assert sum("begin again" in step for step in heard.steps) <= 1
    assert killed and "serial1" in {told(tmp_path / "runs", run)["device"] for run in runs}


def test_when_the_last_of_a_kind_is_lost_the_others_end_and_the_same_again_does_what_is_missing(
    make_cluster: MakeCluster, make_job: MakeJob, tmp_path: Path
) -> None:
    made = make_cluster()
    lost = made.ready(unit("serial1", "pixel4"))
    made.ready(unit("serial2", "iphone12"))
    jobs = [make_job("pixel4", steps=["go"], until_interrupted=True), make_job("iphone12")]
    heard = Acting(lambda: lost.signal(signal.SIGKILL))
    executor = made.executor()
    try:
        Queue(jobs, executor, tmp_path / "runs", heard, wait_s=2).run()
        assert list(heard.runs) == ["iphone12"]
        error = heard.errors["pixel4"]
        assert error.exit_code == 3
        assert error.message == "There is no pixel4 to measure on. There is iphone12 (serial2)."
        made.ready(unit("serial3", "pixel4"))
        again = Heard()
        missing = [make_job("pixel4", steps=["go"])]
        Queue(missing, executor, tmp_path / "runs", again, wait_s=10).run()
        assert list(again.runs) == ["pixel4"]
    finally:
        executor.close()


def test_a_killed_scheduler_is_told_of_and_what_was_finished_is_there(
    make_cluster: MakeCluster, make_job: MakeJob, tmp_path: Path
) -> None:
    made = make_cluster()
    worker = made.ready(unit("a"), unit("b"))
    executor = made.executor()
    heard = Heard()
    heard.done = lambda job, run: made.scheduler.signal(signal.SIGKILL)  # type: ignore[method-assign]
    jobs = [make_job("a"), make_job("b", steps=["go"], until_interrupted=True)]
    with pytest.raises(DeviceUnavailable, match="does not answer any more"):
        try:
            Queue(jobs, executor, tmp_path / "runs", heard).run()
        finally:
            executor.close()
    (run,) = (tmp_path / "runs").iterdir()
    assert told(run.parent, run.name)["device"] == "a"
    assert worker.said().startswith(f"The cluster at {made.address} has ended.")
    assert worker.wait() == 3


def test_a_frozen_machine_counts_as_lost(
    make_cluster: MakeCluster, make_job: MakeJob, tmp_path: Path
) -> None:
    made = make_cluster(ttl_s=3)
    frozen = made.ready(unit("serial1", "pixel4"))
    heard = Acting(lambda: frozen.signal(signal.SIGSTOP))
    executor = made.executor()
    job = make_job("pixel4", steps=["go"], pause_s=0.5)
    made.ready(unit("serial2", "other"))
    spare = made.worker(unit("serial3", "pixel4"))
    try:
        assert spare.said() == "ready"
        executor._seen = float("-inf")
        first = next(one for one in executor.units() if one.name == "serial1")
        executor._units = (first,)
        executor._seen = time.monotonic()
        Queue([job], executor, tmp_path / "runs", heard, wait_s=5).run()
    finally:
        frozen.signal(signal.SIGCONT)
        executor.close()
    assert told(tmp_path / "runs", heard.runs["pixel4"])["device"] == "serial3"
    assert [step for step in heard.steps if "begin again" in step]


def test_what_a_submitter_left_is_given_up_and_its_device_is_free(
    make_cluster: MakeCluster, make_job: MakeJob, tmp_path: Path
) -> None:
    made = make_cluster()
    made.ready(unit("a"))
    first = made.executor()
    first.start(make_job("a", steps=["go"], until_interrupted=True), first.units()[0], tmp_path)
    event = first.next(30)
    assert event is not None and event.step == "go"
    # As a process that is killed does: the connection is gone, and nothing is said.
    first._client.close(timeout=1)
    heard, second = Heard(), made.executor()
    try:
        Queue([make_job("a", later=True)], second, tmp_path / "runs", heard).run()
    finally:
        second.close()
    assert list(heard.runs) == ["a"]


def test_two_submitters_take_turns_on_a_device(
    make_cluster: MakeCluster, make_job: MakeJob, tmp_path: Path
) -> None:
    made = make_cluster()
    made.ready(unit("a"))
    executors = [made.executor() for _ in range(2)]
    found = []
    try:
        for number, one in enumerate(executors):
            job = make_job("a", steps=["go"], pause_s=0.5, number=number)
            one.start(job, one.units()[0], tmp_path)
        for one in executors:
            event = None
            while event is None or not event.last:
                event = one.next(1) or event
            found.append(told(tmp_path, event.run))
    finally:
        for one in executors:
            one.close()
    first, second = sorted(found, key=lambda run: run["began"])
    assert first["ended"] <= second["began"]


def test_files_are_sent_once(make_cluster: MakeCluster, make_job: MakeJob, tmp_path: Path) -> None:
    made = make_cluster()
    made.ready(unit("a"))
    sent = tmp_path / "net.onnx"
    sent.write_text("weights")
    executor = made.executor()
    heard = Heard()
    try:
        Queue([make_job("a", sent)], executor, tmp_path / "runs", heard).run()
        (kept,) = (made.folder / "worker1").iterdir()
        before = kept.stat().st_ino
        Queue([make_job("a", sent, number=2)], executor, tmp_path / "runs", heard).run()
    finally:
        executor.close()
    assert [path.stat().st_ino for path in (made.folder / "worker1").iterdir()] == [before]
    assert (kept / "net.onnx").read_text() == "weights"


@pytest.mark.parametrize("name", ["mvdeploy", "schema", "distributed"])
def test_another_version_is_refused_with_what_differs(
    make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    made = make_cluster()
    worker = made.worker(unit("a"), versions={name: "0.0"})
    said = worker.said()
    assert worker.wait() == 2
    assert f"is of another version: {name} " in said and "0.0 here" in said
    monkeypatch.setitem(cluster.VERSIONS, name, "0.0")
    with pytest.raises(UsageError, match=f"of another version: {name} "):
        made.executor()


def test_with_keys_only_who_has_them_is_let_in(
    make_cluster: MakeCluster, certificates: Path, make_job: MakeJob, tmp_path: Path
) -> None:
    made = make_cluster(keys=certificates)
    assert made.address.startswith("tls://")
    made.ready(unit("a"))
    heard, executor = Heard(), made.executor()
    try:
        Queue([make_job("a")], executor, tmp_path / "runs", heard).run()
    finally:
        executor.close()
    assert list(heard.runs) == ["a"]
    keys.make(tmp_path / "foreign")
    with pytest.raises(DeviceUnavailable, match="has other keys than"):
        cluster.units_of(cluster.Address(made.address, tmp_path / "foreign"))
    foreign = made.worker(unit("b"), keys=str(tmp_path / "foreign"))
    assert "has other keys than" in foreign.said()
    assert foreign.wait() == 3
    plain = made.address.replace("tls://", "tcp://")
    with pytest.raises(DeviceUnavailable, match=r"No cluster answers at tcp://.* without keys"):
        cluster.units_of(cluster.Address(plain))


def test_what_is_no_certificate_is_answered_by_nothing(
    make_cluster: MakeCluster, certificates: Path
) -> None:
    made = make_cluster(keys=certificates)
    host, port = made.address.removeprefix("tls://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as stranger:
        stranger.sendall(b"\x80\x04c__builtin__\nexit\n.")
        stranger.settimeout(20)
        try:
            answered = stranger.recv(4096)
        except ConnectionResetError:
            answered = b""
    # An alert of TLS, or nothing at all; whatever was sent was not read as a message.
    assert answered[:1] in (b"", b"\x15")
    assert cluster.units_of(cluster.Address(made.address, certificates)) == ()


def test_what_only_this_machine_has_is_refused(
    make_cluster: MakeCluster, make_job: MakeJob, tmp_path: Path
) -> None:
    made = make_cluster()
    made.ready(unit("a"))
    executor, heard = made.executor(), Heard()
    try:
        Queue(
            [dataclasses.replace(make_job("a"), bound=("x.pt",))], executor, tmp_path, heard
        ).run()
    finally:
        executor.close()
    assert heard.errors["a"].exit_code == 2
    assert "is on this machine only" in heard.errors["a"].message
