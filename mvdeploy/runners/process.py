"""What the Python runner sets and asks of its own process."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mvdeploy.errors import UsageError
from mvdeploy.records import UNAVAILABLE

_PR_SET_PDEATHSIG = 1
_THREADS = Path("/proc/self/task")


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


@dataclasses.dataclass(frozen=True)
class Usage:
    """What this process has used from its start on.

    Attributes:
        run_delays_ns: for each thread, how long it was ready and waited for a core; empty where
            the system does not tell.
        counts: switches between threads, and page faults.
    """

    run_delays_ns: dict[str, int]
    counts: dict[str, int]

    def since(self, earlier: Usage) -> dict[str, int | str]:
        """Return what was used between two moments, by the names of `JobResult.usage`."""
        available = self.run_delays_ns and earlier.run_delays_ns
        # Thread by thread, as the delays of a thread that has ended meanwhile are gone.
        rises = (ns - earlier.run_delays_ns.get(i, 0) for i, ns in self.run_delays_ns.items())
        counts = {name: count - earlier.counts[name] for name, count in self.counts.items()}
        return {"run_delay_ns": sum(rises) if available else UNAVAILABLE, **counts}


def usage() -> Usage:
    """Return what this process has used so far."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    counts = {
        "switches_voluntary": used.ru_nvcsw,
        "switches_involuntary": used.ru_nivcsw,
        "faults_minor": used.ru_minflt,
        "faults_major": used.ru_majflt,
    }
    return Usage(run_delays_ns(), counts)


def run_delays_ns(threads: Path = _THREADS) -> dict[str, int]:
    """Return how long each thread was ready and waited for a core; empty if no one tells.

    Args:
        threads: folder of the threads' folders (Linux).
    """
    numbers: dict[str, list[int]] = {}
    for thread in threads.glob("*"):
        with contextlib.suppress(OSError):  # it has ended, or the system keeps no such file
            text = (thread / "schedstat").read_text()
            numbers[thread.name] = [int(number) for number in text.split()]
    # Time on a core, time waiting for one, number of turns: all zeros when no one counts.
    if not any(map(any, numbers.values())):
        return {}
    return {thread: fields[1] for thread, fields in numbers.items()}
