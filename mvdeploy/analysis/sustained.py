"""What load that does not end shows: the steady latency, and when it changed.

An interval is one observation. Inferences within it resemble each other, so that tests on single
ones would find changes everywhere (see `mvdeploy.stats.changes`).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Sequence

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.coincidence import Cause, Evidence, coincident
from mvdeploy.records import Interval, Moment, Plan, Sustained
from mvdeploy.stats import changes, sketch
from mvdeploy.stats.interval import t_quantile
from mvdeploy.stats.unpaired import UnpairedEstimate, ratio_of_values

LEAST_SHIFT = 0.05
"""Relative change of a latency that is called one at least."""

LEAST_INTERVALS = changes.LEAST_RUNS
"""Intervals without which no change can be told from noise."""

FIRST_S = 60.0
"""Seconds that the steady latency is held against: the first minute, or a third of a short run."""

_TOGETHER = 2
"""Changes of several numbers within so many intervals are one."""

_RUSHED = 0.5
"""An interval shorter than this share of the others is not looked at: it was cut off."""

_DETECTED = 6.0
"""Standard errors by which a change half-way has to exceed none to be found in most runs: in 43 of
60 simulated series of 12 intervals, in 52 of 60 of 18, and in 58 of 60 of 60."""

_DRIFT_ALPHA, _LEAST_DRIFT, _LEAST_DRIFTING = 0.01, 0.03, 8
"""Level of the test for drift, the relative drift that is told at least, and the intervals."""


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Intervals put together.

    Attributes:
        start_s: on the axis.
        stop_s: likewise.
        intervals: how many.
        count: inferences.
        p50_ns: of all of them; as are the others, from the sketches.
        p90_ns: likewise.
        p99_ns: likewise.
        low_ns: the median's interval, from the intervals' medians; None with fewer than two.
        high_ns: likewise.
        mean_ns: of an inference.
    """

    start_s: float
    stop_s: float
    intervals: int
    count: int
    p50_ns: float
    p90_ns: float
    p99_ns: float
    low_ns: float | None
    high_ns: float | None
    mean_ns: float

    @property
    def half_width(self) -> float | None:
        """Half the width of the median's interval, as a share of it."""
        if self.low_ns is None or self.high_ns is None:
            return None
        return (self.high_ns - self.low_ns) / (2 * self.p50_ns)

    @property
    def per_s(self) -> float:
        """Inferences in a second of inference."""
        return 1e9 / self.mean_ns


@dataclasses.dataclass(frozen=True)
class Shift:
    """A change of the level.

    Attributes:
        at_s: when the first interval after it began.
        within_s: it may have been so much earlier.
        median: p50 after, divided by that before.
        mean: the same of the mean of an inference.
        probability: of so large a change in random order; that of the surer of the two numbers.
        cause: what other readings speak for; ``none`` when none of them changed, ``unknown`` when
            the device tells of none.
        evidence: those that changed.
    """

    at_s: float
    within_s: float
    median: float
    mean: float
    probability: float
    cause: Cause
    evidence: tuple[Evidence, ...]

    @property
    def slower(self) -> bool:
        """Whether inferences take longer after it, by whichever number changed more."""
        return self.factor > 1

    @property
    def factor(self) -> float:
        """Of the number that changed more."""
        return max(self.median, self.mean, key=lambda ratio: abs(math.log(ratio)))


@dataclasses.dataclass(frozen=True)
class SustainedView:
    """One case under load that does not end.

    Attributes:
        case: the case.
        record: what was seen.
        intervals: those that are looked at.
        whole: all of them.
        first: the first minute, or less of a short run.
        steady: what came after the last change.
        factor: steady median divided by that of the first minute; None with too few intervals.
        shifts: in order.
        drift: relative change of the median from the beginning to the end of `steady`, where that
            is more than chance; None otherwise.
    """

    case: CaseView
    record: Sustained
    intervals: tuple[Interval, ...]
    whole: Stretch
    first: Stretch
    steady: Stretch
    factor: UnpairedEstimate | None
    shifts: tuple[Shift, ...]
    drift: float | None

    @property
    def enough(self) -> bool:
        """Whether there are intervals enough to tell a change from noise."""
        return len(self.intervals) >= LEAST_INTERVALS

    @property
    def detectable(self) -> float:
        """The relative change of the median half-way that would most likely have been found."""
        logs = [math.log(max(interval.p50_ns, 1.0)) for interval in self.intervals]
        spread = statistics.stdev(logs) if len(logs) > 1 else math.inf
        return max(LEAST_SHIFT, math.expm1(_DETECTED * spread * 2 / math.sqrt(len(logs))))

    @property
    def settled(self) -> bool:
        """Whether the last level is one: its median is known well enough, and stays."""
        half = self.steady.half_width
        return self.drift is None and half is not None and half <= LEAST_SHIFT

    @property
    def slows(self) -> Shift | None:
        """The first change to longer times."""
        return next((shift for shift in self.shifts if shift.slower), None)


