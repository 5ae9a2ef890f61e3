"""`Measurement` and `Finding`: what was seen of one case, as it was seen."""

from __future__ import annotations

import collections
import dataclasses
import enum
from collections.abc import Iterator

from mvdeploy.records.device import DeviceState, Reading
from mvdeploy.records.job import Samples
from mvdeploy.records.limits import Count, Counter, Nanoseconds, Number


class Level(enum.StrEnum):
    """How much a finding matters to who reads the number."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something a reader of the numbers should know.

    Attributes:
        code: what was found; reports hold the sentence for it.
        level: how much it matters.
        values: the figures in that sentence.
    """

    code: str
    level: Level
    values: dict[str, str | int | float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Session:
    """One life of an engine session.

    Attributes:
        created: position in which this case's session was made in its process; 0 is first.
        load_ns: from the file to a session that can run.
        first: the first inference.
        warmup: inferences until it counted as warm.
        steady: measured inferences, in blocks of this case alone.
        anchor: inferences of the anchor between those blocks, in order; empty without an anchor.
        usage: what the process used while it measured all its cases; see `JobResult.usage`.
        measured_ns: wall time of all inferences that it measured, of all cases.
    """

    created: Count
    load_ns: Nanoseconds
    first: Samples
    warmup: Samples
    steady: Samples
    anchor: Samples = dataclasses.field(default_factory=Samples)
    usage: dict[str, Counter] = dataclasses.field(default_factory=dict)
    measured_ns: Nanoseconds = 0

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        own = sum(self.steady.wall_ns) + sum(self.anchor.wall_ns)
        if self.measured_ns and own > self.measured_ns:
            yield f"has inferences of {own} ns among measured ones of {self.measured_ns} ns"
        for samples in (self.first, self.warmup, self.steady, self.anchor):
            yield from samples.cpu_faults


@dataclasses.dataclass(frozen=True)
class SessionOrder:
    """The order in which one runner made its sessions and ran their inferences.

    Attributes:
        number: of the session in its group of cases; 0 is first. Cases that had to be run alone
            have an order each under the same number.
        started_at: ISO 8601, UTC.
        created: cases by slug, the yardstick under its own name, in the order in which their engine
            sessions were made.
        order: the measured inferences: index into `created`, and how many in a row.
    """

    number: Count
    started_at: str
    created: tuple[str, ...]
    order: tuple[tuple[Count, Number], ...]

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if len({*self.created}) < len(self.created):
            yield "creates a case twice"
        if any(index >= len(self.created) for index, _ in self.order):
            yield "runs a case that it did not create"

    def counts(self) -> collections.Counter[str]:
        """Return the measured inferences of each case that it created."""
        counts = collections.Counter(dict.fromkeys(self.created, 0))
        for index, count in self.order:
            counts[self.created[index]] += count
        return counts


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Every sample of one case. Nothing here is derived.

    Attributes:
        engine: name of the engine.
        conditions: engine version and options, threads, clock, what else decides the number.
        sessions: in the order they ran.
        load_ns: load time in a process of its own.
        first: first inference in a process of its own.
        peak_memory_bytes: largest resident size of a process that ran this case alone.
        baseline_memory_bytes: resident size of that process before the model was loaded.
        before: the device before the first session.
        after: the device after the last.
        findings: what to know about these samples.
    """

    engine: str
    conditions: dict[str, Reading]
    sessions: tuple[Session, ...]
    load_ns: Nanoseconds
    first: Samples
    peak_memory_bytes: Count
    baseline_memory_bytes: Count
    before: DeviceState
    after: DeviceState
    findings: tuple[Finding, ...] = ()

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        yield from self.first.cpu_faults

    @property
    def steady(self) -> Samples:
        """The measured inferences of all sessions."""
        return sum((s.steady for s in self.sessions), Samples())
