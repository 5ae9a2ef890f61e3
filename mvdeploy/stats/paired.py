"""The ratio of two cases that took turns, with an interval on it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from mvdeploy.records import PairGroup, Samples, Session, SessionPair
from mvdeploy.stats.interval import t_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Clock = Literal["wall", "cpu"]
Verdict = Literal["faster", "slower", "no difference detected"]

METHOD = (
    "20 % trimmed mean (Yuen) of the log ratios of neighbouring turns in each group, a turn being "
    "one inference, or the median of 25 ms of inferences when they take less than 1 ms; the mean "
    "of the groups, corrected for which session was created first"
)
"""How ratios are estimated, in words for reports."""

TARGETS: dict[Clock, float] = {"cpu": 0.01, "wall": 0.03}
"""Half widths that are worth reaching: what each clock can give within a minute."""

SESSIONS_METHOD = (
    "the logarithm of the ratio of the two medians in each round, in which each case has a session "
    "in another process; the mean of the rounds, corrected for which session came first and how "
    "that fades"
)
"""How ratios of cases that do not share a process are estimated, in words for reports."""

_TRIM = 0.2
_POWER = 0.8
_MIN_GROUPS = 4
_MIN_TREND = 6


@dataclasses.dataclass(frozen=True)
class ClockChoice:
    """Which clock decides a comparison.

    Attributes:
        clock: ``cpu`` or ``wall``.
        reason: why, as a clause for reports.
    """

    clock: Clock
    reason: str


@dataclasses.dataclass(frozen=True)
class RatioEstimate:
    """Time of case B divided by time of case A.

    Attributes:
        ratio: below 1 when B is faster.
        low: lower end of the interval.
        high: upper end of the interval.
        level: confidence of the interval.
        groups: number of groups of pairs.
        pairs: number of pairs in all groups.
        clock: which times were compared.
        detectable: smallest relative effect that would be found with 80 % power, such as 0.01.
        between_groups: true when the interval rests on the spread between groups; false when there
            were too few groups, so that only the spread within them counts and the interval is
            too narrow if sessions differ.
    """

    ratio: float
    low: float
    high: float
    level: float
    groups: int
    pairs: int
    clock: Clock
    detectable: float
    between_groups: bool

    @property
    def half_width(self) -> float:
        """Half the width of the interval, as a share of the ratio."""
        return math.sqrt(self.high / self.low) - 1

    @property
    def verdict(self) -> Verdict:
        """What the interval says of B relative to A."""
        if self.high < 1:
            return "faster"
        if self.low > 1:
            return "slower"
        return "no difference detected"


def of_sessions(
    pairs: Sequence[SessionPair], a: Sequence[Session], b: Sequence[Session]
) -> list[PairGroup]:
    """Return pairs of sessions as groups of a single turn each: all blocks of a session.

    Args:
        pairs: which session of the one belongs to which of the other.
        a: the sessions of case A.
        b: those of case B.

    Raises:
        IndexError: there is no such session.
    """
    groups = []
    for pair in pairs:
        one, other = a[pair.a], b[pair.b]
        before = (pair.at_a, one.created) < (pair.at_b, other.created)
        sizes = (max(1, len(side.steady)) for side in (one, other))
        groups.append(PairGroup(1 if before else -1, one.steady, other.steady, *sizes))
    return groups


def clock_of(groups: Sequence[PairGroup], threads: int) -> ClockChoice:
    """Say which clock decides between cases, by what is known of their samples."""
    sides = [side for group in groups for side in (group.a, group.b)]
    return choose_clock(threads, cpu_complete=all(map(cpu_times_complete, sides)))


def cpu_times_complete(samples: Samples) -> bool:
    """Say whether every sample has a CPU time."""
    return len(samples.cpu_ns) == len(samples.wall_ns) and all(t > 0 for t in samples.cpu_ns)


def choose_clock(threads: int, *, cpu_complete: bool = True) -> ClockChoice:
    """Say which clock decides, and why.

    Args:
        threads: inference threads.
        cpu_complete: whether the CPU times are there and hold all of the work.
    """
    if not cpu_complete:
        return ClockChoice("wall", "the CPU times do not hold all of the work")
    if threads == 1:
        return ClockChoice(
            "cpu", "with one thread CPU time holds all of the work and is disturbed least"
        )
    return ClockChoice(
        "wall", f"with {threads} threads the CPU time of one thread is only a part of the work"
    )


def ratio(groups: Sequence[PairGroup], clock: Clock, *, level: float = 0.95) -> RatioEstimate:
    """Estimate the time of case B divided by the time of case A.

    The session that was created first tends to be slower, so the order is a covariate of the
    group means. From four groups in both orders on, the interval rests on the spread between
    groups; with fewer, on the pooled standard errors within them. Groups of a single turn are pairs
    of sessions in processes of their own (see `of_sessions`): there the effect of the order may
    also change with the rounds.

    Args:
        groups: pairs of single inferences; each group is one process with sessions made anew.
        clock: which times to compare.
        level: confidence of the interval, between 0 and 1.

    Raises:
        ValueError: there are no pairs, a group's lists differ in length, a time is zero, or there
            are too few pairs to tell how much they vary.
    """
    import numpy as np

    logs = [_log_ratios(group, clock) for group in groups]
    if not logs:
        raise ValueError("no groups: a ratio needs at least one pair of inferences")
    trimmed = [_yuen(values) for values in logs]
    means = np.array([t.mean for t in trimmed])
    order = np.array([float(group.first_created) for group in groups])
    weights = _intercept_weights(order)
    between = len(groups) >= _MIN_GROUPS and len(set(order)) > 1
    estimate = float(weights @ means)
    if between and len(groups) >= _MIN_TREND and all(len(values) == 1 for values in logs):
        estimate, error, df = _with_trend(means, order)
    elif between:
        error, df = _error_between(means, order, weights)
    else:
        error, df = _error_within(trimmed, weights)
    half = t_quantile((1 + level) / 2, df) * error
    return RatioEstimate(
        ratio=math.exp(estimate),
        low=math.exp(estimate - half),
        high=math.exp(estimate + half),
        level=level,
        groups=len(groups),
        pairs=sum(map(len, logs)),
        clock=clock,
        detectable=math.expm1(half + t_quantile(_POWER, df) * error),
        between_groups=between,
    )


@dataclasses.dataclass(frozen=True)
class _Trimmed:
    mean: float
    error: float | None
    df: int


def _log_ratios(group: PairGroup, clock: Clock) -> NDArray[np.float64]:
    import numpy as np

    a, b = _turns(group.a, group.block_a, clock), _turns(group.b, group.block_b, clock)
    if len(a) != len(b):
        raise ValueError("the two lists of a group of pairs differ in length")
    if not len(a):
        raise ValueError("a group holds no pairs")
    if min(a.min(), b.min()) <= 0:
        raise ValueError(f"a {clock} time is zero, so there is no ratio")
    logs: NDArray[np.float64] = np.log(b) - np.log(a)
    return logs


def _turns(samples: Samples, block: int, clock: Clock) -> NDArray[np.float64]:
    """Return the median time of each turn."""
    import numpy as np

    times = np.asarray(samples.wall_ns if clock == "wall" else samples.cpu_ns, dtype=float)
    if len(times) != len(samples) or len(times) % block:
        raise ValueError("the two lists of a group of pairs differ in length")
    if block == 1:
        return times
    medians: NDArray[np.float64] = np.median(times.reshape(-1, block), axis=1)
    return medians


def _yuen(values: NDArray[np.float64]) -> _Trimmed:
    """Trimmed mean and its standard error from the winsorised variance."""
    import numpy as np

    n = len(values)
    cut = int(_TRIM * n)
    ordered = np.sort(values)
    mean = float(ordered[cut : n - cut].mean())
    if n < 2:
        return _Trimmed(mean, None, 0)
    winsorised = np.clip(ordered, ordered[cut], ordered[n - cut - 1])
    kept = n - 2 * cut
    # Yuen's standard error with h = n - 2g kept values: sqrt((n-1) s_w^2 / (h (h-1))).
    error = math.sqrt((n - 1) * float(winsorised.var(ddof=1)) / (kept * (kept - 1)))
    return _Trimmed(mean, error, kept - 1)


def _intercept_weights(order: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the group means whose sum is the least-squares intercept.

    With a covariate of ±1 that is the mean of the two orders' means.
    """
    import numpy as np

    first, last = order > 0, order <= 0
    if not (first.any() and last.any()):
        return np.full(len(order), 1 / len(order))
    weights: NDArray[np.float64] = np.where(first, 0.5 / first.sum(), 0.5 / last.sum())
    return weights


