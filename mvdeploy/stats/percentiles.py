"""Percentiles, by one method that every report names."""

from __future__ import annotations

import math
from collections.abc import Sequence

METHOD = "linear interpolation between order statistics (Hyndman-Fan type 7, NumPy's default)"
"""How every percentile is computed, in words for reports."""


def least(q: float) -> int:
    """Return how many samples it takes for a percentile above the median to tell something.

    One of them is to be expected above it: 100 for the 99th. With fewer it lies between the two
    largest samples, wherever these happen to be.

    Args:
        q: from 50 to below 100.
    """
    return math.ceil(100 / (100 - q))


def percentile(samples: Sequence[float], q: float) -> float:
    """Return one percentile.

    Args:
        samples: at least one number, in any order and unit.
        q: 0 to 100.

    Raises:
        ValueError: there are no samples, or `q` is not between 0 and 100.
    """
    import numpy as np

    if not len(samples):
        raise ValueError("no samples: a percentile needs at least one")
    if not 0 <= q <= 100:
        raise ValueError(f"percentile {q} is not between 0 and 100")
    return float(np.percentile(np.asarray(samples, dtype=float), q, method="linear"))
