"""What else changed when a latency did: readings of the device before that and after it.

What changed at the same time need not be the cause; it is told which cause it would speak for.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from mvdeploy.records import Interval, Moment, Reading

_LEAST_CLOCK = 0.03
"""Relative change of a clock that is told."""

_LEAST_SHARE = 0.1
"""Change of a share, or of cores that compute or are waited for, that is told."""

HEAT = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Thermal statuses in rising order, as Android calls them."""

Cause = Literal["heat", "clock", "load", "both", "none", "unknown"]


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


def coincident(
    before: Sequence[Interval],
    after: Sequence[Interval],
    moments: Sequence[Moment],
    cores: Sequence[int],
    *,
    one_thread: bool,
    slower: bool,
) -> tuple[Cause, tuple[Evidence, ...]]:
    """Return what speaks for a change of the latency, and for which cause.

    Args:
        before: intervals before it.
        after: those after it.
        moments: readings of all times.
        cores: that inferences ran on; empty for all.
        one_thread: whether the CPU times hold all of the work.
        slower: whether times became longer.
    """
    known = one_thread and all(i.cpu_ns for i in (*before, *after))
    evidence = [*_of_times(before, after)] if known else []
    windows: Windows = (_within(moments, before), _within(moments, after))
    for name in ("cpu_khz", "cpu_max_khz", "thermal_status", *_RATES):
        known = known or any(_told(m, name) for window in windows for m in window)
    evidence += _of_readings(windows, cores)
    found = tuple(one for one in evidence if one.slower is slower)
    return _cause(found, known=known), found


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
