"""Starts with the file in the system's cache and without, side by side."""

from __future__ import annotations

from collections.abc import Iterator

from mvdeploy.analysis.first_run import FirstRunView, KindView, Known, first_run_view
from mvdeploy.analysis.view import View
from mvdeploy.report.tables.table import Column, Table, tagged, text
from mvdeploy.text_format import NONE, clean, milliseconds

TITLE = "The first run"


def first_runs(view: View) -> Iterator[Table]:
    """Give a table for each case that was started anew."""
    for case in view.cases:
        found = first_run_view(case)
        if found is not None:
            yield _table(f"{TITLE}, ms: {tagged(view, case)}", found)


def _table(title: str, found: FirstRunView) -> Table:
    warm = _rows(found.warm)
    cold = _rows(found.cold) if found.cold else {}
    pairs = [(name, known, cold.get(name)) for name, known in warm.items()]
    steady = ("steady (p50)", milliseconds(found.steady_p50), NONE, NONE, NONE)
    return Table(
        title,
        (
            text(""),
            Column("in the cache"),
            Column("interval"),
            Column("not in it"),
            Column("its interval"),
        ),
        (
            *((name, *_cells(a), *_cells(b)) for name, a, b in pairs if a or b),
            steady,
        ),
        note=_note(found),
    )


def _rows(kind: KindView) -> dict[str, Known | None]:
    return {
        "engine's import": kind.imported,
        "load": kind.load,
        "first inference": kind.first,
        "both together": kind.answered,
        "second inference": kind.second,
    }


def _note(found: FirstRunView) -> str:
    interval = found.warm.answered.interval
    level = (
        f"intervals are of medians, at {100 * interval.level:.0f} %, between two of the values"
        if interval
        else "there are too few for intervals"
    )
    cold = (
        "The file was dropped from the system's cache before every cold start, and it was looked "
        "whether it was gone; the engine's own files were in it, and what a disk or a virtual "
        "machine keeps itself is not known."
        if found.cold
        else f"Starts without the file in the cache: unavailable, {clean(found.record.no_cold)}."
    )
    return (
        f"Wall time, measured, in {found.warm.count} processes of each kind, in turns: with the "
        f"model's file in the system's cache, and not in it; {level}. {cold}"
    )


def _cells(known: Known | None) -> tuple[str, str]:
    if known is None:
        return NONE, NONE
    interval = known.interval
    if interval is None:
        return milliseconds(known.p50), NONE
    return milliseconds(known.p50), f"{milliseconds(interval.low)}–{milliseconds(interval.high)}"
