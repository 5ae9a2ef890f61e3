"""How fast, and how sure."""

from __future__ import annotations

from collections.abc import Sequence

from mvdeploy.analysis.cases import CaseView, Timing
from mvdeploy.analysis.ratios import CLOCK_NAMES, ComparisonView
from mvdeploy.analysis.view import View
from mvdeploy.report.tables.table import (
    Column,
    Table,
    about,
    device_cell,
    device_column,
    engine_cell,
    engine_column,
    key_note,
    tagged,
    text,
)
from mvdeploy.report.wording import interval_text, ratio_text
from mvdeploy.stats.summary import LatencySummary
from mvdeploy.text_format import NONE, megabytes, milliseconds, percent


def latency(view: View) -> Table:
    """Show every case with its latency, or with the reason why there is none."""
    tails = ("p90", "p95", "p99", "95 % interval within this run", "±", "load", "first")
    numbers = ("p50", *per_image_column(view), *tails)
    columns = (*map(Column, (*numbers, "peak memory, MB")), text("verdict"))
    return Table(
        latency_title(view),
        (text("Case"), *device_column(view), *engine_column(view), *columns),
        tuple(_latency_row(view, case) for case in view.cases),
        note=(
            "Wall time of one inference, measured; p50 is the headline. The interval is of p50 and "
            "holds within this run only. Load and first inference are from a process of their own; "
            "peak memory is of a process that ran this case alone (MB = 1,000,000 bytes). The "
            "verdict says whether the latency can be relied on; its reasons are under Findings."
        ),
        cases=about(view.cases),
    )


def _latency_row(view: View, case: CaseView) -> tuple[str, ...]:
    head = (tagged(view, case), *device_cell(view, case), *engine_cell(view, case))
    if case.timing is None:
        return (*head, *[NONE] * (10 + len(per_image_column(view))))
    wall, interval = case.timing.wall, case.timing.interval
    return (
        *head,
        milliseconds(wall.p50),
        *per_image_cell(view, case),
        *(tail(wall, name) for name in ("p90", "p95", "p99")),
        f"{milliseconds(interval.low)}–{milliseconds(interval.high)}" if interval else NONE,
        percent(interval.half_width_relative, 2) if interval else NONE,
        milliseconds(case.timing.load_ns or None),
        milliseconds(case.timing.first_ns),
        megabytes(case.timing.peak_memory_bytes),
        case.verdict.grade if case.verdict else "in turns only",
    )


def per_image_column(view: View) -> tuple[str, ...]:
    """Return the title of the column with latencies per image, where a case has several images."""
    return ("p50 per image",) if any(case.batch > 1 for case in view.cases) else ()


def per_image_cell(view: View, case: CaseView) -> tuple[str, ...]:
    """Return what stands in `per_image_column`."""
    return (milliseconds(case.per_image_ns),) if per_image_column(view) else ()


def tail(wall: LatencySummary, name: str) -> str:
    """Return a percentile, marked where there are too few samples for it."""
    mark = " *" if name in wall.too_few_for else ""
    return f"{milliseconds(getattr(wall, name))}{mark}"


def latency_title(view: View) -> str:
    """Say what kind of latency there is."""
    if any(case.timing and case.timing.in_turns for case in view.cases):
        return "Latency in turns, ms"
    return "Latency, ms"


def more_latency(view: View) -> Table:
    """Show mean, deviation, extremes, CPU time and memory."""
    numbers = ("samples", "mean", "std", "min", "p10", "max", "CPU p50", "wall ÷ CPU")
    memory = "memory over baseline, MB"
    return Table(
        "More of the latency, ms, and memory",
        (text("Case"), *map(Column, (*numbers, memory))),
        tuple(_more_row(view, case, case.timing) for case in view.cases if case.timing),
        note=(
            "CPU time is shown where it holds all of the work, that is with one thread. The "
            "memory baseline is the same process before the model was loaded."
        ),
        cases=about(case for case in view.cases if case.timing),
    )


def _more_row(view: View, case: CaseView, timing: Timing) -> tuple[str, ...]:
    wall, cpu = timing.wall, timing.cpu
    return (
        tagged(view, case),
        f"{wall.count:,}",
        *map(milliseconds, (wall.mean, wall.std, wall.min, wall.p10, wall.max)),
        milliseconds(cpu.p50 if cpu else None),
        f"{wall.mean / cpu.mean:.3f}" if cpu else NONE,
        megabytes(timing.added_memory_bytes) if timing.peak_memory_bytes else NONE,
    )


def ratios(view: View) -> Table:
    """Show every comparison by the clock that decides, with the other clock beside it."""
    return Table(
        "Paired ratios",
        (
            text("Ratio"),
            text("verdict"),
            Column("ratio"),
            Column("95 % interval"),
            text("clock"),
            Column("by wall time"),
            Column("detectable from"),
            Column("groups"),
            Column("pairs"),
            text("reliability"),
        ),
        tuple(_ratio_row(c) for c in view.comparisons),
        note=f"{key_note(view, view.cases)} {_clock_note(view.comparisons)}".strip(),
        cases=tuple((c.a.key, c.b.key) for c in view.comparisons),
    )


def _ratio_row(c: ComparisonView) -> tuple[str, ...]:
    pair = f"{c.b.key} ÷ {c.a.key}"
    if c.estimate is None:
        return (pair, f"none: {c.problem}", *[NONE] * 8)
    wall = c.other or c.estimate
    return (
        pair,
        c.estimate.verdict,
        ratio_text(c.estimate),
        interval_text(c.estimate) + ("" if c.estimate.between_groups else " *"),
        CLOCK_NAMES[c.estimate.clock],
        f"{ratio_text(wall)} ({interval_text(wall)})",
        percent(c.estimate.detectable, 2),
        str(c.estimate.groups),
        f"{c.estimate.pairs:,}",
        c.reliability.grade if c.reliability else NONE,
    )


def _clock_note(comparisons: Sequence[ComparisonView]) -> str:
    reasons = dict.fromkeys(
        f"{CLOCK_NAMES[c.choice.clock]} decides, because {c.choice.reason}." for c in comparisons
    )
    notes = ["The ratio is time ÷ time: below 1 the first case is faster."]
    notes += [r[0].upper() + r[1:] for r in reasons]
    notes.append("'Detectable from' is the difference that is found with 80 % power.")
    if any(c.estimate and not c.estimate.between_groups for c in comparisons):
        notes.append("* Too few groups: the interval counts only the spread within them.")
    return " ".join(notes)
