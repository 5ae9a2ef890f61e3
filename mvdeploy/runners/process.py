"""What the Python runner sets and asks of its own process."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mvdeploy.errors import UsageError

_PR_SET_PDEATHSIG = 1


def claim_stdout() -> Callable[..., None]:
    """Take standard output for events alone, and return what writes one.

    From here on whatever prints to file descriptor 1, in Python or in an engine's own code, is
    sent to standard error.

    Returns:
        A function of the event's name and its fields.
    """
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def emit(event: str, **fields: Any) -> None:
        events.write(json.dumps({"event": event, **fields}, allow_nan=False) + "\n")
        events.flush()

    return emit


def die_with_parent() -> None:
    """Have the system kill this process when the one that started it dies (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def bind(cores: tuple[int, ...]) -> None:
    """Bind this process and all threads it will have to some cores; to none means to all.

    Raises:
        UsageError: the system cannot do that, or one of the cores may not be used.
    """
    if not cores:
        return
    if sys.platform == "darwin" or not hasattr(os, "sched_setaffinity"):
        raise UsageError(
            "This system cannot bind a process to cores.", "Leave the choice of cores out."
        )
    allowed = os.sched_getaffinity(0)
    with contextlib.suppress(OSError):  # it is refused only if there is none of these cores
        os.sched_setaffinity(0, cores)
    if os.sched_getaffinity(0) != set(cores):
        raise UsageError(
            f"The runner cannot be bound to the cores {_listed(cores)}.",
            f"Choose among the cores it may use: {_listed(allowed)}.",
        )


def _listed(cores: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(cores)))


def cores() -> list[int] | None:
    """Return the numbers of the cores that this process may use; None if the system hides them."""
    if sys.platform == "darwin" or not hasattr(os, "sched_getaffinity"):
        return None
    return sorted(os.sched_getaffinity(0))


def peak_memory() -> int:
    """Return the largest resident size that this process has had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux starts the figure of getrusage at the size of the process that started this one.
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