def _error_between(
    means: NDArray[np.float64], order: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float]:
    fitted = means.copy()
    for side in (order > 0, order <= 0):
        fitted[side] = means[side].mean()
    df = float(len(means) - 2)
    variance = float(((means - fitted) ** 2).sum()) / df
    return math.sqrt(variance * float((weights**2).sum())), df


def _with_trend(
    means: NDArray[np.float64], order: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Estimate by least squares when what comes first counts for less and less, or more.

    Between sessions of different processes seconds pass, in which a machine that gets warm slows
    down: what that does to the second of a pair fades with the rounds.
    """
    import numpy as np

    count = len(means)
    fading = order * (np.arange(count) - (count - 1) / 2)
    design = np.stack([np.ones(count), order, fading], axis=1)
    inverse = np.linalg.pinv(design.T @ design)
    found = inverse @ design.T @ means
    df = float(count - design.shape[1])
    variance = float(((means - design @ found) ** 2).sum()) / df
    return float(found[0]), math.sqrt(variance * float(inverse[0, 0])), df


def _error_within(trimmed: Sequence[_Trimmed], weights: NDArray[np.float64]) -> tuple[float, float]:
    """Pooled standard error with Welch's degrees of freedom."""
    parts: list[tuple[float, int]] = []
    for weight, group in zip(weights, trimmed, strict=True):
        if group.error is None:
            raise ValueError("a group holds a single pair, too few to tell how much pairs vary")
        parts.append(((float(weight) * group.error) ** 2, group.df))
    variance = math.fsum(v for v, _ in parts)
    spread = math.fsum(v**2 / df for v, df in parts)
    df = variance**2 / spread if spread else float(sum(df for _, df in parts))
    return math.sqrt(variance), df
