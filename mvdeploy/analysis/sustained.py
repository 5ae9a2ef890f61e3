"""What load that does not end shows: the steady latency, when it changed, and what else did then.

An interval is one observation. Inferences within it resemble each other, so that tests on single
ones would find changes everywhere (see `mvdeploy.stats.changes`).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from mvdeploy.analysis.cases import CaseView
from mvdeploy.records import Interval, Moment, Plan, Reading, Sustained
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

_LEAST_CLOCK = 0.03
"""Relative change of a clock that is told."""

_LEAST_SHARE = 0.1
"""Change of a share, or of cores that compute or are waited for, that is told."""

HEAT = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Thermal statuses in rising order, as Android calls them."""

Cause = Literal["heat", "clock", "load", "both", "none", "unknown"]


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
class Evidence:
    """A reading that was another before a change than after it.

    Attributes:
        name: what, in words.
        before: in words, with its unit; empty for nothing.
        after: likewise.
        of: which cause it speaks for.
        slower: whether it speaks for longer times, or for shorter ones.
    """

    name: str
    before: str
    after: str
    of: Literal["heat", "clock", "load"]
    slower: bool


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
    known = one_thread and all(i.cpu_ns for i in (*before, *after))
    evidence = [*_of_times(before, after)] if known else []
    windows: Windows = (_within(moments, before), _within(moments, after))
    for name in ("cpu_khz", "cpu_max_khz", "thermal_status", *_RATES):
        known = known or any(_told(m, name) for window in windows for m in window)
    evidence += _of_readings(windows, cores)
    evidence = [one for one in evidence if one.slower is slower]
    return Shift(
        at_s=after[0].start_s,
        within_s=after[0].start_s - before[-1].start_s,
        median=median,
        mean=mean,
        probability=probability,
        cause=_cause(evidence, known=known),
        evidence=tuple(evidence),
    )


def _within(moments: Sequence[Moment], side: Sequence[Interval]) -> Sequence[Moment]:
    return [m for m in moments if side[0].start_s <= m.at_s <= side[-1].stop_s]


def _cause(evidence: Sequence[Evidence], *, known: bool) -> Cause:
    kinds = {one.of for one in evidence}
    if "load" in kinds:
        return "both" if kinds & {"heat", "clock"} else "load"
    if "heat" in kinds:
        return "heat"
    if "clock" in kinds:
        return "clock"
    return "none" if known else "unknown"


def _of_times(before: Sequence[Interval], after: Sequence[Interval]) -> Iterator[Evidence]:
    """Say whether the thread that computes was kept from its core more, or less, than before.

    With several threads the others' CPU time is not known.
    """
    shares = [sum(i.cpu_ns for i in s) / sum(i.wall_ns for i in s) for s in (before, after)]
    if abs(shares[1] - shares[0]) >= _LEAST_SHARE:
        a, b = (f"{100 * max(0.0, 1 - share):.0f} %" for share in shares)
        name = "share of an inference in which its thread did not compute"
        yield Evidence(name, a, b, "load", slower=shares[1] < shares[0])


_RATES = {
    "run_delay_ns": ("tasks that waited for a core, mean", 1e9),
    "psi_cpu_some_us": ("share of time in which some task waited for a core", 1e6),
    "cpu_quota_held_us": ("share of time in which its limit of CPU time held it", 1e6),
}
"""Counters that tell of load: what their rise in a second says, and what it is divided by."""

Windows = tuple[Sequence[Moment], Sequence[Moment]]
Values = Callable[[Sequence[Moment]], Iterable[float | None]]


