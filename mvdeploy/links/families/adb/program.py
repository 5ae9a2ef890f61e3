"""The adb program and the server that it works through."""

from __future__ import annotations

import collections
import dataclasses
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from mvdeploy.errors import DeviceUnavailable
from mvdeploy.links.families.adb import messages

DEFAULT_PORT = 5037

_START_S = 20.0
_ANSWER_S = 2.0

# Of the caller's environment, these would change which device is meant or what is printed.
_UNWANTED = ("ANDROID_SERIAL", "ADB_TRACE")

_started: collections.Counter[int] = collections.Counter()
"""Ports of servers that this process has started → how many still use each."""

_lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Reply:
    """What a call of adb came to.

    Attributes:
        status: its exit status.
        out: its standard output.
        error: its standard error.
    """

    status: int
    out: bytes
    error: bytes

    @property
    def text(self) -> str:
        """All that it said; which of its streams it uses depends on its version."""
        return (self.error + b"\n" + self.out).decode(errors="replace")


def find(given: str | None = None) -> str:
    """Return the path of the adb program.

    It is looked for in the environment variable ``ADB``, on the path, below ``ANDROID_HOME`` and
    ``ANDROID_SDK_ROOT``, and inside the package adbutils.

    Args:
        given: the only one that will do, if any.

    Raises:
        DeviceUnavailable: there is none.
    """
    named = given or os.environ.get("ADB")
    if named:
        program = shutil.which(named)
        if program is None:
            raise DeviceUnavailable(
                f"The adb program that was named, {named}, cannot be started.",
                "Name one that can (with $ADB), or none to have it looked for.",
            )
        return os.path.abspath(program)
    program = shutil.which("adb") or next(_elsewhere(), None)
    if program is None:
        raise DeviceUnavailable(
            "There is no adb program on this machine.",
            "Install it (Debian and Ubuntu: apt install adb; macOS: brew install "
            "android-platform-tools; anywhere: pip install adbutils), or name one with "
            "$ADB.",
        )
    return os.path.abspath(program)


def _elsewhere() -> Iterator[str]:
    homes = map(os.environ.get, ("ANDROID_HOME", "ANDROID_SDK_ROOT"))
    folders = [Path(home) / "platform-tools" for home in homes if home]
    # Importing it is not needed, and would start its logging.
    package = importlib.util.find_spec("adbutils")
    if package is not None and package.submodule_search_locations:
        folders += [Path(place) / "binaries" for place in package.submodule_search_locations]
    for folder in folders:
        program = shutil.which("adb", path=str(folder))
        if program:
            yield program


