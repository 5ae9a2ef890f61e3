"""`Sustained`: one case under load that does not end, interval by interval."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

from mvdeploy.records.device import DeviceState
from mvdeploy.records.limits import Duration, Nanoseconds, Number, Positive, Size, Target

Bins = tuple[tuple[int, Number], ...]
"""How many times lie in which bin of a sketch, by the bin's key in rising order."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """Some seconds of uninterrupted inference.

    Attributes:
        start_s: when it began, from the first measured inference on.
        length_s: until its last inference ended.
        wall_ns: of all its inferences together.
        cpu_ns: the same of the thread that called the engine.
        p50_ns: of its wall times, exact; as are the others.
        p90_ns: likewise.
        p99_ns: likewise.
        cpu_p50_ns: of its CPU times.
        bins: the sketch of its wall times; those of several intervals are added up.
    """

    start_s: Size
    length_s: Positive
    wall_ns: Nanoseconds
    cpu_ns: Nanoseconds
    p50_ns: Duration
    p90_ns: Duration
    p99_ns: Duration
    cpu_p50_ns: Duration
    bins: Bins

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if not self.bins:
            yield "has no inference"
        if not self.p50_ns <= self.p90_ns <= self.p99_ns:
            yield "has percentiles that do not rise"
        if any(a >= b for (a, _), (b, _) in itertools.pairwise(self.bins)):
            yield "has bins that are out of order"

    @property
    def count(self) -> int:
        """Inferences in it."""
        return sum(count for _, count in self.bins)

    @property
    def stop_s(self) -> float:
        """When it ended."""
        return self.start_s + self.length_s


@dataclasses.dataclass(frozen=True)
class Moment:
    """What the device told while it worked.

    Attributes:
        at_s: when, from the first measured inference on.
        state: the readings.
    """

    at_s: Size
    state: DeviceState


@dataclasses.dataclass(frozen=True)
class Gap:
    """Time without inference, as the device was gone.

    Attributes:
        start_s: from the first measured inference on.
        length_s: seconds.
        reason: why, a sentence.
    """

    start_s: Size
    length_s: Size
    reason: str


@dataclasses.dataclass(frozen=True)
class Sustained:
    """One case under load that does not end.

    Attributes:
        started_at: when its first measured inference began, about; ISO 8601, UTC.
        asked_s: seconds that it was to take.
        interval_s: seconds of an interval, about.
        accuracy: relative error of quantiles from the sketches, at most.
        alternating: other cases ran between its intervals.
        intervals: in order.
        moments: readings in order.
        gaps: in order.
        ended: why it ended early, a sentence; empty when it did not.
    """

    started_at: str
    asked_s: Positive
    interval_s: Positive
    accuracy: Target
    alternating: bool = False
    intervals: tuple[Interval, ...] = ()
    moments: tuple[Moment, ...] = ()
    gaps: tuple[Gap, ...] = ()
    ended: str = ""

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        pairs = itertools.pairwise(self.intervals)
        # Clocks are read to the nanosecond, and added up as floats.
        if any(b.start_s < a.stop_s - 0.001 for a, b in pairs):
            yield "has intervals that overlap"
        if any(b.at_s < a.at_s for a, b in itertools.pairwise(self.moments)):
            yield "has readings out of order"

    @property
    def until_s(self) -> float:
        """When its last inference ended; 0 without any."""
        return self.intervals[-1].stop_s if self.intervals else 0.0
