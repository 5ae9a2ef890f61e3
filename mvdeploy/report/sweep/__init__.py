"""The report of a sweep: one table, how latency grows with the image, what is worth having."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mvdeploy.analysis.sweep import Front, SweepView
from mvdeploy.files import writing
from mvdeploy.report.document import Block, Paragraphs, Picture, Section
from mvdeploy.report.renderers import html, markdown
from mvdeploy.report.sweep.prose import about_fronts, growth, how, missing, summary
from mvdeploy.report.sweep.tables import (
    conditions,
    front,
    parts,
    results,
    scalings,
    short_results,
)
from mvdeploy.report.sweep.values import csv_text, json_text
from mvdeploy.text_format import clean

if TYPE_CHECKING:
    from rich.console import Console

_SCALING = "scaling"


def title(view: SweepView) -> str:
    """Return the title of a report."""
    where = f" on {view.device.profile.title}" if view.device else ""
    return clean(f"Sweep of {view.saved.title}{where}")


def about(view: SweepView) -> str:
    """Return when and with what it was measured."""
    saved = view.saved
    return clean(f"{saved.created} · mvdeploy {saved.conditions.get('mvdeploy', '')}")


def sections(view: SweepView) -> tuple[Section, ...]:
    """Return all parts of a report that have something to say."""
    parts_of = (
        Section("summary", "Summary", (Paragraphs(summary(view)),)),
        Section("results", "Results", tuple(_results(view))),
        Section("growth", "How latency grows with the image", tuple(_growth(view))),
        Section("fronts", "What is worth having", tuple(_fronts(view))),
        Section("conditions", "Conditions", (*conditions(view), Paragraphs(how(view)))),
    )
    return tuple(section for section in parts_of if section.blocks)


def write(view: SweepView, folder: Path) -> tuple[Path, ...]:
    """Write report.md, report.html, report.json, sweep.csv and the figures.

    Raises:
        NotWritten: the folder cannot be written to.
    """
    draw = functools.cache(functools.partial(_drawn, view))
    said = title(view), about(view), sections(view)
    paths = [folder / n for n in ("report.md", "report.html", "report.json", "sweep.csv")]
    writing.text(paths[0], markdown.page(*said))
    writing.text(paths[1], html.page(*said, lambda name: draw(name, "svg")))
    writing.text(paths[2], json_text(view) + "\n")
    writing.text(paths[3], csv_text(view))
    for section in said[2]:
        for block in section.blocks:
            if isinstance(block, Picture):
                paths.append(folder / "figures" / f"{block.name}.png")
                writing.data(paths[-1], draw(block.name, "png"))
    return tuple(paths)


def show(view: SweepView, console: Console) -> None:
    """Print the tables and what they say."""
    from rich.text import Text

    from mvdeploy.report.renderers.terminal import fitting

    for line in summary(view):
        console.print(Text(line, style="bold"))
    tables = (short_results(view), *scalings(view))
    for table in tables:
        console.print()
        console.print(fitting(table, console.width), highlight=False)
    for line in missing(view):
        console.print(Text(line, style="red"))


def _results(view: SweepView) -> Iterator[Block]:
    yield results(view)
    if absent := missing(view):
        yield Paragraphs(absent)


def _growth(view: SweepView) -> Iterator[Block]:
    if said := growth(view):
        yield Paragraphs(said)
    if any(series.pixels for series in view.series):
        yield Picture(
            _SCALING,
            "Latency over pixels, both logarithmic",
            "Points: the latency of each size with its interval; lines: the power law that fits "
            "them, one for each network, and dotted the growth that its MACs alone would have, "
            "from the smallest size on. The tables have the same values.",
        )
    yield from scalings(view)
    yield from parts(view)


def _fronts(view: SweepView) -> Iterator[Block]:
    if view.fronts:
        yield Paragraphs(about_fronts(view))
    for number, one in enumerate(view.fronts):
        yield Picture(
            _front_name(number, one),
            _front_title(one),
            "Points: latency with its interval against the other; filled: surely on the front, "
            "rings: cannot be told, pale: behind. The line is the front of the estimates. The "
            "table has the same values.",
        )
        yield front(one, _front_title(one))


def _front_name(number: int, one: Front) -> str:
    return f"front-{number + 1}-{one.key}"


def _front_title(one: Front) -> str:
    return f"Latency of one image and {one.noun}{f', {one.where}' if one.where else ''}"


def _drawn(view: SweepView, name: str, kind: Literal["png", "svg"]) -> bytes:
    from mvdeploy.report import figures
    from mvdeploy.report.figures import _front as fronts
    from mvdeploy.report.figures import _scaling, _style

    words = [entry.name for entry in view.entries] + [view.saved.accuracy]
    with _style.look(frozenset(letter for word in words for letter in word if letter > "\x7f")):
        if name == _SCALING:
            return figures.saved(_scaling.draw(view), kind)
        one = next(o for i, o in enumerate(view.fronts) if _front_name(i, o) == name)
        return figures.saved(fronts.draw(one), kind)
