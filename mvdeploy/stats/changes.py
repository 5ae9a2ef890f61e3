"""Where a series of runs changed its level: each run is one observation.

Samples within a run resemble each other far more than those of two runs, so that tests on raw
samples call nearly every two runs different (see `mvdeploy.stats.unpaired`). Here the spread
between runs is the only noise, and it is taken from the series itself.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Reach = Callable[[Values], tuple[Values, tuple[int, ...]]]

ALPHA = 0.01
"""Share of series without a change in which one is found nevertheless."""

LEAST_RUNS = 12
"""Runs that a series has at least before anything can be said: fewer can be put in too few orders
for a probability below `ALPHA`."""

LEAST_SHIFT = 0.01
"""Relative change of the level that is called one at least."""

SHORTEST = 3
"""Runs that a level lasts at least: fewer are outliers."""

_SHUFFLES = 999
_PLACES = 100
"""Places between runs that are tried at first, at most."""

_CLIP = 3.0
"""Deviations that a run counts for at most: one disturbed run is no change, and hides none."""

_CONSISTENT = 0.6745 * math.sqrt(2)
"""Median of the absolute difference of two normal numbers, in standard deviations."""

METHOD = (
    "binary and circular binary segmentation of the logarithms of the runs' medians, clipped at "
    f"{_CLIP:g} robust standard deviations, with permutation tests at a level of {ALPHA:.0%}; each "
    "change is tested again between its neighbours, and placed where the absolute deviations from "
    "the medians before and after are smallest"
).replace("%", " %")
"""How changes are found, in words for reports."""


@dataclasses.dataclass(frozen=True)
class Change:
    """A change of the level.

    Attributes:
        at: index of the first run after it.
        probability: of so large a cumulative sum in a series of the same runs in random order.
    """

    at: int
    probability: float


def find(
    medians: Sequence[float],
    *,
    alpha: float = ALPHA,
    least_shift: float = LEAST_SHIFT,
    seed: int = 0,
) -> tuple[Change, ...]:
    """Find where a series of runs changed its level.

    The test assumes that runs without a change could as well have come in any other order.

    Args:
        medians: of the runs in the order of time, positive, in any unit.
        alpha: share of series without a change in which one may be found.
        least_shift: relative change of the level that counts at least.
        seed: of the random orders.

    Returns:
        The changes in order; none with fewer than `LEAST_RUNS` runs.

    Raises:
        ValueError: a median is not positive.
    """
    import numpy as np

    if any(value <= 0 for value in medians):
        raise ValueError("a time is zero, so there is no ratio")
    if len(medians) < LEAST_RUNS:
        return ()
    logs = np.log(np.asarray(medians, dtype=float))
    test = _Test(logs, alpha, math.log1p(least_shift), seed)
    return test.settled(test.divided(0, len(logs)))


@dataclasses.dataclass(frozen=True)
class _Test:
    """A series and what counts as a change in it."""

    logs: Values
    alpha: float
    least: float
    seed: int

    def divided(self, start: int, stop: int) -> list[int]:
        """Find where changes may be in a part: the ends of a stretch that stands out."""
        if stop - start < LEAST_RUNS:
            return []
        part = self.logs[start:stop]
        probability, ends = min(_probabilities(part, self.seed, (_split, _stretch)))
        if 2 * probability > self.alpha:  # either of two tests may be wrong
            return []
        cuts = [start + end for end in ends if SHORTEST <= end <= len(part) - SHORTEST]
        if not cuts:  # all but outliers at the ends is one stretch
            return []
        edges = [start, *cuts, stop]
        inside = [self.divided(a, b) for a, b in itertools.pairwise(edges)]
        return sorted({*cuts, *itertools.chain(*inside)})

    def settled(self, cuts: list[int]) -> tuple[Change, ...]:
        """Place each change anew between its neighbours, and drop those that are none there."""
        settled: tuple[Change, ...] = ()
        for _ in range(2 * len(cuts) + 1):
            edges = [0, *cuts, len(self.logs)]
            parts = list(zip(edges, cuts, edges[2:], strict=False))
            changes = [self.change(start, stop) for start, _, stop in parts]
            doubtful = [
                part
                for part, change in zip(parts, changes, strict=True)
                if change is None or change.probability > self.alpha
            ]
            if doubtful:
                least = min(doubtful, key=self._gain)
                cuts = [cut for cut in cuts if cut != least[1]]
                continue
            settled = tuple({c.at: c for c in changes if c is not None}.values())
            if [change.at for change in settled] == cuts:
                break
            cuts = sorted(change.at for change in settled)
        return settled

    def _gain(self, place: tuple[int, int, int]) -> float:
        """Return by how much deviations in a part are smaller when it is divided."""
        start, cut, stop = place
        divided = _deviation(self.logs[start:cut]) + _deviation(self.logs[cut:stop])
        return _deviation(self.logs[start:stop]) - divided

    def change(self, start: int, stop: int) -> Change | None:
        """Return the change of a part that has one at most; None where there is none."""
        import numpy as np

        part = self.logs[start:stop]
        if len(part) < 2 * SHORTEST:
            return None
        ((probability, _),) = _probabilities(part, self.seed, (_split,))
        at = _place(part)
        if abs(float(np.median(part[at:]) - np.median(part[:at]))) < self.least:
            return None
        return Change(start + at, probability)


def _probabilities(
    values: Values, seed: int, reaches: Sequence[Reach]
) -> list[tuple[float, tuple[int, ...]]]:
    """Return the share of random orders whose sums reach as far, and where the own ones do."""
    import numpy as np

    # Differences of neighbours, as these hardly know of a change of the level.
    scale = float(np.median(np.abs(np.diff(values)))) / _CONSISTENT or float(np.std(values)) or 1.0
    clipped = np.clip((values - np.median(values)) / scale, -_CLIP, _CLIP)
    clipped -= clipped.mean()
    # The own order comes first.
    rows = np.tile(clipped, (1 + _SHUFFLES, 1))
    np.random.default_rng(seed).permuted(rows[1:], axis=1, out=rows[1:])
    found = []
    for reach in reaches:
        sums, ends = reach(rows)
        # The same sum in another order may differ in its last digit.
        found.append((float(np.mean(sums >= sums[0] * (1 - 1e-9))), ends))
    return found


def _split(rows: Values) -> tuple[Values, tuple[int, ...]]:
    """Return the largest standardised sum of each row up to a place, and that of the first row."""
    import numpy as np

    n = rows.shape[1]
    before = np.arange(SHORTEST, n - SHORTEST + 1)
    sums = np.abs(np.cumsum(rows, axis=1)[:, before - 1]) / np.sqrt(before * (n - before) / n)
    return sums.max(axis=1), (int(before[sums[0].argmax()]),)


def _stretch(rows: Values) -> tuple[Values, tuple[int, ...]]:
    """Return the largest standardised sum of each row between two places, and those of the first.

    A stretch in the middle stands out where the level comes back, which no single place tells.
    """
    import numpy as np

    n = rows.shape[1]
    places = np.unique(np.linspace(0, n, min(n, _PLACES) + 1).round().astype(int))
    sums = np.pad(np.cumsum(rows, axis=1), ((0, 0), (1, 0)))[:, places]
    largest, ends = np.zeros(len(rows)), (0, 0)
    for apart in range(1, len(places)):
        lengths = places[apart:] - places[:-apart]
        usable = np.flatnonzero((lengths >= SHORTEST) & (lengths <= n - SHORTEST))
        if not len(usable):
            continue
        length = lengths[usable]
        between = np.abs(sums[:, usable + apart] - sums[:, usable])
        between /= np.sqrt(length * (n - length) / n)
        if between[0].max() > largest[0]:
            first = usable[between[0].argmax()]
            ends = int(places[first]), int(places[first + apart])
        np.maximum(largest, between.max(axis=1), out=largest)
    return largest, ends


def _place(values: Values) -> int:
    """Return where the absolute deviations from the medians before and after are smallest."""
    places = range(SHORTEST, len(values) - SHORTEST + 1)
    return min(places, key=lambda at: _deviation(values[:at]) + _deviation(values[at:]))


def _deviation(values: Values) -> float:
    """Return the sum of the absolute deviations from the median."""
    import numpy as np

    return float(np.abs(values - np.median(values)).sum())
