"""Whether what is to be measured fits into memory, said before anything is measured."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

from mvdeploy.errors import UsageError
from mvdeploy.records import Plan
from mvdeploy.text_format import count

BYTES = 500
"""What an inference takes until it is saved and reported: its place in the order, its two times,
and the same as text (measured: 380)."""


def check(plan: Plan, cases: int, room: int | None = None) -> None:
    """Refuse more iterations than there is memory for.

    Args:
        plan: how is measured; one that goes by time is bounded by that.
        cases: how many.
        room: bytes that there are; None for what `available` says.

    Raises:
        UsageError: says how many iterations fit.
    """
    if plan.iterations is None:
        return
    # Beside its own blocks a case has as many inferences in turns with others.
    each = BYTES * cases * (1 if cases == 1 or plan.pairs_only else 2)
    room = available() if room is None else room
    if plan.iterations * each > room:
        taken, there = (f"{size / 1e6:,.0f} MB" for size in (plan.iterations * each, room))
        asked = f"{plan.iterations:,} iterations of {count(cases, 'case')}"
        raise UsageError(
            f"{asked} take about {taken} of memory, and there are {there}.",
            f"Ask for at most {max(1, room // each):,} with --iterations, or measure fewer cases.",
        )


def available(root: Path = Path("/")) -> int:
    """Return the bytes that this process may still take: of the machine, its limit and its group.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    free = [psutil.virtual_memory().available, *_left_in_groups(root)]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        free.append(limit - psutil.Process().memory_info().vms)
    return max(0, min(free))


def _left_in_groups(root: Path) -> Iterator[int]:
    """Give what each control group around this process has left; nothing on other systems."""
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            mount = root / "sys/fs/cgroup" / (controllers and "memory")
            limit, used = (
                ("memory.limit_in_bytes", "memory.usage_in_bytes")
                if controllers
                else ("memory.max", "memory.current")
            )
            # In a container the path may be that outside of it: then the top is its own group.
            inner = PurePosixPath(path.lstrip("/"))
            for folder in (mount / inner, *(mount / above for above in inner.parents)):
                with contextlib.suppress(OSError, ValueError):  # the word 'max', or no such file
                    most = int((folder / limit).read_text())
                    yield most - int((folder / used).read_text()) + _given_back(folder)


def _given_back(folder: Path) -> int:
    """Return the bytes of files in memory that the system gives back when they are needed."""
    for line in (folder / "memory.stat").read_text().splitlines():
        name, _, size = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(size)
    return 0
