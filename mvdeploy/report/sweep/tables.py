"""The tables of a sweep's report."""

from __future__ import annotations

from collections.abc import Iterator

from mvdeploy.analysis.pareto import Placed, Standing
from mvdeploy.analysis.sweep import Entry, Front, Series, SweepView, title_of
from mvdeploy.report.sweep.prose import exponent
from mvdeploy.report.tables.table import Column, Table, facts_table, text
from mvdeploy.text_format import NONE, join, milliseconds, percent, significant


def results(view: SweepView) -> Table:
    """Show every case: what it is, its latency, and what a choice between cases may rest on."""
    several, batches = len(view.ways) > 1, view.batches != (1,)
    tokens = any(entry.planned.tokens for entry in view.entries)
    columns = [
        text("Network"),
        *([text("Way")] if several else []),
        Column("size"),
        *([Column("batch")] if batches else []),
        *([Column("tokens")] if tokens else []),
        Column("latency, ms"),
        Column("95 % interval"),
        *([Column("per image")] if batches else []),
        Column("parameters, M"),
        Column("MACs, M"),
        *([Column(view.saved.accuracy)] if view.saved.accuracy else []),
        text("verdict"),
    ]
    note = (
        "Wall time of one inference, measured; the interval is that of the spread between sessions."
    )
    if tokens:
        note += " Tokens are those that attend to one another in one image, over all stages."
    if batches:
        note += " MACs are those of one image."
    rows = tuple(_row(view, e, several, batches, tokens) for e in view.entries)
    return Table(f"Latency{_where(view)}", tuple(columns), rows, note=note)


def short_results(view: SweepView) -> Table:
    """Show every case with its latency, for a terminal."""
    batches = ["per image"] if view.batches != (1,) else []
    accuracy = [view.saved.accuracy] if view.saved.accuracy else []
    names = ("latency, ms", "95 % interval", *batches, "MACs, M", *accuracy)
    rows = tuple(
        (
            entry.name,
            milliseconds(entry.ns),
            interval(entry.level.interval if entry.level else None),
            *([milliseconds(entry.per_image_ns)] if batches else []),
            f"{entry.macs / 1e6:.1f}" if entry.macs else NONE,
            *([_accuracy(entry.planned.accuracy)] if accuracy else []),
            _verdict(entry),
        )
        for entry in view.entries
    )
    columns = (text("Case"), *map(Column, names), text("verdict"))
    return Table(f"Latency{_where(view)}", columns, rows)


def scalings(view: SweepView) -> Iterator[Table]:
    """Show by which power the latency of each network grows, beside that of its MACs."""
    found = [series for series in view.series if series.pixels]
    if not found:
        return
    tokens = any(series.tokens for series in found)
    columns = [
        text("Network"),
        Column("sizes"),
        Column("time as\npixels^"),
        Column("MACs as\npixels^"),
        *([Column("time as\ntokens^"), Column("MACs as\ntokens^")] if tokens else []),
        Column("largest\ndeparture"),
    ]
    note = (
        "Exponents with their 95 % intervals; MACs are counted, and have none. The departure is "
        "that of the size which lies farthest from the line."
    )
    rows = tuple(_scaling_row(series, tokens) for series in found)
    yield Table("Growth of latency with the image", tuple(columns), rows, note=note)


def parts(view: SweepView) -> Iterator[Table]:
    """Show by which power the parts of the latency grow."""
    rows = tuple(
        (
            series.name,
            part.title,
            _plain(part.exponent),
            percent(part.smallest),
            percent(part.largest),
        )
        for series in view.series
        for part in series.parts
    )
    if rows:
        yield Table(
            "Growth of the parts of the latency",
            (
                text("Network"),
                text("Part"),
                Column("time as pixels^"),
                Column("share, smallest size"),
                Column("share, largest size"),
            ),
            rows,
            note=(
                "From the times of operators of one profiled session each, so without intervals; "
                "parts below 1 % of the latency at the largest size are left out."
            ),
        )


