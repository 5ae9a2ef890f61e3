"""The order of inferences.

A session of several cases has two parts. First each case runs in blocks of its own, as it would in
an application: that gives its latency. Then the cases take turns, inference by inference in random
order: both then meet the same disturbances, which is what makes a difference between them
trustworthy, though each is slightly slower than in its blocks because the caches are the other's.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence

BLOCK_NS = 250_000_000
"""Length of a block of one case, so that cases meet slow and fast moments of the machine alike."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The order of one session.

    Attributes:
        order: index of the case for each inference.
        steady: number of leading entries that are blocks; the rest are turns.
    """

    order: tuple[int, ...]
    steady: int


def creation_order(cases: int, session: int, rng_seed: int) -> tuple[int, ...]:
    """Return the order in which the cases' engine sessions are made.

    Of two equal sessions the one made first tends to be slower. Every second session uses the
    reverse of the order before, so that each case comes before each other equally often.
    """
    order = list(range(cases))
    random.Random(f"{rng_seed}/{session // 2}").shuffle(order)
    return tuple(order if session % 2 == 0 else reversed(order))


def session_schedule(
    counts: Sequence[int], estimates_ns: Sequence[float], turns: int, rng: random.Random
) -> Schedule:
    """Return the order of one session.

    Args:
        counts: inferences of each case in its blocks.
        estimates_ns: what one inference of each case takes, about.
        turns: rounds in which every case has one inference; 0 for a case alone.
        rng: decides the order of blocks and of the cases within a round.
    """
    blocks = _blocks(counts, estimates_ns)
    rng.shuffle(blocks)
    order = [case for block in blocks for case in block]
    steady = len(order)
    cases = list(range(len(counts)))
    for _ in range(turns):
        rng.shuffle(cases)
        order.extend(cases)
    return Schedule(tuple(order), steady)


def _blocks(counts: Sequence[int], estimates_ns: Sequence[float]) -> list[list[int]]:
    blocks = []
    for case, (count, estimate) in enumerate(zip(counts, estimates_ns, strict=True)):
        size = max(1, round(BLOCK_NS / max(estimate, 1.0)))
        number = max(1, math.ceil(count / size)) if count else 0
        # Sizes that differ by one at most, so that no block is left with a few cold inferences.
        blocks += [
            [case] * (count // number + (1 if i < count % number else 0)) for i in range(number)
        ]
    return blocks


def split(total: int, parts: int) -> tuple[int, ...]:
    """Split a number of inferences over sessions, as evenly as it goes."""
    return tuple(total // parts + (1 if i < total % parts else 0) for i in range(parts))
