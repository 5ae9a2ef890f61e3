"""What load that does not end shows, in sentences, tables and figures for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from mvdeploy.analysis.coincidence import Evidence, clock_khz, hottest_c
from mvdeploy.analysis.sustained import (
    LEAST_INTERVALS,
    LEAST_SHIFT,
    Shift,
    SustainedView,
    order,
)
from mvdeploy.analysis.view import View
from mvdeploy.records import Interval, Moment
from mvdeploy.report.tables.table import Column, Table, tagged, text
from mvdeploy.stats.changes import ALPHA
from mvdeploy.text_format import NONE, clean, count, join, milliseconds, percent, signed_percent

TITLE = "Latency, clocks and heat over time"

_SHIFTS = 4
"""Changes of a case that are read out; the table has all."""


def sentences(view: View) -> tuple[str, ...]:
    """Say of every case what it settles at, when it changed, and what else did then."""
    said = [sentence for found in view.sustained for sentence in _of_case(view, found)]
    return (*said, *_order(view))


def _of_case(view: View, found: SustainedView) -> Iterator[str]:
    name = tagged(view, found.case)
    yield f"{name}: {_level(found)}"
    for shift in found.shifts[:_SHIFTS]:
        yield f"{name}: {change(shift)} {cause(shift)}"
    if len(found.shifts) > _SHIFTS:
        yield f"{name}: {len(found.shifts) - _SHIFTS} further changes are in the table."
    if found.drift is not None:
        yield (
            f"{name}: its median still {'rises' if found.drift > 0 else 'falls'}: by "
            f"{percent(abs(found.drift))} from {duration(found.steady.start_s)} to "
            f"{duration(found.steady.stop_s)}. Give it more time for a steady latency."
        )
    for gap in found.record.gaps:
        end = f" to {duration(gap.start_s + gap.length_s)}" if gap.length_s else " on"
        reason = clean(gap.reason).rstrip(".")
        yield f"{name}: the device was gone from {duration(gap.start_s)}{end} ({reason})."
    if found.record.ended:
        yield (
            f"{name}: it ended after {duration(found.record.until_s)} of "
            f"{duration(found.record.asked_s)}: {clean(found.record.ended)}"
        )


def _level(found: SustainedView) -> str:
    steady, first, whole = found.steady, found.first, found.whole
    if not found.enough:
        return (
            f"p50 is {milliseconds(whole.p50_ns)} ms over {duration(whole.stop_s)}; a change can "
            f"be told from noise with {LEAST_INTERVALS} intervals or more, and there are "
            f"{whole.intervals}."
        )
    within = _half_width(found)
    if not found.shifts:
        verb = "stays at" if found.settled else "is"
        return (
            f"p50 {verb} {milliseconds(steady.p50_ns)} ms{within} for "
            f"{duration(whole.stop_s)}: no change was found in {whole.intervals} intervals; one by "
            f"{percent(found.detectable, 0)} or more half-way would most likely have been."
        )
    when = duration(steady.start_s)
    since = f"steady from {when} on," if found.settled else f"not steady; from {when} on"
    return (
        f"{since} p50 is {milliseconds(steady.p50_ns)} ms{within}, with {steady.per_s:.4g} "
        f"inferences a second of inference; in the first "
        f"{duration(first.stop_s - first.start_s)} these were {milliseconds(first.p50_ns)} ms and "
        f"{first.per_s:.4g}{_factor(found)}."
    )


def _half_width(found: SustainedView) -> str:
    steady = found.steady
    if steady.half_width is None:
        return ""
    return f" ± {percent(steady.half_width)} (95 % between intervals)"


def _factor(found: SustainedView) -> str:
    factor = found.factor
    if factor is None:
        return ""
    return (
        f", so that the median is {factor.ratio:.2f} times what it was "
        f"({factor.low:.2f} to {factor.high:.2f})"
    )


def change(shift: Shift) -> str:
    """Say when what changed."""
    longer = f"{shift.factor:.2f} times as long" if shift.slower else f"{shift.factor:.2f} of it"
    return (
        f"{duration(shift.at_s)} after the beginning (or up to {duration(shift.within_s)} "
        f"earlier) inferences began to take {longer} (median ×{shift.median:.2f}, mean "
        f"×{shift.mean:.2f})."
    )


def cause(shift: Shift) -> str:
    """Say what else changed at the same time, which need not be why."""
    others = "; ".join(map(_difference, shift.evidence))
    heat = "throttles" if shift.slower else "recovers from throttling"
    load = "other programs took" if shift.slower else "other programs left it"
    said = {
        "heat": f"At the same time: {others}. So a device does that {heat}.",
        "clock": f"At the same time: {others}. Nothing tells whether heat is why.",
        "load": f"At the same time: {others}. That is time which {load}, not throttling.",
        "both": f"At the same time: {others}. These are signs of other programs and of heat; "
        "which of them it was cannot be told.",
        "none": "None of the readings of the device changed with it.",
        "unknown": "The device tells neither clocks nor heat nor load, so why is not known.",
    }
    return said[shift.cause]


def _difference(evidence: Evidence) -> str:
    return f"{evidence.name} {evidence.before} before, {evidence.after} after"


def _order(view: View) -> tuple[str, ...]:
    found = order(view.sustained)
    if found is None:
        return ()
    first, last = (" < ".join(case.key for case in cases) for cases in (found.first, found.steady))
    if not found.swapped:
        return (f"The order of the cases is the same at first and in the end: {first}.",)
    if not found.sure:
        return (
            f"The order of the cases is {first} at first and {last} in the end, but by less than "
            "intervals differ: they are not known to have changed places.",
        )
    pairs = [f"{b.key} is faster than {a.key} in the end, and was slower" for a, b in found.sure]
    return (f"The order of the cases changes from {first} to {last}: {join(pairs)}.",)


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 600:
        return f"{seconds:.1f} s" if 0 < round(seconds, 1) < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min"


def levels(view: View) -> Table:
    """Show what every case was at first, and what it settled at."""
    titles = (
        *("time", "inferences", "first\np50", "steady\nfrom", "steady\np50", "p90", "p99"),
        *("× the\nfirst", "slows\nafter", "clock MHz\nfirst → last", "°C\nfirst → most"),
    )
    note = (
        "first: the first minute, or a third of a shorter run. "
        f"Changes of {percent(LEAST_SHIFT, 0)} or more are looked for in the medians and "
        f"in the means of intervals, by permutation tests at a level of {percent(ALPHA, 0)}. "
        "steady is what came after the last of them. Quantiles of several intervals are from "
        f"sketches that are off by {percent(view.sustained[0].record.accuracy)} at most."
    )
    return Table(
        "Sustained load, ms (wall time, measured)",
        (text("Case"), *map(Column, titles)),
        tuple(_level_row(view, found) for found in view.sustained),
        note=note,
    )


def _level_row(view: View, found: SustainedView) -> tuple[str, ...]:
    slows, steady = found.slows, found.steady
    return (
        tagged(view, found.case),
        duration(found.whole.stop_s),
        f"{found.whole.count:,}",
        milliseconds(found.first.p50_ns),
        duration(steady.start_s),
        milliseconds(steady.p50_ns),
        milliseconds(steady.p90_ns),
        milliseconds(steady.p99_ns),
        f"{found.factor.ratio:.3f}" if found.factor else NONE,
        duration(slows.at_s) if slows else ("never" if found.enough else NONE),
        _clocks(view, found),
        _heat(found),
    )


def _clocks(view: View, found: SustainedView) -> str:
    clocks = [clock_khz(m, "cpu_khz", view.run.plan.cores) for m in found.record.moments]
    known = [khz for khz in clocks if khz]
    return f"{known[0] / 1e3:.0f} → {known[-1] / 1e3:.0f}" if known else NONE


def _heat(found: SustainedView) -> str:
    known = [c for c in map(hottest_c, found.record.moments) if c is not None]
    return f"{known[0]:.1f} → {max(known):.1f}" if known else NONE


def changes(view: View) -> Table:
    """Show every change with what else changed."""
    rows = [
        (
            tagged(view, found.case),
            duration(shift.at_s),
            f"−{duration(shift.within_s)}",
            signed_percent(shift.median - 1),
            signed_percent(shift.mean - 1),
            f"{shift.probability:.3f}",
            "; ".join(map(_difference, shift.evidence)) or "nothing",
        )
        for found in view.sustained
        for shift in found.shifts
    ]
    return Table(
        "Changes of the latency",
        (
            text("Case"),
            *map(Column, ("at", "or earlier\nby up to", "p50", "mean", "p of chance")),
            text("what else changed"),
        ),
        tuple(rows),
        note="What changed at the same time need not be why.",
    )


def alt(view: View) -> str:
    """Say what the figure shows, for who cannot see it."""
    said = [
        f"{found.case.name}: p50 {milliseconds(found.first.p50_ns)} ms at first, "
        f"{milliseconds(found.steady.p50_ns)} ms in the end, "
        f"{count(len(found.shifts), 'change')}"
        for found in view.sustained[:4]
    ]
    return f"p50 and p90 of every interval over time. {'; '.join(said)}."


def interval(view: View, found: SustainedView, one: Interval) -> dict[str, Any]:
    """Return the numbers of an interval, with the readings that were taken in it, for a table."""
    taken = _last_in(found, one)
    cores = view.run.plan.cores
    clocks = [clock_khz(taken, n, cores) if taken else None for n in ("cpu_khz", "cpu_max_khz")]
    status = taken.state.readings.get("thermal_status") if taken else None
    return {
        "start_s": round(one.start_s, 6),
        "length_s": round(one.length_s, 6),
        "inferences": one.count,
        "p50_ms": one.p50_ns / 1e6,
        "p90_ms": one.p90_ns / 1e6,
        "p99_ms": one.p99_ns / 1e6,
        "mean_ms": one.wall_ns / one.count / 1e6,
        "cpu_p50_ms": one.cpu_p50_ns / 1e6,
        "clock_mhz": clocks[0] and clocks[0] / 1e3,
        "clock_limit_mhz": clocks[1] and clocks[1] / 1e3,
        "thermal_status": status,
        "temperature_c": hottest_c(taken) if taken else None,
        "level": sum(shift.at_s <= one.start_s for shift in found.shifts) + 1,
    }


def _last_in(found: SustainedView, one: Interval) -> Moment | None:
    inside = [m for m in found.record.moments if one.start_s <= m.at_s < one.stop_s]
    return inside[-1] if inside else None


def as_json(view: View, found: SustainedView) -> dict[str, Any]:
    """Return a case as plain JSON values; times of inferences are milliseconds."""
    record = found.record
    return {
        "slug": found.case.slug,
        "started_at": record.started_at,
        "asked_s": record.asked_s,
        "until_s": record.until_s,
        "ended": record.ended or None,
        "interval_s": record.interval_s,
        "alternating": record.alternating,
        "sketch_relative_error": record.accuracy,
        "enough_intervals": found.enough,
        **{part: _stretch(getattr(found, part)) for part in ("whole", "first", "steady")},
        "steady_to_first": dataclasses.asdict(found.factor) if found.factor else None,
        "slows_after_s": found.slows.at_s if found.slows else None,
        "drift": found.drift,
        "detectable": found.detectable if found.enough else None,
        "changes": [
            {
                "at_s": s.at_s,
                "within_s": s.within_s,
                "median": s.median,
                "mean": s.mean,
                "probability": s.probability,
                "cause": s.cause,
                "evidence": [
                    {"name": e.name, "before": e.before, "after": e.after, "of": e.of}
                    for e in s.evidence
                ],
            }
            for s in found.shifts
        ],
        "gaps": [dataclasses.asdict(gap) for gap in record.gaps],
        "intervals": [interval(view, found, one) for one in record.intervals],
        "summary": [*_of_case(view, found)],
    }


def _stretch(part: Any) -> dict[str, Any]:
    times = ("p50_ns", "p90_ns", "p99_ns", "low_ns", "high_ns", "mean_ns")
    values = {name: getattr(part, name) for name in times}
    return {
        "start_s": part.start_s,
        "stop_s": part.stop_s,
        "intervals": part.intervals,
        "inferences": part.count,
        **{f"{k.removesuffix('_ns')}_ms": v and v / 1e6 for k, v in values.items()},
    }
