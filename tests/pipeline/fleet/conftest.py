from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mvdeploy.pipeline.fleet.tasks import Assignment
from mvdeploy.records import DeviceProfile, codec
from mvdeploy.records.fleet import Task, Unit

MakeJob = Callable[..., Assignment]


def unit(name: str, device: str = "", link: str = "adb", place: str = "") -> Unit:
    profile = DeviceProfile(device or name, name, link, ("steady",))
    return Unit(profile, name, "machine", place, alone=link == "host")


def told(root: Path, run: str) -> dict[str, Any]:
    """Return what the stand-in wrote into the run."""
    found: dict[str, Any] = json.loads((root / run / "told.json").read_text())
    return found


@pytest.fixture
def make_job() -> MakeJob:
    def make(device: str, *files: Path, unit: str = "", **asked: Any) -> Assignment:
        places = {f"file{number + 1}": path for number, path in enumerate(files)}
        sums = {
            name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in places.items()
        }
        task = Task("bench", device, unit, asked, sums, "0.1.0")
        request: Any = SimpleNamespace(shelf=None)
        return Assignment(task, request, places)

    return make


class Process:
    """A process of `tests.pipeline.fleet.cluster_process`."""

    def __init__(self, role: str, **given: Any) -> None:
        root = Path(__file__).parents[3]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.pipeline.fleet.cluster_process", role, json.dumps(given)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def said(self) -> str:
        """Return the next line; empty when it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        return self._process.wait(60)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


class Cluster:
    """A scheduler and workers, each a process, on the loopback."""

    def __init__(self, folder: Path, keys: Path | None = None, **given: Any) -> None:
        self.folder, self.keys = folder, keys
        self._given = {"keys": str(keys) if keys else ""}
        self.processes: list[Process] = []
        self.scheduler = self._start("scheduler", address="127.0.0.1:0", **given)
        self.address = self.scheduler.said()

    def _start(self, role: str, **given: Any) -> Process:
        self.processes.append(Process(role, **{**self._given, **given}))
        return self.processes[-1]

    def worker(self, *units: Unit, **given: Any) -> Process:
        """Start a worker with devices; it need not be ready."""
        folder = self.folder / f"worker{len(self.processes)}"
        told = {"units": codec.encode(units), "folder": str(folder), "address": self.address}
        return self._start("worker", **{**told, **given})

    def ready(self, *units: Unit, **given: Any) -> Process:
        """Start a worker, and wait until it is ready."""
        worker = self.worker(*units, **given)
        assert worker.said() == "ready"
        return worker

    def executor(self) -> Any:
        """Return an executor of the cluster."""
        from mvdeploy.pipeline.fleet.executors import cluster

        return cluster.ClusterExecutor(cluster.Address(self.address, self.keys))

    def close(self) -> None:
        for process in self.processes:
            process.end()


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    pytest.importorskip("distributed")
    made: list[Cluster] = []

    def make(**given: Any) -> Cluster:
        made.append(Cluster(tmp_path / f"cluster{len(made)}", **given))
        return made[-1]

    yield make
    for one in made:
        one.close()