@dataclasses.dataclass(frozen=True)
class Order:
    """In which order cases are, the fastest first, at the beginning and in the end.

    Attributes:
        first: in the first minute.
        steady: in the steady part.
        swapped: pairs whose order is another in the end: the one that was faster first.
        sure: those of them that are apart by more than the spread of intervals both times.
    """

    first: tuple[CaseView, ...]
    steady: tuple[CaseView, ...]
    swapped: tuple[tuple[CaseView, CaseView], ...]
    sure: tuple[tuple[CaseView, CaseView], ...]


def sustained_views(cases: Sequence[CaseView], plan: Plan) -> tuple[SustainedView, ...]:
    """Derive what is shown of the cases that ran without a pause.

    Args:
        cases: of a run.
        plan: with the number of threads and the cores.
    """
    found = [(case, case.case.sustained) for case in cases]
    return tuple(
        sustained_view(case, record, plan) for case, record in found if record and record.intervals
    )


def sustained_view(case: CaseView, record: Sustained, plan: Plan) -> SustainedView:
    """Derive what is shown of a case that ran without a pause; it has one interval at least."""
    intervals = _of_length(record.intervals)
    threads = case.case.threads or plan.threads
    cuts = _cuts(intervals)
    edges = [0, *cuts, len(intervals)]
    shifts = tuple(
        _shift(intervals, part, probability, record.moments, plan.cores, one_thread=threads == 1)
        for part, probability in zip(
            zip(edges, edges[1:], edges[2:], strict=False), cuts.values(), strict=True
        )
    )
    first_s = min(FIRST_S, record.asked_s / 3)
    first = [i for i in intervals if i.start_s + i.length_s / 2 <= first_s] or intervals[:1]
    steady = intervals[edges[-2] :]
    return SustainedView(
        case=case,
        record=record,
        intervals=intervals,
        whole=stretch(intervals, record.accuracy),
        first=stretch(first, record.accuracy),
        steady=stretch(steady, record.accuracy),
        factor=_ratio(first, steady),
        shifts=shifts,
        drift=_drift(steady),
    )


def order(views: Sequence[SustainedView]) -> Order | None:
    """Say how the cases are ordered at first and in the end; None for fewer than two."""
    if len(views) < 2:
        return None
    first = sorted(views, key=lambda view: view.first.p50_ns)
    steady = sorted(views, key=lambda view: view.steady.p50_ns)
    place = {id(view): i for i, view in enumerate(steady)}
    swapped = [(a, b) for a, b in itertools.combinations(first, 2) if place[id(a)] > place[id(b)]]
    sure = [(a, b) for a, b in swapped if _apart(a.first, b.first) and _apart(b.steady, a.steady)]
    return Order(
        tuple(view.case for view in first),
        tuple(view.case for view in steady),
        tuple((a.case, b.case) for a, b in swapped),
        tuple((a.case, b.case) for a, b in sure),
    )


def _apart(faster: Stretch, slower: Stretch) -> bool:
    """Say whether the medians of two stretches are apart by more than their intervals."""
    ends = faster.high_ns, slower.low_ns
    return ends[0] is not None and ends[1] is not None and ends[0] < ends[1]