def run(path: str, words: Sequence[str], limit_s: float) -> Reply:
    """Run adb and wait for it.

    Raises:
        subprocess.TimeoutExpired: it took too long, and has been killed.
        DeviceUnavailable: it cannot be started.
    """
    try:
        done = subprocess.run(
            [path, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            env=environment(),
            check=False,
        )
    except OSError as error:
        raise _unusable(path, error) from error
    return Reply(done.returncode, done.stdout, done.stderr)


def launch(
    path: str,
    words: Sequence[str],
    out: IO[bytes] | int,
    error: IO[bytes] | int,
    given: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start adb without waiting for it.

    Args:
        path: of the program.
        words: its arguments.
        out: where its standard output goes.
        error: where its standard error goes.
        given: where its standard input is from.

    Raises:
        DeviceUnavailable: it cannot be started.
    """
    try:
        return subprocess.Popen(
            [path, *words],
            stdin=given,
            stdout=out,
            stderr=error,
            env=environment(),
            bufsize=0,
        )
    except OSError as failure:
        raise _unusable(path, failure) from failure


def environment() -> dict[str, str]:
    """Return the environment that adb is started with."""
    return {name: value for name, value in os.environ.items() if name not in _UNWANTED}


class Server:
    """The adb server: used if it runs, else started, and then ended by the last who used it.

    Args:
        path: of the adb program.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._port = _port()
        self._ours = False

    def start(self) -> None:
        """Have a server.

        Raises:
            DeviceUnavailable: there is none, and none can be started.
        """
        if self._port is None:
            return  # on another machine, or wherever the user says
        with _lock:
            running = version(self._port)
            if running is None:
                self._launch()
            elif running != self._client_version():
                raise DeviceUnavailable(
                    f"An adb server of another version ({running}) is running, which {self._path} "
                    "would end.",
                    "End it with `adb kill-server`, or name the adb that it belongs to in $ADB.",
                )
            self._ours = running is None or _started[self._port] > 0
            if self._ours:
                _started[self._port] += 1

    def stop(self) -> None:
        """Leave the server as it was found. May be called again.

        Raises:
            DeviceUnavailable: it does not end.
        """
        if self._port is None or not self._ours:
            return
        with _lock:
            self._ours = False
            _started[self._port] -= 1
            if _started[self._port] == 0:
                self._end()

    def _launch(self) -> None:
        # The server keeps what it inherits: with a pipe, the end of this call would never be seen.
        with tempfile.TemporaryFile() as output:
            try:
                status = subprocess.run(
                    [self._path, "start-server"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    timeout=_START_S,
                    env=environment(),
                    check=False,
                ).returncode
            except OSError as error:
                raise _unusable(self._path, error) from error
            except subprocess.TimeoutExpired as error:
                raise self._failed(f"nothing happened within {_START_S:g} s") from error
            output.seek(0)
            if status != 0:
                text = output.read().decode(errors="replace")
                raise self._failed(messages.last_line(text) or f"exit status {status}")

    def _end(self) -> None:
        try:
            run(self._path, ["kill-server"], _START_S)
        except subprocess.TimeoutExpired as error:
            raise DeviceUnavailable(
                f"The adb server that {self._path} had started does not end.",
                "End it with `adb kill-server`, or by its process id.",
            ) from error

    def _failed(self, why: str) -> DeviceUnavailable:
        return DeviceUnavailable(
            f"The adb server cannot be started: {why}.",
            f"See what `{self._path} start-server` says.",
        )

    def _client_version(self) -> int:
        reply = run(self._path, ["version"], _START_S)
        answer = re.search(r"Android Debug Bridge version \d+\.\d+\.(\d+)", reply.text)
        if answer is None:
            raise DeviceUnavailable(
                f"{self._path} does not behave like adb.",
                "Name the right program with $ADB, or install adb anew.",
            )
        return int(answer[1])


def _port() -> int | None:
    """Return the port of the server on this machine; None if it is somewhere else."""
    place = os.environ.get("ADB_SERVER_SOCKET")
    if place:
        local = re.fullmatch(r"tcp:(?:localhost:|127\.0\.0\.1:)?(\d+)", place)
        return int(local[1]) if local else None
    if os.environ.get("ANDROID_ADB_SERVER_ADDRESS") not in (None, "", "localhost", "127.0.0.1"):
        return None
    port = os.environ.get("ANDROID_ADB_SERVER_PORT") or str(DEFAULT_PORT)
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise DeviceUnavailable(
            f"$ANDROID_ADB_SERVER_PORT is {port!r}, which is not a port.",
            "Set it to the port of the adb server, or unset it.",
        )
    return int(port)


def version(port: int) -> int | None:
    """Return the version of the adb server at a port; None if nothing is there.

    Raises:
        DeviceUnavailable: something else is there.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), _ANSWER_S) as server:
            server.sendall(b"000chost:version")
            # The server closes after its answer: OKAY, four digits of a length, and the version.
            with server.makefile("rb") as answer:
                reply = answer.read(12)
    except ConnectionRefusedError:
        return None
    except OSError:
        reply = b""
    if not re.fullmatch(rb"OKAY0004[0-9a-fA-F]{4}", reply):
        raise DeviceUnavailable(
            f"What listens at port {port} of this machine is not an adb server.",
            "Free the port, or set $ANDROID_ADB_SERVER_PORT to another one.",
        )
    return int(reply[8:], 16)


def _unusable(path: str, error: OSError) -> DeviceUnavailable:
    return DeviceUnavailable(
        f"{path} cannot be started ({error.strerror}).",
        "Name an adb that can with $ADB, or install it anew.",
    )
