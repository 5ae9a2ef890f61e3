"""`Baseline`: what ``--save-baseline`` keeps of a run for later runs to be held against."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from mvdeploy.records import codec
from mvdeploy.records.device import Reading
from mvdeploy.records.limits import Count, Duration, FolderName, Nanoseconds


@dataclasses.dataclass(frozen=True)
class BaselineCase:
    """One case as it was measured. The times are raw samples; statistics are derived from them.

    Attributes:
        slug: of the case in its run.
        label: its name in tables.
        conditions: what a result must share with it to be compared.
        sessions: wall times of the measured inferences of each session, nanoseconds; sessions
            without any are left out.
        loads_ns: load time in each session.
        firsts_ns: wall time of the first inference in each session.
        parts_ns: nanoseconds of one inference, by part of the latency; empty without a breakdown.
        peak_memory_bytes: largest resident size of a process that ran this case alone.
    """

    slug: FolderName
    label: str
    conditions: dict[str, Reading]
    sessions: tuple[tuple[Nanoseconds, ...], ...]
    loads_ns: tuple[Nanoseconds, ...]
    firsts_ns: tuple[Nanoseconds, ...]
    parts_ns: dict[str, Duration]
    peak_memory_bytes: Count

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        # No two sessions take the same times, unless the clock is too coarse to tell.
        if codec.repeated(times for times in self.sessions if len({*times}) > 2):
            yield "has the times of one session twice"


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The measured cases of one run, in one file.

    Attributes:
        name: of the run.
        created: when the run was, ISO 8601, UTC.
        mvdeploy: version that measured.
        cases: in the order of the run.
    """

    name: str
    created: str
    mvdeploy: str
    cases: tuple[BaselineCase, ...]

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if not self.cases:
            yield "holds no case"
        slugs = [case.slug for case in self.cases]
        yield from (f"holds the case {slug!r} twice" for slug in sorted(codec.repeated(slugs)))


def save_baseline(baseline: Baseline, path: Path) -> None:
    """Write a baseline to a file, in one step; folders are made if need be.

    Raises:
        UsageError: the file cannot be written.
    """
    remedy = "Make room there, or give a file in another folder with --save-baseline."
    codec.save(baseline, path, indent=None, remedy=remedy)


def load_baseline(path: Path) -> Baseline:
    """Read a baseline from a file.

    Raises:
        UsageError: the file is missing, is no baseline, or holds what no run could have measured.
    """
    return codec.load(Baseline, path)
