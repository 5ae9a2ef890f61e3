"""What a program on a device prints while it runs: events, and in the end its exit status."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from typing import IO, cast

from mvdeploy.links import outcome
from mvdeploy.links.shell import status_in

_GRACE_S = 5.0
"""Seconds for a runner to end by itself after its last event."""

_SIGNALLED = 128
"""A shell adds the number of a signal to this and gives the sum as exit status."""


class Stream:
    """Takes the last line, which holds the exit status, from what a runner prints.

    Attributes:
        status: what the shell gives as exit status; None before it has ended, and when the stream
            was cut.
        timed_out: it had not ended when its time was up.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.timed_out = False
        self._rest = b""

    @property
    def exit_status(self) -> int:
        """The exit status, or the number of the signal with a minus sign; 0 when there is none."""
        status = self.status or 0
        return _SIGNALLED - status if status > _SIGNALLED else status

    def feed(self, data: bytes, heard: outcome.Heard) -> None:
        """Take in what has arrived, in pieces of any size."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            status = status_in(line)
            if status is not None:
                self.status = status
            elif line := line.rstrip(b"\r"):
                heard.feed(line + b"\n")


def listen(
    process: subprocess.Popen[bytes], stream: Stream, heard: outcome.Heard, deadline: float
) -> None:
    """Listen to a program that `Shell.start` started, until it ends or the deadline passes."""
    stdout = cast(IO[bytes], process.stdout)
    ending: float | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while stream.status is None and (left := (ending or deadline) - time.monotonic()) > 0:
            if selector.select(min(left, 1.0)):
                data = os.read(stdout.fileno(), 65536)
                if not data:
                    return
                stream.feed(data, heard)
            if heard.finished and ending is None:
                ending = time.monotonic() + _GRACE_S
