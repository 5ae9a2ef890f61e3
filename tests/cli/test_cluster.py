"""The commands of a cluster, as they are typed."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mvdeploy.pipeline.report import load_fleet, load_sweep
from mvdeploy.records.run import load_run

pytest.importorskip("distributed")

MVDEPLOY = (sys.executable, "-m", "mvdeploy")
SHORT = ("--iterations", "4", "--sessions", "1", "--warmup", "1", "--no-breakdown")
NETWORK = ("yardstick", "--format", "onnx", *SHORT, "-o", "out")


class Going:
    """A command that goes on until it is ended."""

    def __init__(self, *words: str, cwd: Path) -> None:
        self._process = subprocess.Popen(
            [*MVDEPLOY, *words], cwd=cwd, stdout=subprocess.PIPE, text=True
        )

    def said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> int:
        self._process.terminate()
        self._process.communicate(timeout=60)
        return self._process.returncode


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """The options that name a cluster, whose keys are in the folder of the test."""
    subprocess.run([*MVDEPLOY, "cluster", "keys", "keys"], cwd=tmp_path, check=True)
    listen = ("--listen", "127.0.0.1:0", "--keys", "keys")
    going = Going("cluster", "start", *listen, cwd=tmp_path)
    said = going.said()
    assert said.startswith("The cluster listens at tls://127.0.0.1:")
    assert "mvdeploy worker --cluster tls://" in going.said()
    yield "--cluster", said.split()[-1].rstrip("."), "--keys", "keys"
    assert going.end() == 143


def test_keys_are_for_their_owner_and_are_never_replaced(typed, tmp_path: Path) -> None:
    done = typed("cluster", "keys", "keys")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "keys"
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["ca.pem", "cert.pem", "key.pem"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    before = (folder / "key.pem").read_bytes()
    again = typed("cluster", "keys", "keys")
    assert again.returncode == 2 and "keys is there already." in again.stderr
    assert (folder / "key.pem").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cluster", "start", "--listen", "0.0.0.0"), "Without keys, anybody who reaches 0.0.0.0"),
        (("worker", "--cluster", "192.0.2.1"), "Without keys, anybody who reaches 192.0.2.1"),
        (("devices", "--cluster", "192.0.2.1"), "Without keys, anybody who reaches 192.0.2.1"),
        (("bench", *NETWORK, "--cluster", "192.0.2.1"), "Without keys, anybody who reaches"),
        (("bench", *NETWORK, "--keys", "keys"), "--keys, --insecure and --wait-for are about"),
        (("cluster", "start", "--listen", "a:b"), "'a:b' is no address."),
        (("cluster", "start", "--listen", "tls://127.0.0.1"), "needs keys"),
        (("cluster", "start", "--keys", "nowhere"), "nowhere has no ca.pem and no cert.pem"),
        (("cluster", "keys"), "The keys go into a folder of their own."),
        (("cluster", "start", "keys"), "'keys' is nothing that a cluster is started with."),
        (("devices", "doctor", "--cluster", "127.0.0.1"), "devices can only be listed"),
    ],
)
def test_what_is_refused(mvdeploy, arguments: tuple[str, ...], words: str) -> None:
    done = mvdeploy(*arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr


def test_where_no_cluster_is(typed) -> None:
    done = typed("devices", "--cluster", "127.0.0.1:1")
    assert done.returncode == 3
    assert "No cluster answers at tcp://127.0.0.1:1 without keys" in done.stderr


@pytest.mark.slow
def test_this_machine_is_measured_by_a_worker_and_what_is_missing_is_told(
    typed, cluster: tuple[str, ...], tmp_path: Path
) -> None:
    worker = Going("worker", *cluster, "--device", "host", cwd=tmp_path)
    assert worker.said().startswith("Offered at tls://127.0.0.1:")
    listed = typed("devices", *cluster, "--json")
    (unit,) = json.loads(listed.stdout)
    assert unit["profile"]["name"] == "host" and unit["name"] == unit["machine"]
    command = ("bench", *NETWORK, "--device", "host", "--device", "pixel4", *cluster)
    done = typed(*command, "--wait-for", "1")
    assert done.returncode == 3, done.stderr
    there = f"There is host ({unit['name']})."
    assert f"Error: pixel4: There is no pixel4 to measure on. {there}" in done.stderr
    saved = load_fleet(tmp_path / "out" / "fleet-yardstick")
    assert [task.done for task in saved.tasks] == [True, False]
    assert unit["name"] in (tmp_path / "out" / "fleet-yardstick" / "report.md").read_text()
    again = typed(*command, "--wait-for", "0")
    assert again.returncode == 3
    assert "1 of 2 are there already" in again.stderr and "host: " not in again.stderr
    assert worker.end() == 143


@pytest.mark.slow
def test_blocks_of_a_sweep_are_measured_by_the_machine_that_is_named(
    typed, cluster: tuple[str, ...], tmp_path: Path
) -> None:
    worker = Going("worker", *cluster, cwd=tmp_path)
    assert worker.said().startswith("Offered at tls://127.0.0.1:")
    sizes = ("sweep", "yardstick", "--image-size", "56,64", "--format", "pytorch", *SHORT)
    refused = typed(*sizes, *cluster)
    assert refused.returncode == 2
    assert "'host' is any machine of the cluster" in refused.stderr
    machine = socket.gethostname()
    done = typed(*sizes, "--device", machine, *cluster, "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "block 1 of 1: session 1" in done.stderr
    (folder,) = (tmp_path / "out").iterdir()
    (run,) = load_sweep(folder).runs
    saved = load_run(folder / "runs" / run)
    assert saved.run.device.profile.title == machine
    assert [len(case.measurement.steady) for case in saved.cases if case.measurement] == [4, 4]
    again = typed(*sizes, "--device", machine, *cluster, "-o", "out")
    assert again.returncode == 0 and "session" not in again.stderr
    assert worker.end() == 143