def _of_readings(windows: Windows, cores: Sequence[int]) -> Iterator[Evidence]:
    """Give the readings that differ between the time before a change and that after it."""
    clocks: tuple[tuple[str, str, Literal["heat", "clock"]], ...] = (
        ("cpu_max_khz", "highest clock that was allowed", "heat"),
        ("cpu_khz", "clock", "clock"),
    )
    for name, words, of in clocks:
        a, b = _both(windows, functools.partial(_clocks, name=name, cores=cores))
        if a and abs(b / a - 1) >= _LEAST_CLOCK:
            yield Evidence(words, f"{a / 1e3:.0f} MHz", f"{b / 1e3:.0f} MHz", of, slower=b < a)
    a, b = _both(windows, lambda window: map(_rank, window))
    if round(a) != round(b):
        yield Evidence("thermal status", HEAT[round(a)], HEAT[round(b)], "heat", slower=b > a)
    for name, (words, unit) in _RATES.items():
        rates = _both(windows, functools.partial(_rates, name=name))
        a, b = (rate / unit for rate in rates)
        if abs(b - a) >= _LEAST_SHARE:
            yield Evidence(words, f"{a:.2f}", f"{b:.2f}", "load", slower=b > a)
    a, b = _both(windows, _busy)
    if abs(b - a) >= _LEAST_SHARE:
        name = "share of all cores' time that was used"
        yield Evidence(name, f"{100 * a:.0f} %", f"{100 * b:.0f} %", "load", slower=b > a)


def _both(windows: Windows, values: Values) -> tuple[float, float]:
    """Return the median of a reading before and after; zeros where it is not known both times."""
    a, b = (_middle([*values(window)]) for window in windows)
    return (0.0, 0.0) if a is None or b is None else (a, b)


def _clocks(window: Sequence[Moment], name: str, cores: Sequence[int]) -> Iterator[float | None]:
    return (clock_khz(moment, name, cores) for moment in window)


def temperatures(moment: Moment) -> dict[str, float]:
    """Return what the sensors of a device told, °C by name."""
    found: dict[str, float] = {}
    for name in ("skin_c", "battery_c"):
        value = moment.state.readings.get(name)
        if isinstance(value, int | float):
            found[name.removesuffix("_c")] = float(value)
    value = moment.state.readings.get("temperatures_c")
    for text in value if isinstance(value, tuple) else ():
        sensor, _, degrees = text.rpartition("=")
        try:
            found[sensor] = float(degrees)
        except ValueError:
            continue
    return {name: degrees for name, degrees in found.items() if math.isfinite(degrees)}


def hottest_c(moment: Moment) -> float | None:
    """Return what the hottest sensor told, °C; that of the skin where there is one."""
    found = temperatures(moment)
    return found.get("skin", max(found.values(), default=None))


def clock_khz(moment: Moment, name: str, cores: Sequence[int]) -> float | None:
    """Return the mean clock of some cores, or of all when there are none, kHz; None if unknown."""
    value = moment.state.readings.get(name)
    if not isinstance(value, tuple):
        return None
    clocks = [float(text) for text in value if text.isdecimal()]
    own = [clocks[core] for core in cores if core < len(clocks)] or clocks
    return sum(own) / len(own) if own else None


def _rank(moment: Moment) -> float | None:
    status = moment.state.readings.get("thermal_status")
    return float(HEAT.index(status)) if status in HEAT and isinstance(status, str) else None


def _told(moment: Moment, name: str) -> bool:
    value = moment.state.readings.get(name)
    return isinstance(value, int | float | tuple) or (name == "thermal_status" and value in HEAT)


def _counter(value: Reading | None) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _rises(window: Sequence[Moment], name: str) -> Iterator[tuple[float, float]]:
    """Give seconds and the rise of a counter between every two readings."""
    for a, b in itertools.pairwise(window):
        counts = [_counter(m.state.readings.get(name)) for m in (a, b)]
        if counts[0] is not None and counts[1] is not None and b.at_s > a.at_s:
            yield b.at_s - a.at_s, counts[1] - counts[0]


def _rates(window: Sequence[Moment], name: str) -> Iterator[float]:
    return (rise / seconds for seconds, rise in _rises(window, name) if rise >= 0)


def _busy(window: Sequence[Moment]) -> Iterator[float]:
    """Give the share of all cores' time that was used, between every two readings."""
    idle, total = ([*_rises(window, f"{kind}_ticks")] for kind in ("idle", "total"))
    if len(idle) != len(total):
        return
    for (_, idled), (_, passed) in zip(idle, total, strict=True):
        if passed > 0:
            yield min(1.0, max(0.0, 1 - idled / passed))


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
