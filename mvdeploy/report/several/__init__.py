"""The page of several runs: devices side by side, each ratio labelled as unpaired."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Literal

from mvdeploy.analysis.several import SeveralView
from mvdeploy.report.document import Block, Paragraphs, Picture, Section
from mvdeploy.report.several import prose, tables
from mvdeploy.text_format import clean, join

LATENCY, SHARES = "several-latency", "several-shares"
"""Names of the figures."""


def title(view: SeveralView) -> str:
    """Return the title of the page."""
    places = [place.name for place in view.places]
    if len(places) > 3:
        return f"Latency of {len(view.rows)} cases in {len(places)} places"
    what = view.rows[0].name if len(view.rows) == 1 else f"{len(view.rows)} cases"
    return clean(f"Latency of {what}: {join(places)}")


def about(view: SeveralView) -> str:
    """Return which runs these are, on one line."""
    return clean(" · ".join(f"{one.run.name} ({one.run.created})" for one in view.views))


def sections(view: SeveralView) -> tuple[Section, ...]:
    """Return all parts of the page that have something to say."""
    parts = (
        Section("summary", "Summary", (Paragraphs(prose.summary(view)),)),
        Section("latency", "Latency", tuple(_latency(view))),
        Section("breakdown", "Where the time goes", tuple(_shares(view))),
        Section("conditions", "Conditions", tuple(tables.conditions(view))),
    )
    return tuple(part for part in parts if part.blocks)


def pictures(view: SeveralView) -> tuple[Picture, ...]:
    """Return the figures of the page, in order."""
    return tuple(b for s in sections(view) for b in s.blocks if isinstance(b, Picture))


def _latency(view: SeveralView) -> Iterator[Block]:
    yield from tables.latencies(view)
    if view.shared:
        yield from tables.ratios(view)
    yield from tables.turns(view)
    if absent := prose.problems(view):
        yield Paragraphs(absent)
    if any(cell.case.timing for _, _, cell in view.cells()):
        yield Picture(
            LATENCY,
            "Median latencies",
            "Horizontal bars: the median latency of every case, one bar for each place, with its "
            "95 % interval within the run. The table has the same values.",
        )


def _shares(view: SeveralView) -> Iterator[Block]:
    if not view.divided:
        return
    yield tables.shares(view)
    yield Picture(
        SHARES,
        "Shares of the latency",
        "Stacked bars: the parts of every latency in percent, one bar for each place. The table "
        "has the same values.",
    )
    yield from tables.losses(view)


def drawing(view: SeveralView) -> Callable[[str, Literal["png", "svg"]], bytes]:
    """Return what draws the figures, by name and file format."""
    from mvdeploy.report import figures
    from mvdeploy.report.figures import _several, _style

    draw = {LATENCY: _several.latencies, SHARES: _several.shares}

    @functools.cache
    def drawn(name: str, kind: Literal["png", "svg"]) -> bytes:
        with _style.look(_several.letters(view)):
            return figures.saved(draw[name](view), kind)

    return drawn
