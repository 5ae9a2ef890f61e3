"""The verdict on a result: can this number be relied on?

A signal is one sign of trouble with its limits: below the first it is fine, up to the second it
is doubtful, and above that the number is not reliable. The gravest signal is the verdict. What the
device or the runner does not tell is no good sign either: such a signal is kept as unchecked.
"""

from __future__ import annotations

import dataclasses
import enum
import statistics
from collections.abc import Iterable, Sequence

from mvdeploy.records import UNAVAILABLE, DeviceState, Measurement, Plan, Reading, Samples
from mvdeploy.stats.interval import median_interval
from mvdeploy.stats.paired import TARGETS, RatioEstimate, cpu_times_complete

Values = dict[str, str | int | float]


class Grade(enum.StrEnum):
    """How far a number can be relied on; the graver grade is the greater one."""

    RELIABLE = "reliable"
    DOUBTFUL = "doubtful"
    UNRELIABLE = "unreliable"

    @property
    def severity(self) -> int:
        """0 for reliable; greater is graver."""
        return list(Grade).index(self)

    # A string would order them by the alphabet, where reliable is graver than doubtful.
    def __lt__(self, other: str) -> bool:
        return self.severity < Grade(other).severity

    def __le__(self, other: str) -> bool:
        return self.severity <= Grade(other).severity

    def __gt__(self, other: str) -> bool:
        return self.severity > Grade(other).severity

    def __ge__(self, other: str) -> bool:
        return self.severity >= Grade(other).severity


@dataclasses.dataclass(frozen=True)
class Limits:
    """Where a signal's grades meet.

    Attributes:
        warn: doubtful from here on; None when there is nothing between fine and unreliable.
        bad: unreliable above this.
    """

    warn: float | None
    bad: float

    def grade(self, value: float) -> Grade:
        """Return the grade of a value."""
        if value > self.bad:
            return Grade.UNRELIABLE
        if self.warn is not None and value >= self.warn:
            return Grade.DOUBTFUL
        return Grade.RELIABLE


LIMITS = {
    "preempted": Limits(1.10, 1.30),
    "preempted_samples": Limits(0.30, 0.50),
    "drift": Limits(0.02, 0.05),
    "steal": Limits(0.005, 0.02),
    "anchor": Limits(0.02, 0.05),
    "throttled": Limits(None, 0),
}
"""Limits of every signal that does not depend on the plan. Shares, but for ``preempted`` (a ratio)
and ``throttled`` (a number of readings)."""


@dataclasses.dataclass(frozen=True)
class Signal:
    """One sign of trouble.

    Attributes:
        code: of the finding about it.
        value: what the limits apply to; None when there is none.
        warn: see `Limits`; both are None for a signal that has no limits.
        bad: see `Limits`.
        grade: reliable as long as it could not be read.
        checked: whether it could be read.
        values: the figures in the sentence of the finding; percentages where it says so.
    """

    code: str
    value: float | None
    warn: float | None
    bad: float | None
    grade: Grade
    checked: bool = True
    values: Values = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a number can be relied on, and why not.

    Attributes:
        grade: the gravest of the signals.
        signals: every sign that was looked for.
    """

    grade: Grade
    signals: tuple[Signal, ...]

    @property
    def reasons(self) -> tuple[Signal, ...]:
        """The signals that are not reliable."""
        return tuple(s for s in self.signals if s.grade is not Grade.RELIABLE)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Codes of the signals that could not be read."""
        return tuple(s.code for s in self.signals if not s.checked)


def judge(measurement: Measurement, plan: Plan) -> Verdict:
    """Judge the latency of one case.

    Args:
        measurement: with samples of the case alone.
        plan: with the number of threads and the target of the interval.

    Raises:
        ValueError: there are no such samples, as for a case that only took turns; what can be
            judged of it is a ratio.
    """
    if not len(measurement.steady):
        raise ValueError("no samples of the case alone: there is no latency to judge")
    return _verdict(
        _preempted(measurement, plan),
        _preempted_samples(measurement, plan),
        _drift("drift", [t for s in measurement.sessions for t in s.steady.wall_ns], parts=2),
        _steal(measurement.before.readings, measurement.after.readings),
        _anchor(measurement),
        _throttled(measurement.before.readings, measurement.after.readings),
        _interval(measurement, plan.target),
    )


