"""`Comparison`: two cases that took turns; `OutputComparison`: how what they computed differs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Literal

from mvdeploy.records.job import Samples
from mvdeploy.records.limits import Count, Decibels, Number, Range, Size


@dataclasses.dataclass(frozen=True)
class PairGroup:
    """Turns in one process, both sessions made anew.

    Attributes:
        first_created: 1 when case A's session was created before case B's, else −1.
        a: times of case A, `block_a` for each turn; turn i lies next to turn i of `b`.
        b: times of case B, `block_b` for each turn.
        block_a: inferences in one turn of case A; more than one for inferences too short to be
            compared one by one.
        block_b: the same of case B.
    """

    first_created: Literal[1, -1]
    a: Samples
    b: Samples
    block_a: Number = 1
    block_b: Number = 1

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if len(self.a) * self.block_b != len(self.b) * self.block_a or len(self.a) % self.block_a:
            lengths = f"{len(self.a)} times in turns of {self.block_a}"
            yield f"has {lengths} beside {len(self.b)} in turns of {self.block_b}"
        for side in (self.a, self.b):
            yield from side.cpu_faults


@dataclasses.dataclass(frozen=True)
class SessionPair:
    """A session of each of two cases, of one round in which sessions of all cases take turns.

    Attributes:
        a: number of case A's session in its measurement; its blocks are what is compared.
        b: the same of case B.
        at_a: which process of the round that session was in; 0 is first.
        at_b: the same of case B.
    """

    a: Count
    b: Count
    at_a: Count
    at_b: Count


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Paired samples of two cases of one run. Nothing here is derived.

    Attributes:
        a: slug of the case that is the reference.
        b: slug of the other.
        groups: in the order they ran; none of cases that do not share a process.
        sessions: pairs of sessions, where those of several engines took turns; in the order they
            ran.
    """

    a: str
    b: str
    groups: tuple[PairGroup, ...]
    sessions: tuple[SessionPair, ...] = ()

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if self.a == self.b:
            yield f"compares the case {self.a!r} with itself"


@dataclasses.dataclass(frozen=True)
class OutputDifference:
    """One output of two programs on the same input.

    Attributes:
        name: of the output.
        other: its name in the other program.
        max_abs: largest absolute difference; None when a value is no finite number.
        snr_db: signal power over the power of the difference, dB; None when they are identical, or
            a value is no finite number.
        identical: to the last bit.
        same_largest: share of the rows whose largest value is at the same place, as a classifier's
            answer is; None for outputs that are no such rows.
    """

    name: str
    other: str
    max_abs: Size | None
    snr_db: Decibels | None
    identical: bool
    same_largest: Annotated[float, Range(0, 1)] | None = None


@dataclasses.dataclass(frozen=True)
class OutputComparison:
    """What two cases computed of the same input.

    Attributes:
        a: slug of the case that is the reference.
        b: slug of the other.
        outputs: in the reference's order.
        problem: why they cannot be compared; empty when they can.
    """

    a: str
    b: str
    outputs: tuple[OutputDifference, ...] = ()
    problem: str = ""
