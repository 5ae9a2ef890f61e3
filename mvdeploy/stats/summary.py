"""`LatencySummary`: one list of inference times in a few numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mvdeploy.stats.percentiles import least

DDOF = 1
"""The standard deviation divides by the number of samples less this."""

TAILS = {"p90": 90, "p95": 95, "p99": 99}
"""Percentiles that a summary has above the median."""


@dataclasses.dataclass(frozen=True)
class LatencySummary:
    """Statistics of inference times. All but `count` are nanoseconds.

    Attributes:
        count: number of samples.
        mean: arithmetic mean.
        std: standard deviation with `DDOF`; None for a single sample.
        min: smallest sample.
        p10: 10th percentile; the others alike.
        p50: the median, the headline.
        p90: see `p10`.
        p95: see `p10`.
        p99: see `p10`.
        max: largest sample.
    """

    count: int
    mean: float
    std: float | None
    min: float
    p10: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float

    @property
    def too_few_for(self) -> tuple[str, ...]:
        """Percentiles that these samples do not carry: ``("p95", "p99")``.

        Each lies between the two largest samples; see `mvdeploy.stats.percentiles.least`.
        """
        return tuple(name for name, q in TAILS.items() if self.count < least(q))

    def as_ms(self) -> dict[str, float | None]:
        """Return the statistics in milliseconds, by the names of the JSON field ``latency_ms``."""
        values = dataclasses.asdict(self)
        del values["count"]
        return {name: None if ns is None else ns / 1e6 for name, ns in values.items()}


def summarise(samples: Sequence[int]) -> LatencySummary:
    """Summarise inference times.

    Args:
        samples: nanoseconds, at least one.

    Raises:
        ValueError: there are no samples.
    """
    import numpy as np

    if not len(samples):
        raise ValueError("no samples: a summary needs at least one")
    times = np.asarray(samples, dtype=float)
    p10, p50, p90, p95, p99 = np.percentile(times, (10, 50, 90, 95, 99), method="linear")
    return LatencySummary(
        count=len(times),
        mean=float(times.mean()),
        std=float(times.std(ddof=DDOF)) if len(times) > DDOF else None,
        min=float(times.min()),
        p10=float(p10),
        p50=float(p50),
        p90=float(p90),
        p95=float(p95),
        p99=float(p99),
        max=float(times.max()),
    )
