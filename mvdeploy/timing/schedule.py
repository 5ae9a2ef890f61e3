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
from collections.abc import Iterator, Sequence

BLOCK_NS = 250_000_000
"""Length of a block of one case, so that cases meet slow and fast moments of the machine alike."""

ANCHOR_SHARE = 0.1
"""Time of the anchor after a block, as a share of the block's; `TURN_NS` at most."""

FAST_NS = 1_000_000
"""An inference shorter than this is too short to be compared one by one."""

TURN_NS = 25_000_000
"""Length of a turn of inferences that are too short; longer turns lose power."""

_NO_FASTER_NS = 1000.0
"""No engine answers faster; an estimate below it is no reason for endless turns."""

_MIN_ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The order of one session.

    Attributes:
        order: index of the case for each inference; the anchor has the index after the last case.
        steady: number of leading entries that are blocks; the rest are turns.
    """

    order: tuple[int, ...]
    steady: int

    def anchors_of(self, case: int, anchor: int) -> tuple[int, ...]:
        """Return the positions of the anchor's inferences that follow a block of one case."""
        positions = []
        latest = anchor
        for position, index in enumerate(self.order[: self.steady]):
            if index != anchor:
                latest = index
            elif latest == case:
                positions.append(position)
        return tuple(positions)


def creation_order(cases: int, session: int, rng_seed: int) -> tuple[int, ...]:
    """Return the order in which the cases' engine sessions are made.

    Of two equal sessions the one made first tends to be slower. Every second session uses the
    reverse of the order before, so that each case comes before each other equally often.
    """
    order = list(range(cases))
    random.Random(f"{rng_seed}/created/{session // 2}").shuffle(order)
    return tuple(order if session % 2 == 0 else reversed(order))


def turn_sizes(estimates_ns: Sequence[float]) -> tuple[int, ...]:
    """Return how many inferences of each case make one turn.

    Single inferences, which compare best, unless one of the cases is too fast for that.
    """
    if min(estimates_ns) >= FAST_NS:
        return (1,) * len(estimates_ns)
    return tuple(max(1, round(TURN_NS / max(estimate, _NO_FASTER_NS))) for estimate in estimates_ns)


def rounds(estimates_ns: Sequence[float], pair_time_s: float) -> int:
    """Return how many rounds of turns give each pair of cases about so many seconds."""
    sizes = turn_sizes(estimates_ns)
    round_ns = sum(size * ns for size, ns in zip(sizes, estimates_ns, strict=True))
    pair_ns = max(1.0, round_ns * 2 / len(sizes))
    return max(_MIN_ROUNDS, round(pair_time_s * 1e9 / pair_ns))


def session_schedule(
    counts: Sequence[int],
    estimates_ns: Sequence[float],
    turns: int,
    rng: random.Random,
    anchor_ns: float | None = None,
) -> Schedule:
    """Return the order of one session.

    Args:
        counts: inferences of each case in its blocks.
        estimates_ns: what one inference of each case takes, about.
        turns: rounds in which every case has one turn; 0 for a case alone.
        rng: decides the order of blocks and of the cases within a round.
        anchor_ns: what one inference of the anchor takes, about; None without an anchor.
    """
    blocks = _blocks(counts, estimates_ns)
    rng.shuffle(blocks)
    order = []
    for block in blocks:
        order += block
        if anchor_ns is not None and block:
            length = min(len(block) * estimates_ns[block[0]] * ANCHOR_SHARE, TURN_NS)
            order += [len(counts)] * max(1, math.floor(length / max(anchor_ns, _NO_FASTER_NS)))
    steady = len(order)
    for case, size in turn_order(turn_sizes(estimates_ns), turns, rng):
        order += [case] * size
    return Schedule(tuple(order), steady)


def turn_order(sizes: Sequence[int], turns: int, rng: random.Random) -> Iterator[tuple[int, int]]:
    """Give the turns of all rounds: a case, and how many inferences it has in that turn.

    The order within a round is random: a fixed one can fall into step with the scheduler.
    """
    cases = list(range(len(sizes)))
    for _ in range(turns):
        rng.shuffle(cases)
        yield from ((case, sizes[case]) for case in cases)


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
