"""The ratio of two results that were taken at different times.

Far weaker than a paired ratio (see `mvdeploy.stats.paired`): the two did not meet the same
disturbances, and no interval from within two runs knows how much runs differ.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from mvdeploy.stats.interval import t_quantile
from mvdeploy.stats.paired import Verdict
from mvdeploy.stats.percentiles import percentile

BLIND = 0.05
"""Relative difference below which results of two runs tell nothing: two runs of one model can
differ by that much.

Measuring A, then B, then testing calls equal models different in 62 to 87 of 100 trials at a
nominal 5 %, and more samples do not help: the machine is not the same later on. For the same reason
an interval from within one run covers what another run finds far less often than it says (batch
means: 20 to 55 % instead of 95 %). The interval here rests on whole sessions, which resemble each
other less than batches do, but still all come from one stretch of time.
"""

METHOD = (
    "Welch's t interval on the logarithms of one value for each session; differences below "
    f"{BLIND:.0%} count as none, whatever the interval says"
).replace("%", " %")
"""How such ratios are estimated, in words for reports."""


@dataclasses.dataclass(frozen=True)
class UnpairedEstimate:
    """Result B divided by result A, taken at different times.

    Attributes:
        ratio: below 1 when B is faster.
        low: lower end of the interval.
        high: upper end of the interval.
        level: nominal confidence of the interval; it holds between sessions, not between runs.
    """

    ratio: float
    low: float
    high: float
    level: float

    @property
    def verdict(self) -> Verdict:
        """What can be said of B relative to A."""
        if abs(self.ratio - 1) < BLIND or self.low <= 1 <= self.high:
            return "no difference detected"
        return "faster" if self.ratio < 1 else "slower"


def ratio(
    a_sessions: Sequence[Sequence[int]],
    b_sessions: Sequence[Sequence[int]],
    q: float = 50.0,
    level: float = 0.95,
) -> UnpairedEstimate:
    """Estimate a percentile of B divided by that of A, from the percentile of each session.

    Args:
        a_sessions: inference times of each session of the reference, nanoseconds; sessions without
            samples are left out.
        b_sessions: the same of the other.
        q: which percentile, 0 to 100.
        level: confidence of the interval, between 0 and 1.

    Raises:
        ValueError: a side has fewer than two sessions with samples, a session's percentile is
            zero, or `q` is not between 0 and 100.
    """
    a, b = ([percentile(s, q) for s in side if len(s)] for side in (a_sessions, b_sessions))
    return ratio_of_values(a, b, level)


def ratio_of_values(
    a_values: Sequence[float], b_values: Sequence[float], level: float = 0.95
) -> UnpairedEstimate:
    """Estimate B divided by A from one value for each session, such as load times.

    The estimate is the ratio of the geometric means.

    Args:
        a_values: of the reference, positive, in any unit.
        b_values: of the other, in the same unit.
        level: confidence of the interval, between 0 and 1.

    Raises:
        ValueError: a side has fewer than two values, or a value is not positive.
    """
    a, b = _moments(a_values), _moments(b_values)
    difference = b.mean - a.mean
    half = t_quantile((1 + level) / 2, _welch_df(a, b)) * math.sqrt(a.error2 + b.error2)
    return UnpairedEstimate(
        math.exp(difference), math.exp(difference - half), math.exp(difference + half), level
    )


@dataclasses.dataclass(frozen=True)
class _Moments:
    """Mean of the logarithms, its squared standard error, and the degrees of freedom."""

    mean: float
    error2: float
    df: int


def _moments(values: Sequence[float]) -> _Moments:
    n = len(values)
    if n < 2:
        raise ValueError(f"only {n} of the two or more sessions that an interval needs")
    if min(values) <= 0:
        raise ValueError("a time is zero, so there is no ratio")
    logs = [math.log(v) for v in values]
    mean = math.fsum(logs) / n
    variance = math.fsum((x - mean) ** 2 for x in logs) / (n - 1)
    return _Moments(mean, variance / n, n - 1)


def _welch_df(a: _Moments, b: _Moments) -> float:
    """Welch-Satterthwaite degrees of freedom."""
    total = a.error2 + b.error2
    if not total:
        return float(a.df + b.df)
    # Shares first: the squares of tiny variances would underflow.
    return 1 / sum((m.error2 / total) ** 2 / m.df for m in (a, b))
