"""`Comparison`: two cases that took turns, inference by inference."""

from __future__ import annotations

import dataclasses

from mvdeploy.records.job import Samples


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

    first_created: int
    a: Samples
    b: Samples
    block_a: int = 1
    block_b: int = 1


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Paired samples of two cases of one run. Nothing here is derived.

    Attributes:
        a: slug of the case that is the reference.
        b: slug of the other.
        groups: in the order they ran.
    """

    a: str
    b: str
    groups: tuple[PairGroup, ...]
