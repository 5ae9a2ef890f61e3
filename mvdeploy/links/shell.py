"""Commands and files on a device that has a POSIX shell, whatever carries them."""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

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

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start a command whose output is read while it runs.

        Its standard output is a pipe, and is nothing but what the command writes, followed by the
        end of its last line and a line ``__RC=`` with its exit status; a stream that ends without
        that line has been cut.
        Ending the returned process does not end the command on the device.
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


def quote(*words: str) -> str:
    """Join words so that a POSIX shell reads them as they are."""
    return shlex.join(words)
