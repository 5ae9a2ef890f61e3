"""The report of a study: measured and published side by side, each labelled as what it is."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mvdeploy.analysis.study import StudyView, WayView
from mvdeploy.files import writing
from mvdeploy.report.charts import Bars, Points
from mvdeploy.report.document import Block, Paragraphs, Picture, Section
from mvdeploy.report.renderers import html, markdown
from mvdeploy.report.study import charts
from mvdeploy.report.study.prose import missing, summary
from mvdeploy.report.study.tables import conditions, sources, tables
from mvdeploy.report.study.values import csv_text
from mvdeploy.text_format import clean

if TYPE_CHECKING:
    from rich.console import Console


def title(view: StudyView) -> str:
    """Return the title of a report."""
    where = f" on {view.device.profile.title}" if view.device else ""
    return clean(f"{view.study.title}{where}")


def about(view: StudyView) -> str:
    """Return whose study it is, and when and with what it was measured."""
    saved = view.saved
    versions = f"mvdeploy {saved.conditions.get('mvdeploy', '')}"
    return clean(f"{view.study.paper} · {saved.created} · {versions}")


def sections(view: StudyView) -> tuple[Section, ...]:
    """Return all parts of a report that have something to say."""
    parts = [Section("summary", "Summary", (Paragraphs(summary(view)),))]
    for number, way in enumerate(view.ways):
        blocks = tuple(_blocks(view, way))
        parts.append(Section(f"results-{number + 1}", f"Results, {way.title}", blocks))
    parts.append(Section("published", "Published numbers", (sources(view),)))
    parts.append(Section("conditions", "Conditions", tuple(conditions(view))))
    return tuple(parts)


def write(view: StudyView, folder: Path) -> tuple[Path, ...]:
    """Write report.md, report.html, study.csv and the figures.

    Raises:
        NotWritten: the folder cannot be written to.
    """
    draw = functools.cache(functools.partial(_drawn, view))
    said = title(view), about(view), sections(view)
    drawn = {b.name for section in said[2] for b in section.blocks if isinstance(b, Picture)}
    lead = html.with_charts({name: of for name, of in _charts(view) if name in drawn})
    paths = [folder / "report.md", folder / "report.html", folder / "study.csv"]
    writing.text(paths[0], markdown.page(*said))
    writing.text(paths[1], html.page(*said, lambda name: draw(name, "svg"), lead))
    writing.text(paths[2], csv_text(view))
    for section in said[2]:
        for block in section.blocks:
            if isinstance(block, Picture):
                paths.append(folder / "figures" / f"{block.name}.png")
                writing.data(paths[-1], draw(block.name, "png"))
    return tuple(paths)


def show(view: StudyView, console: Console) -> None:
    """Print the tables and what they say."""
    from rich.text import Text

    from mvdeploy.report.renderers.terminal import fitting

    for way in view.ways:
        for table in tables(view, way):
            console.print(fitting(table, console.width), highlight=False)
            console.print()
        for line in missing(way):
            console.print(Text(line, style="red"))
    for line in summary(view):
        console.print(Text(line))


def _blocks(view: StudyView, way: WayView) -> Iterator[Block]:
    yield from tables(view, way)
    if absent := missing(way):
        yield Paragraphs(absent)
    if view.study.series("accuracy") and any(e.ns for e in way.entries):
        limit = f" The line is {view.study.limit_title}." if view.study.limit_ms else ""
        yield Picture(
            _picture("accuracy", way),
            "Measured latency and published accuracy",
            "Points: measured latency against published accuracy, in bold those than which no "
            f"other is faster and more accurate; rings: published latency.{limit} The table has "
            "the same values.",
        )
    if any(entry.shares for entry in way.entries):
        yield Picture(
            _picture("shares", way),
            f"Shares of the latency, {way.time_kind} and published",
            "Stacked bars: the shares of each row, and paler below it those that are published. "
            "The table has the same values.",
        )


def _picture(drawing: str, way: WayView) -> str:
    return f"{drawing}-{way.way.format}-{way.way.precision}"


def _charts(view: StudyView) -> Iterator[tuple[str, Sequence[Points | Bars]]]:
    for way in view.ways:
        yield _picture("accuracy", way), charts.accuracies(view, way)
        yield _picture("shares", way), charts.shares(view, way)


def _drawn(view: StudyView, name: str, kind: Literal["png", "svg"]) -> bytes:
    from mvdeploy.report import figures
    from mvdeploy.report.figures import _accuracy, _shares, _style

    drawings = {"accuracy": _accuracy, "shares": _shares}
    drawing, way = next(
        (module, way)
        for kind, module in drawings.items()
        for way in view.ways
        if _picture(kind, way) == name
    )
    words = [row.name for row in view.study.rows] + [s.where for s in view.study.published]
    with _style.look(frozenset(letter for word in words for letter in word if letter > "\x7f")):
        return figures.saved(drawing.draw(view, way), kind)
