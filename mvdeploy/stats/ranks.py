"""An interval for the median of a few independent values, such as times of process starts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mvdeploy.stats.interval import Interval


def median_by_ranks(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return between which two of the values the median lies, by the binomial distribution.

    Nothing is assumed of how the values are spread.

    Args:
        values: independent of each other, in any order and unit.
        level: confidence at least, between 0 and 1.

    Returns:
        The narrowest such interval with its own level; None with too few values, which for 95 % are
        fewer than six.
    """
    ordered, count = sorted(values), len(values)
    found, outside = None, 0.0
    for rank in range(count // 2):
        outside += 2 * math.comb(count, rank) / 2**count
        if 1 - outside < level:
            break
        found = Interval(ordered[rank], ordered[count - 1 - rank], 1 - outside, count)
    return found
