"""`FirstRun`: how long a model takes after the start of a process, before it is warm."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from mvdeploy.records.job import JobModel
from mvdeploy.records.limits import Core, Count, Nanoseconds, Number, Share, Threads

STILL_CACHED = 0.01
"""Share of a file that may be in the system's cache where it counts as not in it."""


@dataclasses.dataclass(frozen=True)
class StartJob:
    """What one process is to do once: load a model and run it a few times.

    Attributes:
        model: which.
        files: paths of everything that is read of it.
        cold: these are to be dropped from the system's cache before it is loaded.
        threads: inference threads.
        inferences: how many.
        cores: CPU numbers to run on; empty for all.
    """

    model: JobModel
    files: tuple[str, ...]
    cold: bool
    threads: Threads
    inferences: Number
    cores: tuple[Core, ...] = ()


@dataclasses.dataclass(frozen=True)
class Start:
    """One start of a process.

    Attributes:
        cold: its files were dropped from the system's cache before.
        resident: share of them that was in it right before the model was loaded; None where that
            cannot be told.
        import_ns: importing the engine's library; None where the program has it built in.
        load_ns: from the file to a session that can run.
        inferences_ns: wall times of the first inferences.
    """

    cold: bool
    resident: Share | None
    import_ns: Nanoseconds | None
    load_ns: Nanoseconds
    inferences_ns: tuple[Nanoseconds, ...]

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if not self.inferences_ns:
            yield "has no inference"
        if self.cold and (self.resident is None or self.resident > STILL_CACHED):
            yield "counts as one without the file in the cache, but has it there"

    @property
    def first_ns(self) -> int:
        """The first inference."""
        return self.inferences_ns[0]

    @property
    def answered_ns(self) -> int:
        """From the file to the end of the first inference."""
        return self.load_ns + self.first_ns


@dataclasses.dataclass(frozen=True)
class FirstRun:
    """The starts of a case.

    Attributes:
        starts: in the order they ran, with the file in the system's cache and without in turns.
        size_bytes: of the files that are read.
        no_cold: why there are none without the file in the cache; empty when there are.
    """

    starts: tuple[Start, ...]
    size_bytes: Count
    no_cold: str = ""

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if bool(self.of(cold=True)) == bool(self.no_cold):
            yield "has cold starts and a reason why it has none, or neither"
        if not self.of(cold=False):
            yield "has no start with the file in the cache"

    def of(self, *, cold: bool) -> tuple[Start, ...]:
        """Return the starts of one kind, in order."""
        return tuple(start for start in self.starts if start.cold is cold)
