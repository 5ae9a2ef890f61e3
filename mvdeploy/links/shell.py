"""Commands and files on a device that has a POSIX shell, whatever carries them."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from mvdeploy.errors import DeviceUnavailable

_REAP_S = 10.0
"""Seconds for the system to end what was killed."""

OnBytes = Callable[[int, int], None]
"""Is told how many bytes of a file have been sent, and how many it has."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command on the device came to.

    Attributes:
        status: its exit status.
        out: what it wrote to its standard output.
        error: what it wrote to its standard error.
    """

    status: int
    out: str
    error: str


class Shell(Protocol):
    """A way to a device's shell and files.

    Attributes:
        name: what messages call the device.
        folder: a folder on it that may be written to and executed from.
    """

    name: str
    folder: str

    def call(self, command: str, limit_s: float = 30.0) -> Answer:
        """Run a command of the device's shell and wait for it.

        Args:
            command: a line for the shell; `quote` makes words safe.
            limit_s: seconds after which the device counts as gone.

        Raises:
            DeviceUnavailable: the device is gone, or does not answer in time.
        """

    def start(self, command: str, *, held: bool = False) -> subprocess.Popen[bytes]:
        """Start a command whose output is read while it runs.

        Its standard output is a pipe, and is nothing but what the command writes, followed by the
        end of its last line and a line with its exit status (`with_status`); a stream that ends
        without that line has been cut.
        Ending the returned process does not end the command on the device.

        Args:
            command: a line for the shell.
            held: its standard input is a pipe, which ends there when it is closed here, when this
                process ends, and when the connection does; otherwise it is empty.

        Raises:
            DeviceUnavailable: it cannot be started.
        """

    def push(self, local: Path, remote: str, on_bytes: OnBytes | None = None) -> None:
        """Copy a file to the device; folders on the way are made.

        Raises:
            DeviceUnavailable: the device is gone, or cannot take the file (and why).
        """

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from the device; the copy is whole or not there.

        Raises:
            EngineError: there is no such file on the device.
            DeviceUnavailable: the device is gone.
        """

    def foreign(self, where: str, owner: str, reason: str) -> DeviceUnavailable:
        """Word the error for what another user has left, and this one may not change.

        Args:
            where: what was left.
            owner: whose it is.
            reason: what the device said.
        """


def quote(*words: str) -> str:
    """Join words so that a POSIX shell reads them as they are."""
    return shlex.join(words)


def with_status(command: str) -> str:
    """Return a command whose output has a last line, ``__RC=`` with its exit status.

    What carries the command may break in the middle of its output and still tell of success.
    """
    return f"({command}\n); printf '\\n__RC=%d\\n' $?"


_STATUS_LINE = re.compile(rb"__RC=(\d{1,3})\r?")
_ENDING = re.compile(rb"\n" + _STATUS_LINE.pattern + rb"\n\Z")


def status_in(line: bytes) -> int | None:
    """Return the exit status that a line holds, without its end; None when it holds none."""
    match = _STATUS_LINE.fullmatch(line)
    return int(match[1]) if match else None


def answer_of(output: bytes, error: bytes) -> Answer | None:
    """Return what a command came to that `with_status` gave; None when its output was cut."""
    ending = _ENDING.search(output)
    if ending is None:
        return None
    text = output[: ending.start()].decode(errors="replace")
    return Answer(int(ending[1]), text, error.decode(errors="replace"))


def last_line(text: str) -> str:
    """Return the last line that says something, without a full stop; empty for none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else ""


def reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that has been killed; one that the system cannot end is left to it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_REAP_S)


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Leave no process behind, whatever happens while it is listened to or waited for."""
    try:
        yield process
    finally:
        process.kill()
        reap(process)
        if process.stdout is not None:
            process.stdout.close()
