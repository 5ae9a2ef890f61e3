"""`ProfilerCost`, `Excess`: what a profiler adds to each operator, as seen on a device."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from mvdeploy.records.limits import Count, Duration


@dataclasses.dataclass(frozen=True)
class ChainTimes:
    """A short and a long chain of the same operators, measured over the same stretch of time.

    Attributes:
        operators_ns: sum of the medians of the operators' times in the profile, of each chain.
        profiled_ns: median wall time of an inference with the profiler, of each.
        plain_ns: and without.
    """

    operators_ns: tuple[Duration, Duration]
    profiled_ns: tuple[Duration, Duration]
    plain_ns: tuple[Duration, Duration]


@dataclasses.dataclass(frozen=True)
class ProfilerCost:
    """Inferences of both chains, with and without the profiler, took turns in one process.

    Attributes:
        models: the networks.
        operators: how many the profile has of each.
        stretches: consecutive stretches of that time; by what they differ is not the profiler's.
    """

    models: tuple[str, str]
    operators: tuple[Count, Count]
    stretches: tuple[ChainTimes, ...]

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if self.operators[1] <= self.operators[0]:
            yield "has no more operators in the long chain than in the short one"
        if len(self.stretches) < 2:
            yield "has fewer than two stretches of time"


@dataclasses.dataclass(frozen=True)
class Excess:
    """Nanoseconds for each operator, with a 95 % interval from the stretches of time.

    Attributes:
        ns: what the profile's time of an operator holds beyond what it takes; negative where it
            lacks something: the dispatch, or what a clock of whole microseconds cuts off.
        low: end of the interval.
        high: the other end.
        whole_ns: by how much an inference is longer for each operator that is profiled, within the
            operators' times and between them.
    """

    ns: float
    low: float
    high: float
    whole_ns: float

    @property
    def subtracted_ns(self) -> float:
        """What is taken off each operator: nothing, where it may be more or less than nothing."""
        return self.ns if self.low > 0 or self.high < 0 else 0.0