def judge_comparison(estimate: RatioEstimate, target: float | None = None) -> Verdict:
    """Judge the ratio of two cases that took turns.

    Args:
        estimate: the ratio by the clock that decides.
        target: half width of the interval that was to be reached, as a share of the ratio
            (``Plan.pair_target``); None for what that clock can give.
    """
    target = TARGETS[estimate.clock] if target is None else target
    half = estimate.half_width
    width = _graded(
        "wide_ratio", half, Limits(None, target), {"percent": 100 * half, "target": 100 * target}
    )
    grade = Grade.RELIABLE if estimate.between_groups else Grade.UNRELIABLE
    groups: Values = {"groups": estimate.groups}
    return _verdict(width, Signal("few_groups", estimate.groups, None, None, grade, values=groups))


def _verdict(*signals: Signal | None) -> Verdict:
    judged = tuple(signal for signal in signals if signal is not None)
    return Verdict(max(signal.grade for signal in judged), judged)


def _graded(code: str, value: float, limits: Limits, values: Values) -> Signal:
    return Signal(code, value, limits.warn, limits.bad, limits.grade(value), values=values)


def _percentage(code: str, share: float) -> Signal:
    """Grade a share; a change may be negative, and counts by its size."""
    limits = LIMITS[code]
    return _graded(code, abs(share), limits, {"percent": 100 * share, **_stated(limits, 100)})


def _stated(limits: Limits, factor: float) -> Values:
    if limits.warn is None:
        return {"bad_above": factor * limits.bad}
    return {"fine_below": factor * limits.warn, "bad_above": factor * limits.bad}


def _unchecked(code: str) -> Signal:
    limits = LIMITS[code]
    return Signal(code, None, limits.warn, limits.bad, Grade.RELIABLE, checked=False)


# Other programs.

MORE_THREADS, _QUOTA = "more_threads_than_cores", "cpu_quota"
"""Codes of what is no other program's fault."""

NONE_FREE = "more_threads_than_free_cores"
"""Code of threads that others leave too few cores for."""

_ROUNDING = 0.5
"""A core that is busy for less than this share of the time counts as free."""

_WAITING = 0.1
"""Share of the threads that wait for a core on average, from which on cores are lacking."""

_HELD = 0.1
"""Time for which a quota held the run, as a share of it, from which on that is the cause."""

_WORST_INFLATION = 100.0
"""Stands for a measurement in which, by its counters, the threads did nothing but wait."""


def _preempted(measurement: Measurement, plan: Plan) -> Signal:
    code, limits = "preempted", LIMITS["preempted"]
    if _cpu_holds_the_work(measurement, plan):
        steady = measurement.steady
        ratio, basis = sum(steady.wall_ns) / sum(steady.cpu_ns), "wall and CPU times"
    else:
        waited = _inflation_by_waiting(measurement, threads_of(measurement, plan))
        if waited is None:
            return _unchecked(code)
        ratio, basis = waited, "the time that threads waited for a core"
    values: Values = {"ratio": ratio, "basis": basis, **_stated(limits, 1)}
    if threads := more_threads_than_cores(measurement):
        return _graded(MORE_THREADS, ratio, limits, {**threads, **values})
    if quota := _held_by_quota(measurement):
        return _graded(_QUOTA, ratio, limits, {**quota, **values})
    if crowded := more_threads_than_free_cores(measurement):
        return _graded(NONE_FREE, ratio, limits, {**crowded, **values})
    return _graded(code, ratio, limits, {**values, **_busiest(measurement)})


def cpu_is_partial(measurement: Measurement) -> bool:
    """Say whether it was found that CPU times do not hold all of the work."""
    codes = {finding.code for finding in measurement.findings}
    return not codes.isdisjoint(("cpu_time_partial", "cpu_time_elsewhere"))


def threads_of(measurement: Measurement | None, plan: Plan) -> int:
    """Return how many threads a case was measured with; they differ only where a plan says so."""
    told = measurement.conditions.get("threads") if measurement is not None else None
    return told if plan.sweep and isinstance(told, int) else plan.threads


def more_threads_than_cores(measurement: Measurement) -> Values:
    """Return the numbers of threads and cores when there are more threads; else nothing."""
    threads = measurement.conditions.get("threads", UNAVAILABLE)
    cores = measurement.conditions.get("cores", UNAVAILABLE)
    if isinstance(threads, int) and isinstance(cores, tuple) and 0 < len(cores) < threads:
        return {"threads": threads, "cores": len(cores)}
    return {}


