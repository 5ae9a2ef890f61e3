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


_asked: list[signal.Signals] = []
"""Signals that have asked the process to end."""


def asked() -> bool:
    """Say whether a signal has asked the process to end."""
    return bool(_asked)


def prepare() -> None:
    """Have signals raise KeyboardInterrupt, but for those that are to be ignored (nohup)."""
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def over() -> None:
    """Have signals change nothing any more: the work is done, and Python ends in a moment."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


def worded() -> tuple[str, str, int]:
    """Say what ended the process and what is left of its work, and with which status."""
    number = _asked[0] if _asked else signal.SIGINT
    words = "Interrupted." if number == signal.SIGINT else f"Ended by {number.name}."
    return words, "What was finished before is saved.", 128 + number


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
    _asked.append(signal.Signals(number))
    raise KeyboardInterrupt
