"""A phone with coremltools' app on it: built, started, watched, ended."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib
import os
import shutil
import subprocess
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any

from mvdeploy.engines.coreml import LEAST_IOS, Place, version_numbers
from mvdeploy.runners.contract import Failed

_REMOTE = "coremltools.models.ml_program.experimental.remote_device"
_WAKE_S = 30.0
_ATTACH = "Attach the phone by cable, unlock it, and run again."


@dataclasses.dataclass(frozen=True)
class Where:
    """Where a job is done.

    Attributes:
        temporary: folder for temporary files.
        phone: identifier of the phone's hardware; empty for this machine.
        work: folder in which the app is built.
        team: that signs it.
        clean: build it anew.
    """

    temporary: Path
    phone: str = ""
    work: Path = Path()
    team: str = ""
    clean: bool = False


class Phone:
    """A phone with coremltools' app running on it.

    Args:
        device: coremltools' prepared device.
        loop: runs coremltools' coroutines.
    """

    def __init__(self, device: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._device = device
        self.place = Place(loop, device, self.there)
        self._output: deque[str] = deque(maxlen=20)
        # Nobody else reads what the app prints, and a full pipe would stop it.
        for stream in (device.session._process.stdout, device.session._process.stderr):
            threading.Thread(target=self._listen, args=(stream,), daemon=True).start()

    def _listen(self, stream: IO[bytes]) -> None:
        for line in stream:
            self._output.append(line.decode(errors="replace").strip())

    def there(self) -> bool:
        """Say whether the app runs and the phone is connected."""
        return self.app_runs() and self.connected()

    def app_runs(self) -> bool:
        """Say whether the app has not ended."""
        # In coremltools 9.0 it is a method that its own code reads like a property.
        alive = self._device.session.is_alive
        return bool(alive() if callable(alive) else alive)

    def connected(self) -> bool:
        """Say whether the phone is connected."""
        return _find(self._device.udid) is not None

    def trouble(self, failed: Failed) -> Failed | None:
        """Return what is behind a failure: a phone or an app that is gone; None if it is neither.

        Args:
            failed: what went wrong meanwhile.
        """
        cause = str(failed).rstrip(".")
        if not self.connected():
            return Failed("device", f"The phone is not connected any more: {cause}.", _ATTACH)
        if not self.app_runs():
            words = (
                f"; it last wrote: {' | '.join(list(self._output)[-3:])}" if self._output else ""
            )
            return Failed(
                failed.event["kind"],
                f"coremltools' app ended on the phone{words[:400]}: {cause}.",
                "Keep the phone unlocked and other apps closed; if it happens again, the model may "
                "need more memory than the phone gives: try a smaller one.",
            )
        return None

    def version(self) -> tuple[int, ...]:
        """Return the numbers of the system's version."""
        return version_numbers(self._device.os_version)

    def stop(self) -> None:
        """End the app."""
        self._device.session.stop()


def prepare(where: Where, loop: asyncio.AbstractEventLoop) -> Phone:
    """Build, install and start the app on a phone.

    Raises:
        Failed: kind ``device``: the phone is not connected, its system is too old, or the app
            cannot be built, installed or started.
    """
    remote = importlib.import_module(_REMOTE)
    _show_devicectl()
    device = _find(where.phone) or _woken(where.phone)
    if device is None:
        raise Failed("device", "The phone is not connected.", _ATTACH)
    if version_numbers(device.os_version) < LEAST_IOS:
        raise Failed(
            "device",
            f"The phone has iOS {device.os_version}, and coremltools' app needs iOS 17.",
            "Update the phone.",
        )
    where.work.mkdir(parents=True, exist_ok=True)
    credentials = remote.AppSigningCredentials(development_team=where.team)
    try:
        prepared = loop.run_until_complete(
            device.prepare_for_model_debugging(
                credentials=credentials, working_directory=where.work, clean=where.clean
            )
        )
    except Exception as error:  # coremltools raises bare exceptions of many kinds
        raise _not_prepared(error, where) from error
    return Phone(prepared, loop)


def _show_devicectl() -> None:
    """Put devicectl on the path, where coremltools looks for it and Xcode does not put it."""
    if shutil.which("devicectl") is not None:
        return
    done = subprocess.run(
        ("xcrun", "--find", "devicectl"), capture_output=True, text=True, timeout=15, check=False
    )
    devicectl = Path(done.stdout.strip())
    if done.returncode == 0 and devicectl.is_file():
        os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", ""), str(devicectl.parent)))


def _woken(udid: str) -> Any | None:
    """Return a device that is at the cable but was left alone until devicectl parted from it."""
    words = ("xcrun", "devicectl", "device", "info", "details", "-d", udid)
    with contextlib.suppress(subprocess.TimeoutExpired):  # then it is not connected
        subprocess.run(words, capture_output=True, timeout=_WAKE_S, check=False)
    return _find(udid)


def _find(udid: str) -> Any | None:
    """Return coremltools' device with an identifier if it is connected."""
    remote = importlib.import_module(_REMOTE)
    try:
        devices = remote.Device.get_devices()
    except (remote._DeviceCtlError, ValueError):
        return None
    state = remote.DeviceState.CONNECTED
    return next((d for d in devices if d.udid == udid and d.state == state), None)


def _not_prepared(error: Exception, where: Where) -> Failed:
    output = said_by(error)
    if type(error).__qualname__ == "_AppBuilder.Error":
        return Failed(
            "device",
            f"Xcode could not build and sign coremltools' app ({reason(output)}).",
            f"Check that Xcode is signed in (Settings, Accounts) to the team {where.team}, and "
            "that the phone is unlocked.",
        )
    return Failed(
        "device",
        f"coremltools' app could not be started on the phone ({reason(output)}).",
        "Unlock the phone, allow the developer in Settings under General, VPN & Device "
        "Management, and run again; with --clean-app the app is built anew.",
    )


def said_by(error: Exception) -> str:
    """Return what the program behind an error of coremltools wrote.

    coremltools 9.0 looks for what xcodebuild writes in the wrong stream; it is still in the error
    that this one was raised from.
    """
    output = getattr(error, "message", None) or getattr(error.__context__, "output", None)
    if isinstance(output, bytes):
        return output.decode(errors="replace")
    return str(output or error or type(error).__name__)


def reason(said: str) -> str:
    """Return the line of a program's output that says what went wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["no reason given"]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines)[0 if errors else -1][:300].rstrip(".")
