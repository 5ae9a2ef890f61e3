"""From the bytes of a picture to an answer, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator

from mvdeploy.analysis.stages import StagesView, stages_view
from mvdeploy.analysis.view import View
from mvdeploy.report.tables.table import Column, Table, tagged, text
from mvdeploy.stats.interval import Interval
from mvdeploy.text_format import NONE, count, milliseconds, percent

TITLE = "From a picture to an answer"


def stages(view: View) -> Iterator[Table]:
    """Give a table for each case whose pipeline was timed."""
    for case in view.cases:
        found = stages_view(case)
        if found is not None:
            yield _table(f"{TITLE}, ms: {tagged(view, case)}", found)


def _table(title: str, found: StagesView) -> Table:
    rows = [
        (
            part.title,
            milliseconds(part.p50),
            _interval(part.interval),
            milliseconds(part.ns),
            percent(part.share),
        )
        for part in found.parts
    ]
    whole = milliseconds(found.p50), _interval(found.interval), milliseconds(found.ns)
    rows.append(("the whole", *whole, percent(1.0)))
    return Table(
        title,
        (
            text("Stage"),
            Column("p50"),
            Column("95 % interval within this run"),
            Column("of usual passes"),
            Column("share"),
        ),
        tuple(rows),
        note=_note(found),
        total=True,
    )


def _note(found: StagesView) -> str:
    record = found.record
    batch = f" {count(record.batch, 'picture')} in a pass." if record.batch > 1 else ""
    after = (
        f" Post-processing is {record.finish}."
        if record.finish
        else " What an app does with the outputs is not known, and not in it."
    )
    passes = "1 pass" if found.passes == 1 else f"{found.passes:,} passes"
    return (
        f"Wall time, measured, of {passes} over {record.picture}.{batch} "
        f"Usual passes are those whose whole time is in the middle half; their means add up, and "
        f"the shares are theirs. All but the engine is done by {record.program} on one thread; a "
        f"phone's decoder may be faster.{after} Without a clock in it a pass takes "
        f"{milliseconds(found.plain_p50)} ms."
    )


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return NONE
    return f"{milliseconds(interval.low)}–{milliseconds(interval.high)}"
