"""Two runs and one device: real processes, the second of which is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mvdeploy
from mvdeploy import devices, links
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.links.lock import DeviceLock
from mvdeploy.pipeline.connect import opened

# A run that has the device, and keeps it until its input ends.
RUN = """
import sys
from mvdeploy import devices, links
from mvdeploy.pipeline.connect import opened
with opened(links.get(devices.get("host"))):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Another run on this machine, which has begun."""
    with subprocess.Popen(
        [sys.executable, "-c", RUN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(mvdeploy.__file__).parents[1])},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield process
        process.kill()


def open_host() -> None:
    with opened(links.get(devices.get("host"))):
        pass


def test_the_second_run_is_refused(other) -> None:
    with pytest.raises(DeviceUnavailable) as caught:
        open_host()
    assert caught.value.exit_code == 3
    title = devices.get("host").title
    assert caught.value.message == f"Another run (process {other.pid}) measures on {title}."
    assert f"end it with 'kill {other.pid}'" in caught.value.remedy


def test_a_run_that_was_killed_leaves_the_device_free(other) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    open_host()


def test_a_run_that_has_ended_leaves_the_device_free(other) -> None:
    other.communicate()
    open_host()
    open_host()


def test_another_device_is_not_refused(other) -> None:
    lock = DeviceLock("The phone")
    lock.take("adb 99211FFAZ00STD")
    lock.release()
    lock.release()


def test_a_device_is_taken_once_by_one_run() -> None:
    lock, second = DeviceLock("The phone"), DeviceLock("The phone")
    lock.take("adb 1")
    lock.take("adb 1")
    with pytest.raises(DeviceUnavailable, match=rf"\(process {os.getpid()}\) measures on The"):
        second.take("adb 1")
    lock.take("adb 2")  # it is another one after all
    second.take("adb 1")
    for taken in (lock, second):
        taken.release()


def test_what_ends_a_run_gives_the_device_back() -> None:
    with pytest.raises(KeyboardInterrupt), opened(links.get(devices.get("host"))):
        raise KeyboardInterrupt
    open_host()


@pytest.mark.parametrize(
    "key", ["", "a/../b", "ssh pi@[fe80::1%eth0]:22", "x" * 1000, "\N{SNOWMAN}"]
)
def test_any_key_is_a_file_of_its_own(runtime: Path, key: str) -> None:
    first, second = DeviceLock("It"), DeviceLock("It")
    first.take(key)
    second.take(f"{key} ")
    assert {path.parent for path in runtime.rglob("*.pid")} == {runtime / "mvdeploy" / "locks"}
    for taken in (first, second):
        taken.release()


def test_a_place_that_may_not_be_written_to(runtime: Path) -> None:
    (runtime / "mvdeploy").touch()
    with pytest.raises(DeviceUnavailable, match="It cannot be told") as caught:
        open_host()
    assert "XDG_RUNTIME_DIR" in caught.value.remedy
