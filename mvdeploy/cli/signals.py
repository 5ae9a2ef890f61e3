"""Signals that ask the process to end: it then cleans up as after Ctrl-C, and says which it was."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_SAME_S = 0.5
"""Seconds in which a second signal is the same request: a terminal that closes, or a program around
this one, may send several."""


class Ended(KeyboardInterrupt):
    """The process was asked to end.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


def prepare() -> None:
    """Have signals raise `Ended`, but for those that whoever started this has it ignore (nohup)."""
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def over() -> None:
    """Have signals change nothing any more: the work is done, and Python ends in a moment."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


def worded(error: BaseException) -> tuple[str, int]:
    """Say what ended the process, and with which status."""
    number = error.number if isinstance(error, Ended) else signal.SIGINT
    words = "Interrupted." if number == signal.SIGINT else f"Ended by {number.name}."
    return words, 128 + number


def _end(number: int, _frame: FrameType | None) -> None:
    first = time.monotonic()

    def again(number: int, _frame: FrameType | None) -> None:
        # While it cleans up: whoever asks twice does not want to wait for that.
        if time.monotonic() - first > _SAME_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for other in _ENDING:
        if signal.getsignal(other) is _end:
            signal.signal(other, again)
    raise Ended(signal.Signals(number))