def more_threads_than_free_cores(measurement: Measurement) -> Values:
    """Return the numbers of threads, cores and free cores when several threads lack free ones.

    What others leave is seen before and after the run, when the engine does not compute itself,
    and by how long its threads waited for a core; the scarcest counts.
    """
    threads = measurement.conditions.get("threads", UNAVAILABLE)
    cores = measurement.conditions.get("cores", UNAVAILABLE)
    if not isinstance(threads, int) or threads < 2 or not isinstance(cores, tuple):
        return {}
    left: list[float] = []
    for state in (measurement.before, measurement.after):
        busy, quota = (
            _number(state.readings.get(name, UNAVAILABLE))
            for name in ("busy_cores", "cpu_quota_cores")
        )
        left += [len(cores) - busy] if busy is not None else []
        left += [quota] if quota is not None else []
    waited = _waiting_threads(measurement)
    left += [threads - waited] if waited is not None and waited >= _WAITING * threads else []
    if not left or min(left) + _ROUNDING >= threads:
        return {}
    return {"threads": threads, "cores": len(cores), "free": round(max(0.0, min(left)), 1)}


def _waiting_threads(measurement: Measurement) -> float | None:
    """Return how many threads waited for a core at a time, on average; None where no one tells."""
    measured = sum(session.measured_ns for session in measurement.sessions)
    delays = [_number(s.usage.get("run_delay_ns", UNAVAILABLE)) for s in measurement.sessions]
    told = [delay for delay in delays if delay is not None]
    return sum(told) / measured if measured > 0 and len(told) == len(delays) else None


def _held_by_quota(measurement: Measurement) -> Values:
    """Return the quota of CPU time and how it held the run; nothing when it hardly did."""
    before, after = measurement.before.readings, measurement.after.readings
    quota, held_us = after.get("cpu_quota_cores"), _rise("cpu_quota_held_us", before, after)
    measured_ns = sum(session.measured_ns for session in measurement.sessions)
    if isinstance(quota, int | float) and held_us and 1000 * held_us > _HELD * measured_ns:
        return {"cores": quota, "how": _stops(before, after) or f"for {held_us / 1e6:.3g} s"}
    return {}


def _stops(before: dict[str, Reading], after: dict[str, Reading]) -> str:
    """Say in how many of its periods a quota stopped the run; empty where that is not known."""
    stopped, periods = (
        _rise(f"cpu_quota_{name}", before, after) for name in ("stopped", "periods")
    )
    known = stopped is not None and periods is not None and 0 < stopped <= periods
    return f"in {stopped:.0f} of {periods:.0f} periods" if known else ""


def _cpu_holds_the_work(measurement: Measurement, plan: Plan) -> bool:
    whole = not cpu_is_partial(measurement) and cpu_times_complete(measurement.steady)
    return whole and threads_of(measurement, plan) == 1


def _inflation_by_waiting(measurement: Measurement, threads: int) -> float | None:
    """Return how many times longer it took than it would have, had no thread waited for a core."""
    measured, delay = 0, 0.0
    for session in measurement.sessions:
        waited = _number(session.usage.get("run_delay_ns", UNAVAILABLE))
        if waited is None or session.measured_ns <= 0:
            return None
        measured += session.measured_ns
        delay += waited
    undisturbed = measured - delay / threads
    if undisturbed * _WORST_INFLATION <= measured:
        return _WORST_INFLATION
    return measured / undisturbed


_SHORT_NS = 10_000_000
_LOST_NS = 100_000
_LOST_SHARE = 0.02


def _preempted_samples(measurement: Measurement, plan: Plan) -> Signal | None:
    """Judge the share of inferences that lost the core.

    It tells of inferences that are shorter than the scheduler's time slices: of those, a busy core
    hits some and leaves others alone. Longer ones are all hit, which is no worse than the sum says.
    """
    code, steady = "preempted_samples", measurement.steady
    if threads_of(measurement, plan) != 1 or statistics.median(steady.wall_ns) > _SHORT_NS:
        return None
    if not _cpu_holds_the_work(measurement, plan):
        return _unchecked(code)
    if _held_by_quota(measurement):
        return None  # the sum says all of it
    # An interrupt takes microseconds (undisturbed inferences of 5 ms had a 99th percentile of
    # 0.013 ms between wall and CPU time and a maximum of 0.034 ms), a time slice of another
    # program a millisecond and more. The share keeps out what long inferences gather in between.
    least = max(_LOST_NS, _LOST_SHARE * statistics.median(steady.cpu_ns))
    lost = sum(w - c > least for w, c in zip(steady.wall_ns, steady.cpu_ns, strict=True))
    signal = _percentage(code, lost / len(steady))
    return dataclasses.replace(signal, values={**signal.values, **_busiest(measurement)})


