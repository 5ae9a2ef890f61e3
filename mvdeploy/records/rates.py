"""`Rates`: how fast a machine multiplies and accumulates, at best."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from mvdeploy.records.limits import Positive, Threads


@dataclasses.dataclass(frozen=True)
class Rate:
    """The rate of one type of numbers, the best of several libraries.

    Attributes:
        numbers: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        threads: that computed.
        macs_per_s: median over products of matrices.
        low: lower end of the 95 % interval of that median.
        high: upper end.
        by: the library and its function that reached it.
        instructions: those that it reached, as far as it tells.
    """

    numbers: str
    threads: Threads
    macs_per_s: Positive
    low: Positive
    high: Positive
    by: str
    instructions: str

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if not self.low <= self.macs_per_s <= self.high:
            yield "has a rate outside of its own interval"


@dataclasses.dataclass(frozen=True)
class Rates:
    """What was measured once on a machine.

    Attributes:
        machine: processor, cores and versions of the libraries that it holds for.
        measured: ISO 8601, UTC.
        rates: of every type of numbers that some library multiplies, for one core and for all.
    """

    machine: dict[str, str]
    measured: str
    rates: tuple[Rate, ...]

    def of(self, numbers: str, threads: int) -> Rate | None:
        """Return the rate of a type of numbers with so many threads."""
        found = (r for r in self.rates if (r.numbers, r.threads) == (numbers, threads))
        return next(found, None)