def front(one: Front, title: str) -> Table:
    """Show where each case is."""
    return Table(
        title,
        (
            text("Case"),
            Column("per image, ms"),
            Column("95 % interval"),
            Column(one.title),
            text("front"),
            text("because of"),
        ),
        tuple(_front_row(placed) for placed in one.placed),
    )


def conditions(view: SweepView) -> Iterator[Table]:
    """Give what was asked, and the runs that it took."""
    saved = view.saved
    said = {n: value for n, value in saved.conditions.items() if value and n not in _UNSAID}
    if view.runs:
        plan = view.runs[0].run.plan
        said["threads"] = ", ".join(map(str, dict.fromkeys(way.threads for way in view.ways)))
        said["cores"] = ", ".join(map(str, plan.cores)) or "all"
    yield facts_table("Sweep", {"created": saved.created, **said})
    rows = tuple(
        (name, ", ".join(case.name for case in run.cases))
        for name, run in zip(saved.runs, view.runs, strict=True)
    )
    note = "'mvdeploy report FOLDER' shows all of a run: samples, operators, devices, findings."
    yield Table("Runs", (text("Folder in runs/"), text("Cases")), rows, note=note)


_UNSAID = ("plan", "networks")
"""Conditions that are long, or a digest."""


def interval(ends: tuple[float, float] | None) -> str:
    """Return an interval of times in milliseconds."""
    return f"{milliseconds(ends[0])}–{milliseconds(ends[1])}" if ends else NONE


def _row(
    view: SweepView, entry: Entry, several: bool, batches: bool, tokens: bool
) -> tuple[str, ...]:
    case, level = entry.planned, entry.level
    height, width = case.image_size
    return (
        case.network,
        *([title_of(view.saved, case.way)] if several else []),
        str(height) if height == width else f"{height}x{width}",
        *([str(case.batch)] if batches else []),
        *([str(case.tokens or NONE)] if tokens else []),
        milliseconds(entry.ns),
        interval(level.interval if level else None),
        *([milliseconds(entry.per_image_ns)] if batches else []),
        f"{entry.parameters / 1e6:.2f}" if entry.parameters else NONE,
        f"{entry.macs / 1e6:.1f}" if entry.macs else NONE,
        *([_accuracy(case.accuracy)] if view.saved.accuracy else []),
        _verdict(entry),
    )


def _verdict(entry: Entry) -> str:
    if entry.wrong:
        return "wrong outputs"
    return entry.case.verdict.grade if entry.case and entry.case.verdict else NONE


def _where(view: SweepView) -> str:
    return f", {title_of(view.saved, view.ways[0])}" if len(view.ways) == 1 else ""


def _accuracy(value: float | None) -> str:
    return NONE if value is None else f"{value:g}"


def _scaling_row(series: Series, tokens: bool) -> tuple[str, ...]:
    found = series.pixels
    if found is None:
        raise ValueError(f"{series.name} has no exponent")
    own = exponent(series.tokens) or NONE
    return (
        series.name,
        str(found.sizes),
        exponent(found),
        _plain(series.macs),
        *([own, _plain(series.macs_of_tokens)] if tokens else []),
        percent(found.departure) if found.sizes > 2 else NONE,
    )


def _plain(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}".replace("-", "−")


_NAMED = 3
"""Others that a cell names."""


def _front_row(placed: Placed) -> tuple[str, ...]:
    point = placed.point
    known = point.low > 0
    words = {Standing.FRONT: "surely on it", Standing.OPEN: "cannot be told"}
    rivals = list(placed.rivals[:_NAMED])
    more = len(placed.rivals) - _NAMED
    because = placed.beaten_by or (join(rivals) if rivals else "")
    return (
        point.name,
        milliseconds(point.time),
        interval((point.low, point.high)) if known else NONE,
        significant(point.other, 4),
        words.get(placed.standing, "behind"),
        f"{because} and {more} more" if more > 0 else because or NONE,
    )