_BUSY_SHARE = 0.1


def _busiest(measurement: Measurement) -> Values:
    """Return the other process that computed most, if it is enough to disturb."""
    backgrounds = map(_background, (measurement.before, measurement.after))
    share, process = max(backgrounds, key=lambda pair: pair[0])
    return {"process": process, "share": share} if share > _BUSY_SHARE else {}


def _background(state: DeviceState) -> tuple[float, str]:
    share = _number(state.readings.get("background_cpu_share", UNAVAILABLE))
    process = state.readings.get("background_process", UNAVAILABLE)
    return (0.0 if share is None else float(share)), str(process)


# The machine.

_CHANGE_NEEDS = 20
"""Samples from which on a change of the median means something."""


def _drift(code: str, times: Sequence[int], parts: int) -> Signal:
    """Judge how the median changed from the first to the last of some equal parts."""
    if len(times) < _CHANGE_NEEDS:
        return _unchecked(code)
    length = len(times) // parts
    first, last = statistics.median(times[:length]), statistics.median(times[-length:])
    # Not last / first - 1, which would round a change of exactly the limit to either side of it.
    return _percentage(code, (last - first) / first) if first > 0 else _unchecked(code)


def _anchor(measurement: Measurement) -> Signal | None:
    times = [t for session in measurement.sessions for t in session.anchor.wall_ns]
    return _drift("anchor", times, parts=4) if times else None


def _steal(before: dict[str, Reading], after: dict[str, Reading]) -> Signal:
    stolen = _rise("steal_ticks", before, after)
    total = _rise("total_ticks", before, after)
    if stolen is None or total is None or stolen < 0 or total <= 0:
        return _unchecked("steal")
    return _percentage("steal", stolen / total)


_FIXED = ("cpu_max_khz", "governor", "boost", "thermal_status", "scheduling_groups")
"""Readings that are the same after as before when nothing throttled the device. The momentary
clock is none of them: it follows the load."""


def _throttled(before: dict[str, Reading], after: dict[str, Reading]) -> Signal:
    pairs = [(name, before.get(name, UNAVAILABLE), after.get(name, UNAVAILABLE)) for name in _FIXED]
    readable = [pair for pair in pairs if UNAVAILABLE not in pair[1:]]
    if not readable:
        return _unchecked("throttled")
    changes = [_change(*pair) for pair in readable if pair[1] != pair[2]]
    limits = LIMITS["throttled"]
    return _graded("throttled", len(changes), limits, {"changes": "; ".join(changes)})


def _change(name: str, old: Reading, new: Reading) -> str:
    texts = _listed(old), _listed(new)
    if texts[0] == texts[1]:  # cores have exchanged their values
        texts = _listed(old, each=True), _listed(new, each=True)
    return f"{name} from {texts[0]} to {texts[1]}"


def _listed(value: Reading, *, each: bool = False) -> str:
    """Return a reading in words; the same value of several cores once."""
    parts: Iterable[str] = value if isinstance(value, tuple) else (str(value),)
    return ", ".join(parts if each else dict.fromkeys(parts))


def _rise(name: str, before: dict[str, Reading], after: dict[str, Reading]) -> float | None:
    old, new = _number(before.get(name, UNAVAILABLE)), _number(after.get(name, UNAVAILABLE))
    return None if old is None or new is None else new - old


def _number(value: Reading) -> int | float | None:
    return value if isinstance(value, int | float) else None


# The samples.


def _interval(measurement: Measurement, target: float) -> Signal:
    sessions: list[Samples] = [session.steady for session in measurement.sessions]
    interval = median_interval([samples.wall_ns for samples in sessions])
    if interval is None:
        values: Values = {"count": len(measurement.steady), "target": 100 * target}
        return Signal("no_interval", None, None, target, Grade.UNRELIABLE, values=values)
    half = interval.half_width_relative
    values = {"percent": 100 * half, "target": 100 * target}
    return _graded("wide_interval", half, Limits(None, target), values)
