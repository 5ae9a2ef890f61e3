"""An interval for the median of one case, within one run."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

from mvdeploy.stats.percentiles import percentile

_MIN_BLOCKS = 10
_MIN_BLOCK_SAMPLES = 2


@dataclasses.dataclass(frozen=True)
class Interval:
    """Where the median may lie, as far as this run can tell.

    It says nothing about other runs: differences between cases are judged by paired ratios only.

    Attributes:
        low: nanoseconds.
        high: nanoseconds.
        level: confidence.
        blocks: number of block medians it rests on.
    """

    low: float
    high: float
    level: float
    blocks: int

    @property
    def half_width_relative(self) -> float:
        """Half the width, as a share of the median."""
        return (self.high - self.low) / (2 * math.sqrt(self.low * self.high))


def median_interval(sessions: Sequence[Sequence[int]], *, level: float = 0.95) -> Interval | None:
    """Estimate how far the median wandered between stretches of this run.

    Neighbouring inferences resemble each other, so single samples would give a far too narrow
    interval. Every session is cut into consecutive blocks, ten or more in all; a t interval on the
    logarithms of the block medians gives the width, and the overall median the centre.

    Args:
        sessions: inference times of each session, nanoseconds, in the order they were taken;
            sessions without samples are left out.
        level: confidence, between 0 and 1.

    Returns:
        The interval, or None when there are fewer than two samples for each block, or a time of
        zero.
    """
    filled = [s for s in sessions if len(s)]
    if not filled:
        return None
    per_session = math.ceil(_MIN_BLOCKS / len(filled))
    if min(map(len, filled)) < per_session * _MIN_BLOCK_SAMPLES or min(map(min, filled)) <= 0:
        return None
    logs = [math.log(percentile(b, 50)) for s in filled for b in _blocks(s, per_session)]
    half = _t_half_width(logs, level)
    median = percentile([t for s in filled for t in s], 50)
    return Interval(median * math.exp(-half), median * math.exp(half), level, len(logs))


def mean_interval(values: Sequence[float], *, level: float = 0.95) -> tuple[float, float]:
    """Return the mean of two or more values, and half the width of its t interval."""
    return math.fsum(values) / len(values), _t_half_width(values, level)


def t_quantile(probability: float, df: float) -> float:
    """Return the quantile of Student's t distribution with `df` degrees of freedom."""
    # scipy.special loads in a tenth of the time that scipy.stats takes.
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def _blocks(samples: Sequence[int], count: int) -> list[Sequence[int]]:
    edges = [round(i * len(samples) / count) for i in range(count + 1)]
    return [samples[start:stop] for start, stop in itertools.pairwise(edges)]


def _t_half_width(values: Sequence[float], level: float) -> float:
    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    return t_quantile((1 + level) / 2, n - 1) * math.sqrt(variance / n)
