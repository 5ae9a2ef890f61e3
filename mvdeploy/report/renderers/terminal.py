"""What a user sees at the end of ``mvdeploy bench``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.view import View
from mvdeploy.records import Level
from mvdeploy.report import prose
from mvdeploy.report.tables import breakdown
from mvdeploy.report.tables.table import Column, Table, tagged, text
from mvdeploy.report.wording import grouped
from mvdeploy.text_format import NONE, megabytes, milliseconds, percent

if TYPE_CHECKING:
    import rich.table
    from rich.console import Console, RenderableType

_PART_WIDTH, _CASE_WIDTH = 30, 19
"""Characters that the names of parts and each case take in the table of categories."""

_STYLES = {Level.ERROR: "bold red", Level.WARNING: "yellow", Level.NOTE: "dim"}


def show(view: View, console: Console) -> None:
    """Print the tables, the verdicts and the findings of a run.

    Args:
        view: the run.
        console: where to; text from files and devices is printed as it is, never as markup.
    """
    for block in _blocks(view, console.width):
        console.print(block, highlight=False)


def _blocks(view: View, width: int) -> Iterator[RenderableType]:
    pairs_only = view.run.plan.pairs_only
    if pairs_only:
        yield from _lines(tuple(c.sentence for c in view.comparisons), "bold")
        yield from _lines(prose.clocks(view))
        yield ""
    yield _table(_in_turns(view) if pairs_only else _latency(view))
    yield from _lines(prose.missing(view), "red")
    for table in _parts(view, width):
        yield ""
        yield _table(table)
    yield ""
    yield from _lines(tuple(prose.attribution(view, case) for case in view.measured))
    if not pairs_only:
        yield from _lines(tuple(c.sentence for c in view.comparisons), "bold")
    yield from _lines(prose.engines(view))
    yield from _lines(prose.verdicts(view), "bold")
    yield from _findings(view)


def _parts(view: View, width: int) -> Iterator[Table]:
    if view.run.plan.pairs_only:
        return (breakdown.difference(view, pair) for pair in view.differences)
    return breakdown.categories(view, max(1, (width - _PART_WIDTH) // _CASE_WIDTH))


def _latency(view: View) -> Table:
    numbers = ("p50", "p90", "p99", "±", "load", "first", "peak MB")
    return Table(
        "Latency, ms (wall time, measured; ± is the 95 % interval within this run)",
        (text("Case"), *map(Column, numbers), text("verdict")),
        tuple(_latency_row(view, case) for case in view.cases),
    )


def _latency_row(view: View, case: CaseView) -> tuple[str, ...]:
    timing = case.timing
    if timing is None:
        return (tagged(view, case), *[NONE] * 8)
    wall, interval = timing.wall, timing.interval
    return (
        tagged(view, case),
        *map(milliseconds, (wall.p50, wall.p90, wall.p99)),
        percent(interval.half_width_relative, 2) if interval else NONE,
        milliseconds(timing.load_ns or None),
        milliseconds(timing.first_ns),
        megabytes(timing.peak_memory_bytes),
        case.verdict.grade if case.verdict else "in turns",
    )


def _in_turns(view: View) -> Table:
    numbers = ("p50", "p90", "p99", "CPU p50")
    return Table(
        "Latency in turns, ms (wall time, measured)",
        (text("Case"), *map(Column, numbers)),
        tuple(_in_turns_row(view, case) for case in view.cases),
    )


def _in_turns_row(view: View, case: CaseView) -> tuple[str, ...]:
    timing = case.timing
    if timing is None:
        return (tagged(view, case), *[NONE] * 4)
    wall, cpu = timing.wall, timing.cpu
    times = (wall.p50, wall.p90, wall.p99, cpu.p50 if cpu else None)
    return (tagged(view, case), *map(milliseconds, times))


def _table(table: Table) -> rich.table.Table:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(
        title=Text(table.title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        caption=Text(table.note, style="dim") if table.note else None,
        caption_justify="left",
        show_footer=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for column in table.columns:
        if column.numeric:
            made.add_column(Text(column.title), justify="right", no_wrap=True)
        else:
            made.add_column(Text(column.title), overflow="fold")
    last = len(table.rows) - 1
    for i, row in enumerate(table.rows):
        style = "bold" if table.total and i == last else None
        made.add_row(*map(Text, row), style=style, end_section=table.total and i == last - 1)
    return made


def _lines(texts: tuple[str, ...], style: str = "") -> Iterator[RenderableType]:
    from rich.text import Text

    for line in texts:
        yield Text(line, style=style)


def _findings(view: View) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    for group in grouped(view.findings):
        yield ""
        yield Text(f"{group.level}: {group.code}", style=_STYLES[group.level])
        for subject, sentence in group.lines:
            said = f"{subject}: {sentence}" if subject else sentence
            yield Padding(Text(said), (0, 0, 0, 2))
        if group.remedy:
            yield Padding(Text(group.remedy, style="italic"), (0, 0, 0, 2))
