"""What a user sees at the end of ``mvdeploy bench``."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.several import SeveralView
from mvdeploy.analysis.view import View
from mvdeploy.files import writing
from mvdeploy.records import Level
from mvdeploy.report import first_run as first_run_prose
from mvdeploy.report import prose, sustained
from mvdeploy.report import several as pages
from mvdeploy.report import stages as stages_prose
from mvdeploy.report.document import Paragraphs
from mvdeploy.report.tables import breakdown, first_run, rankings, stages
from mvdeploy.report.tables.latency import per_image_cell, per_image_column, tail
from mvdeploy.report.tables.table import Column, Table, device_cell, device_column, tagged, text
from mvdeploy.report.wording import apart, grouped
from mvdeploy.text_format import NONE, harmless, megabytes, milliseconds, percent

if TYPE_CHECKING:
    import rich.table
    from rich.console import Console, RenderableType

EXTENSION = "txt"
DESCRIPTION = "what is printed at the end of a run"
DEFAULT = False

_PART_WIDTH, _CASE_WIDTH = 30, 19
"""Characters that the names of parts and each case take in the table of categories."""

_LEAST, _WORD, _LINES = 10, 24, 5
"""Characters that a column of words is given at least, and those of words that stay whole where
there is room; lines that it is broken into at most. A table without room is shown row by row."""

_JOINTS = re.compile(r"[^_/.:,=-]*[_/.:,=-]+|[^_/.:,=-]+")
"""Parts of a name, each with what joins it to the next."""

_ANSWERS = 4
"""Sentences that stand before the first table at most, and such on what engines differ in."""

_FILE_WIDTH = 120
"""Characters of a line in a file."""

_STYLES = {Level.ERROR: "bold red", Level.WARNING: "yellow", Level.NOTE: "dim"}


def render(view: View, folder: Path) -> tuple[Path, ...]:
    """Write ``report.txt``."""
    from rich.console import Console

    printed = io.StringIO()
    show(view, Console(file=printed, width=_FILE_WIDTH))
    path = folder / "report.txt"
    lines = (line.rstrip() for line in printed.getvalue().splitlines())
    writing.text(path, harmless("\n".join(lines)) + "\n")
    return (path,)


def several(view: SeveralView, folder: Path) -> tuple[Path, ...]:
    """Write ``report.txt`` of several runs: what is said of them, and their tables."""
    from rich.console import Console
    from rich.text import Text

    printed = io.StringIO()
    console = Console(file=printed, width=_FILE_WIDTH)
    for section in pages.sections(view):
        for block in section.blocks:
            if isinstance(block, Table):
                console.print(fitting(block, _FILE_WIDTH), highlight=False)
            elif isinstance(block, Paragraphs):
                for line in block.texts:
                    console.print(Text(line), highlight=False)
            console.print()
    path = folder / "report.txt"
    lines = (line.rstrip() for line in printed.getvalue().splitlines())
    writing.text(path, harmless("\n".join(lines)) + "\n")
    return (path,)


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
    if view.run.plan.sustained_s:
        yield from _sustained(view, width)
        return
    if pairs_only:
        yield from _lines(prose.comparisons(view), "bold")
        yield from _lines(prose.clocks(view))
        yield from _lines(prose.outputs(view))
        yield ""
    elif answers := _answers(view):
        yield from _lines(answers, "bold")
        yield ""
    yield fitting(_in_turns(view) if pairs_only else _latency(view), width)
    yield from _lines(prose.missing(view), "red")
    ranked = (rankings.ranking(view, found) for found in view.rankings)
    around = (*stages.stages(view), *first_run.first_runs(view))
    for table in (*ranked, *around, *_parts(view, width)):
        yield ""
        yield fitting(table, width)
    yield ""
    yield from _lines(tuple(prose.attribution(view, case) for case in view.measured))
    if not pairs_only:
        said = _answers(view)
        yield from _lines(one for one in prose.comparisons(view) if one not in said)
        yield from _lines(prose.outputs(view))
    yield from _lines((*stages_prose.sentences(view), *first_run_prose.sentences(view)))
    if not view.rankings:  # whose tables have the shares
        yield from _lines(prose.rooflines(view))
    yield from _lines(prose.engines(view)[:_ANSWERS])
    yield from _lines(prose.energy(view))
    yield from _lines(prose.verdicts(view), "bold")
    yield from _findings(view)


def _sustained(view: View, width: int) -> Iterator[RenderableType]:
    yield from _lines(sustained.sentences(view), "bold")
    yield from _lines(prose.missing(view), "red")
    if view.sustained:
        yield ""
        yield fitting(sustained.levels(view), width)
    yield ""
    yield from _findings(view)


def _answers(view: View) -> tuple[str, ...]:
    """Return what comes first: which case is fastest, or what each is against another."""
    answers = (*prose.rankings(view), *prose.comparisons(view))
    return answers if len(answers) <= _ANSWERS else answers[: max(1, len(view.rankings))]


def _parts(view: View, width: int) -> Iterator[Table]:
    if view.run.plan.pairs_only:
        return (breakdown.difference(view, pair) for pair in view.differences)
    return breakdown.categories(view, max(1, (width - _PART_WIDTH) // _CASE_WIDTH))


def _latency(view: View) -> Table:
    numbers = ("p50", *per_image_column(view), "p90", "p99", "±", "load", "first", "peak MB")
    return Table(
        "Latency, ms (wall time, measured; ± is the 95 % interval within this run)",
        (text("Case"), *device_column(view), *map(Column, numbers), text("verdict")),
        tuple(_latency_row(view, case) for case in view.cases),
    )


def _latency_row(view: View, case: CaseView) -> tuple[str, ...]:
    head, timing = (tagged(view, case), *device_cell(view, case)), case.timing
    if timing is None:
        return (*head, *[NONE] * (8 + len(per_image_column(view))))
    wall, interval = timing.wall, timing.interval
    return (
        *head,
        milliseconds(wall.p50),
        *per_image_cell(view, case),
        *(tail(wall, name) for name in ("p90", "p99")),
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
        (text("Case"), *device_column(view), *map(Column, numbers)),
        tuple(_in_turns_row(view, case) for case in view.cases),
    )


def _in_turns_row(view: View, case: CaseView) -> tuple[str, ...]:
    head, timing = (tagged(view, case), *device_cell(view, case)), case.timing
    if timing is None:
        return (*head, *[NONE] * 4)
    wall, cpu = timing.wall, timing.cpu
    tails = (tail(wall, name) for name in ("p90", "p99"))
    return (*head, milliseconds(wall.p50), *tails, milliseconds(cpu.p50 if cpu else None))


def fitting(table: Table, width: int) -> RenderableType:
    """Return a table; row by row where its columns do not fit beside each other."""
    from rich.cells import cell_len
    from rich.console import Group

    cells = zip(*([column.title for column in table.columns], *table.rows), strict=True)
    lines = [[line for cell in column for line in cell.split("\n")] for column in cells]
    longest = [max(map(cell_len, column)) for column in lines]
    room = width - 2 * len(longest)
    for unbroken in (_WORD, _LEAST):
        needed = [
            length
            if column.numeric or column.whole
            else min(length, max(_least(own, unbroken), -(-length // _LINES)))
            for column, length, own in zip(table.columns, longest, lines, strict=True)
        ]
        if sum(needed) <= room:
            break
    else:
        return Group(*_row_by_row(table, width))
    while needed != longest and sum(needed) < room:  # each in turn to what is broken most
        at = max(range(len(needed)), key=lambda i: longest[i] / max(1, needed[i]))
        needed[at] += 1
    return _table(table, needed)


def _least(lines: Iterable[str], unbroken: int) -> int:
    """Return the characters that a column takes so that words of so many are not broken."""
    from rich.cells import cell_len

    words = {word for line in lines for word in line.split(" ")}
    return max((_LEAST, *(length for length in map(cell_len, words) if length <= unbroken)))


def _row_by_row(table: Table, width: int) -> Iterator[RenderableType]:
    from rich.text import Text

    yield Text(table.title, style="bold")
    for first, *others in table.rows:
        yield from map(Text, broken(first, width))
        pairs = zip(table.columns[1:], others, strict=True)
        values = [f"{column.title} {value}".replace("\n", " ") for column, value in pairs if value]
        line = ""
        for value in values:  # which stays on one line with its title, where it has room
            if line and len(line) + len(value) + 4 > width:
                yield from _indented(line, width)
                line = ""
            line = f"{line}, {value}" if line else value
        yield from _indented(line, width)
    if table.note:
        yield Text(table.note, style="dim")


def _indented(line: str, width: int) -> Iterator[RenderableType]:
    from rich.text import Text

    for part in broken(line, max(1, width - 2)):
        yield Text(f"  {part}")


def broken(text: str, width: int) -> list[str]:
    """Break text into lines: at spaces, else within a name where its parts meet."""
    from rich.cells import cell_len, chop_cells

    lines = [""]
    for word in text.split(" "):
        parts, gap = [word], " " if lines[-1] else ""
        if cell_len(word) > width:
            parts = [piece for part in _JOINTS.findall(word) for piece in chop_cells(part, width)]
        for part in parts:
            if cell_len(lines[-1] + gap + part) <= width:
                lines[-1] += gap + part
            else:
                lines.append(part)
            gap = ""
    return lines if lines[0] else lines[1:] or [""]


def _table(table: Table, widths: Sequence[int]) -> rich.table.Table:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    rich_table = RichTable(
        title=Text(table.title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        caption=Text(table.note, style="dim") if table.note else None,
        caption_justify="left",
        show_footer=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )

    def cell(content: str, at: int) -> Text:
        if table.columns[at].numeric or table.columns[at].whole:
            return Text(content)
        lines = [part for line in content.split("\n") for part in broken(line, widths[at])]
        return Text("\n".join(lines))

    for i, column in enumerate(table.columns):
        if column.numeric:
            rich_table.add_column(Text(column.title), justify="right", no_wrap=True)
        elif column.whole:
            rich_table.add_column(Text(column.title), no_wrap=True)
        else:
            rich_table.add_column(cell(column.title, i), overflow="fold", width=widths[i])
    last = len(table.rows) - 1
    for i, row in enumerate(table.rows):
        style = "bold" if table.total and i == last else None
        cells = [cell(content, at) for at, content in enumerate(row)]
        rich_table.add_row(*cells, style=style, end_section=table.total and i == last - 1)
    return rich_table


def _lines(texts: Iterable[str], style: str = "") -> Iterator[RenderableType]:
    from rich.text import Text

    for line in texts:
        yield Text(line, style=style)


def _findings(view: View) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    groups, usual = apart(grouped(view.findings, view.cases), view.cases)
    for group in groups:
        yield ""
        yield Text(f"{group.level}: {group.code}", style=_STYLES[group.level])
        for subject, sentence in group.lines:
            line = f"{subject}: {sentence}" if subject else sentence
            yield Padding(Text(line), (0, 0, 0, 2))
        if group.remedy:
            yield Padding(Text(group.remedy, style="italic"), (0, 0, 0, 2))
    if usual:
        yield ""
        yield Text(usual, style=_STYLES[Level.NOTE])
