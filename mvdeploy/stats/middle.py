"""The middle half of some values: what is usual of them, with parts that add up."""

from __future__ import annotations

from collections.abc import Sequence


def middle_half(values: Sequence[float]) -> list[int]:
    """Return which values lie between the quartiles; all of fewer than four.

    Medians of parts do not add up to the median of their sum; means over the same chosen values do,
    and the slowest and fastest do not move them.

    Args:
        values: at least one.
    """
    order = sorted(range(len(values)), key=lambda at: values[at])
    cut = len(values) // 4
    return order[cut : len(values) - cut]
