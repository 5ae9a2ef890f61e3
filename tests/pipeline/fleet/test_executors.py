"""What every executor does, on this machine alone and by a real cluster on the loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mvdeploy.errors import DeviceUnavailable, EngineError
from mvdeploy.pipeline.fleet.executors import Event, Executor
from mvdeploy.pipeline.fleet.executors.local import LocalExecutor
from mvdeploy.records.fleet import Unit
from tests.pipeline.fleet.conftest import MakeJob, told, unit
from tests.pipeline.fleet.standing_in import PROGRAM

MakeExecutor = Callable[..., Executor]


@pytest.fixture(params=["local", "cluster"])
def executor_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeExecutor]:
    """Return a function that makes an executor with some units on one machine."""
    made: list[Executor] = []

    def make(*units: Unit) -> Executor:
        if request.param == "cluster":
            cluster = request.getfixturevalue("make_cluster")()
            cluster.ready(*units)
            made.append(cluster.executor())
        else:
            made.append(LocalExecutor(units, PROGRAM))
        return made[-1]

    yield make
    for one in made:
        one.close()


def events(executor: Executor, count: int = 1, limit_s: float = 60) -> list[Event]:
    """Return all events up to the last ones of so many tasks."""
    found: list[Event] = []
    end = time.monotonic() + limit_s
    while sum(event.last for event in found) < count:
        assert time.monotonic() < end, found
        event = executor.next(0.2)
        found += [event] if event is not None else []
    return found


def start_all(executor: Executor, root: Path, *jobs) -> None:
    for job in jobs:
        fitting = [one for one in executor.units() if one.fits(job.task)]
        executor.start(job, fitting[0], root)


def test_steps_are_told_and_the_run_is_there(
    executor_of: MakeExecutor, make_job: MakeJob, tmp_path: Path
) -> None:
    sent = tmp_path / "net of mine.onnx"
    sent.write_text("weights")
    job = make_job("pixel4", sent, steps=["load", "session 1"])
    executor = executor_of(unit("pixel4"))
    start_all(executor, tmp_path / "runs", job)
    *steps, last = events(executor)
    assert [event.step for event in steps] == ["load", "session 1"]
    assert last.key == job.task.key and not last.error and not last.lost
    found = told(tmp_path / "runs", last.run)
    assert found["device"] == "pixel4" and found["files"] == {"file1": "weights"}


def test_errors_keep_their_kind(
    executor_of: MakeExecutor, make_job: MakeJob, tmp_path: Path
) -> None:
    executor = executor_of(unit("a"), unit("b"), unit("c"))
    jobs = [make_job("a", end="error"), make_job("b", end="device gone"), make_job("c", end="die")]
    start_all(executor, tmp_path, *jobs)
    found = {event.key: event.error for event in events(executor, 3)}
    broken, gone, died = (found[job.task.key] for job in jobs)
    assert isinstance(broken, EngineError) and broken.remedy == "Mend it."
    assert isinstance(gone, DeviceUnavailable) and "does not answer" in gone.message
    assert isinstance(died, EngineError) and "ended with status 9" in died.message


def test_devices_are_measured_at_once_and_the_host_alone(
    executor_of: MakeExecutor, make_job: MakeJob, tmp_path: Path
) -> None:
    units = [unit("a"), unit("b"), unit("host", link="host")]
    executor = executor_of(*units)
    *phones, host = (make_job(one.name, steps=["x"], pause_s=3.0) for one in units)
    start_all(executor, tmp_path, *phones)
    begun: list[Event] = []
    while len(begun) < 2:
        begun += filter(None, [executor.next(30)])
    start_all(executor, tmp_path, host)
    runs = [told(tmp_path, event.run) for event in events(executor, 3) if event.run]
    a, b, last = sorted(runs, key=lambda run: run["device"])
    assert a["began"] < b["ended"] and b["began"] < a["ended"]
    assert last["began"] >= max(a["ended"], b["ended"])


def test_what_is_cancelled_ends(
    executor_of: MakeExecutor, make_job: MakeJob, tmp_path: Path
) -> None:
    executor = executor_of(unit("a"), unit("host", link="host"))
    jobs = [make_job("a", steps=["go"], until_interrupted=True), make_job("host")]
    start_all(executor, tmp_path, jobs[0])
    assert executor.next(30) == Event(jobs[0].task.key, step="go")
    start_all(executor, tmp_path, jobs[1])
    executor.cancel()
    found = {event.key: event for event in events(executor, 2)}
    first = found[jobs[0].task.key]
    assert first.lost or (first.error is not None and first.error.message == "Interrupted.")
    assert not found[jobs[1].task.key].run