def stretch(intervals: Sequence[Interval], accuracy: float, level: float = 0.95) -> Stretch:
    """Put intervals together.

    Args:
        intervals: one at least.
        accuracy: of their sketches.
        level: confidence of the median's interval.
    """
    bins = sketch.merged(interval.bins for interval in intervals)
    p50, p90, p99 = sketch.quantiles(bins, (50, 90, 99), accuracy)
    low, high = None, None
    logs = [math.log(max(interval.p50_ns, 1.0)) for interval in intervals]
    if len(logs) > 1:
        error = statistics.stdev(logs) / math.sqrt(len(logs))
        half = t_quantile((1 + level) / 2, len(logs) - 1) * error
        low, high = p50 * math.exp(-half), p50 * math.exp(half)
    count = sum(interval.count for interval in intervals)
    return Stretch(
        start_s=intervals[0].start_s,
        stop_s=intervals[-1].stop_s,
        intervals=len(intervals),
        count=count,
        p50_ns=p50,
        p90_ns=p90,
        p99_ns=p99,
        low_ns=low,
        high_ns=high,
        mean_ns=sum(interval.wall_ns for interval in intervals) / count,
    )


def _of_length(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    usual = statistics.median(interval.length_s for interval in intervals)
    return tuple(i for i in intervals if i.length_s >= _RUSHED * usual) or tuple(intervals)


def _mean(interval: Interval) -> float:
    return interval.wall_ns / interval.count


def _cuts(intervals: Sequence[Interval]) -> dict[int, float]:
    """Return where the median or the mean changed: the first interval after, with a probability."""
    if min(interval.p50_ns for interval in intervals) <= 0:
        return {}
    series = ([i.p50_ns for i in intervals], [_mean(i) for i in intervals])
    # Either of the two may be wrong.
    found = [
        changes.find(values, alpha=changes.ALPHA / 2, least_shift=LEAST_SHIFT) for values in series
    ]
    cuts: dict[int, float] = {}
    for change in itertools.chain(*found):  # where the median changed is where it is placed
        near = next((at for at in cuts if abs(at - change.at) <= _TOGETHER), change.at)
        cuts[near] = min(cuts.get(near, 1.0), change.probability)
    return dict(sorted(cuts.items()))


def _ratio(first: Sequence[Interval], steady: Sequence[Interval]) -> UnpairedEstimate | None:
    try:
        return ratio_of_values([i.p50_ns for i in first], [i.p50_ns for i in steady])
    except ValueError:
        return None


def _drift(intervals: Sequence[Interval]) -> float | None:
    """Return by how much the median rises over a stretch, if it rises or falls by more than chance.

    The test is that of Mann and Kendall, the slope that of Theil and Sen.
    """
    n = len(intervals)
    if n < _LEAST_DRIFTING or min(i.p50_ns for i in intervals) <= 0:
        return None
    points = [(i.start_s + i.length_s / 2, math.log(i.p50_ns)) for i in intervals]
    pairs = list(itertools.combinations(points, 2))
    score = sum((y2 > y1) - (y2 < y1) for (_, y1), (_, y2) in pairs)
    z = max(0, abs(score) - 1) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    slope = statistics.median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs)
    change = math.expm1(slope * (points[-1][0] - points[0][0]))
    if math.erfc(z / math.sqrt(2)) > _DRIFT_ALPHA or abs(change) < _LEAST_DRIFT:
        return None
    return change


def _shift(
    intervals: Sequence[Interval],
    part: tuple[int, int, int],
    probability: float,
    moments: Sequence[Moment],
    cores: Sequence[int],
    *,
    one_thread: bool,
) -> Shift:
    start, at, stop = part
    before, after = intervals[start:at], intervals[at:stop]
    medians = [statistics.median(i.p50_ns for i in side) for side in (before, after)]
    means = [statistics.median(map(_mean, side)) for side in (before, after)]
    median, mean = medians[1] / medians[0], means[1] / means[0]
    slower = max(median, mean, key=lambda ratio: abs(math.log(ratio))) > 1
    cause, evidence = coincident(
        before, after, moments, cores, one_thread=one_thread, slower=slower
    )
    return Shift(
        at_s=after[0].start_s,
        within_s=after[0].start_s - before[-1].start_s,
        median=median,
        mean=mean,
        probability=probability,
        cause=cause,
        evidence=evidence,
    )
