"""What runs in a fork of the warm process is as good as a start of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import warm as warm_process
from tests.warm import Server, started


@pytest.mark.parametrize("arguments", [("--version",), ("models", "--json"), ("bench", "--bogus")])
def test_it_says_and_ends_with_what_a_start_does(
    warm: Server, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    fork, start = warm.mvdeploy(*arguments, cwd=tmp_path), started(*arguments, cwd=tmp_path)
    assert (fork.returncode, fork.stdout, fork.stderr) == (
        *(start.returncode, start.stdout, start.stderr),
    )


def test_folder_and_environment_are_its_own(
    warm: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MVDEPLOY_ADB", str(tmp_path / "no-adb"))
    done = warm.mvdeploy("devices", "doctor", "pixel4", cwd=tmp_path)
    assert "no-adb" in done.stdout
    monkeypatch.delenv("MVDEPLOY_ADB")
    assert "no-adb" not in warm.mvdeploy("devices", "doctor", "pixel4", cwd=tmp_path).stdout


def relay(server: Server, call: str, **options) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", str(warm_process.RELAY), str(server.socket), call]
    return subprocess.Popen(command, **options)


def test_a_relay_ends_as_its_child_does(warm: Server) -> None:
    """A runner without a job fails with status 4, and says so in an event."""
    runner = relay(warm, warm_process.RUNNER, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    events, _ = runner.communicate(timeout=60)
    assert runner.returncode == 4
    assert b'"kind": "input"' in events
    killed = relay(warm, "os:abort", stderr=subprocess.DEVNULL)
    assert killed.wait(60) == -signal.SIGABRT


@pytest.fixture
def own() -> Iterator[Server]:
    """One that nobody else uses, without anything imported."""
    server = Server(Path(tempfile.mkdtemp(prefix="warm-", dir="/tmp")), modules=())
    yield server
    server.close()


def test_who_is_not_waited_for_is_killed(own: Server) -> None:
    """A runner that waits for its job, whose relay is killed."""
    read, write = os.pipe()
    runner = relay(own, warm_process.RUNNER, stdin=read)
    os.close(read)
    deadline = time.monotonic() + 30
    while not (children := psutil.Process(own.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(children) == 1
    runner.kill()
    runner.wait()
    assert psutil.wait_procs(children, 30)[1] == []
    os.close(write)


def test_it_ends_with_the_last_that_has_it() -> None:
    folder = Path(tempfile.mkdtemp(prefix="warm-", dir="/tmp"))
    first, second = (Server(folder, modules=()) for _ in range(2))
    assert first.pid == second.pid
    process = psutil.Process(first.pid)
    first.close()
    with second.start("--version", cwd=folder) as running:
        assert running.wait(60).returncode == 0
    second.close()
    assert psutil.wait_procs([process], 30)[1] == []
    assert not folder.exists()
