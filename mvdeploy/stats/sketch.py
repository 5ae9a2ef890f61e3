"""Quantiles of any number of times in bounded memory, and of several stretches put together.

A time goes into a bin of an exponential scale, and only the bins are counted (DDSketch: Masson, Rim
and Lee, VLDB 2019). What the bins tell of a quantile is off by a known share of it at most, however
many times there are and whatever they look like; bins of several stretches are simply added up.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddsketch.mapping import LogarithmicMapping

ACCURACY = 0.001
"""Relative error of a quantile at most: far below what intervals differ by. A factor of ten is
1,151 bins."""

Bins = tuple[tuple[int, int], ...]
"""Counts by the key of the bin, in rising order."""


def bins_of(times: Iterable[float], accuracy: float = ACCURACY) -> Bins:
    """Return how many times lie in which bin.

    Args:
        times: positive; one of zero counts as one.
        accuracy: relative error of quantiles at most.
    """
    key = _mapping(accuracy).key
    return tuple(sorted(collections.Counter(key(max(time, 1)) for time in times).items()))


def merged(parts: Iterable[Bins]) -> Bins:
    """Return the bins of several stretches as those of one."""
    counts: collections.Counter[int] = collections.Counter()
    for part in parts:
        counts.update(dict(part))
    return tuple(sorted(counts.items()))


def quantile(bins: Bins, q: float, accuracy: float = ACCURACY) -> float:
    """Return a quantile, off from the order statistic below it by `accuracy` at most.

    Args:
        bins: at least one.
        q: 0 to 100.
        accuracy: that the bins were made with.

    Raises:
        ValueError: there are no times, or `q` is not between 0 and 100.
    """
    from ddsketch.ddsketch import BaseDDSketch
    from ddsketch.store import DenseStore

    store = DenseStore()
    for key, count in bins:
        store.add(key, count)
    value = BaseDDSketch(_mapping(accuracy), store, DenseStore(), 0.0).get_quantile_value(q / 100)
    if value is None:
        raise ValueError(f"no times, or {q} is not between 0 and 100")
    return float(value)


def quantiles(bins: Bins, qs: Sequence[float], accuracy: float = ACCURACY) -> tuple[float, ...]:
    """Return several quantiles; see `quantile`."""
    return tuple(quantile(bins, q, accuracy) for q in qs)


@functools.cache
def _mapping(accuracy: float) -> LogarithmicMapping:
    from ddsketch.mapping import LogarithmicMapping

    return LogarithmicMapping(accuracy)
