"""Shares of the latency, row by row: as measured, and below as published."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from mvdeploy.analysis.breakdown_view import OUTSIDE
from mvdeploy.analysis.study import Entry, StudyView, WayView
from mvdeploy.records.study import Study, StudyPart
from mvdeploy.report.figures import _style
from mvdeploy.text_format import clean, elide

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAME, _LEAST = 28, 0.06
"""Letters of a name, and share of a bar from which on it is written out."""

_OTHER = "Other"
_UNATTRIBUTED = "Unattributed"


def drawable(study: Study) -> tuple[StudyPart, ...]:
    """Return the parts that can be stacked: those that are no sum of others."""
    return tuple(
        part for part in study.parts if not any(set(one.of) < set(part.of) for one in study.parts)
    )


def draw(view: StudyView, way: WayView) -> Figure:
    """Draw two bars for each row, the published one pale and only where there is one."""
    entries = [entry for entry in way.entries if entry.shares]
    figure = _style.figure(1.3 + 0.5 * len(entries))
    axes = figure.subplots()
    looks = looks_of(view, way)
    for row, entry in enumerate(entries):
        bar(axes, row - 0.17, 0.32, measured(view, way, entry), looks)
        bar(axes, row + 0.17, 0.26, published(view.study, entry), looks, pale=True)
    axes.set_yticks(range(len(entries)), [elide(clean(e.row.name), _NAME) for e in entries])
    axes.set_ylim(len(entries) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"percent of the latency: {way.time_kind}, and below it, paler, published")
    axes.tick_params(axis="y", length=0)
    legend(figure, looks)
    return figure


def looks_of(view: StudyView, way: WayView) -> dict[str, tuple[str, str]]:
    """Return colour and hatching of everything that is stacked, in order."""
    titles = (part.title for part in drawable(view.study))
    looks = dict(zip(titles, _style.looks(), strict=False))
    if way.has_others:
        looks[_OTHER] = ("#999999", "**")
    looks[_UNATTRIBUTED] = _style.unattributed(OUTSIDE)
    return looks


def measured(view: StudyView, way: WayView, entry: Entry) -> dict[str, float]:
    """Return the shares of a row with a breakdown that are stacked."""
    shares = {part.title: entry.shares[part.title] for part in drawable(view.study)}
    if way.has_others:
        shares[_OTHER] = max(0.0, 1 - sum(shares.values()) - entry.unattributed)
    return {**shares, _UNATTRIBUTED: entry.unattributed}


def published(study: Study, entry: Entry) -> dict[str, float]:
    """Return the published shares of a row that can be stacked."""
    stacked = {part.title for part in drawable(study)}
    return {
        one.part: one.values[entry.row.name] / 100
        for one in study.series("share")
        if one.part in stacked and entry.row.name in one.values
    }


def bar(
    axes: Any,
    middle: float,
    height: float,
    shares: dict[str, float],
    looks: dict[str, tuple[str, str]],
    pale: bool = False,
) -> None:
    """Stack shares of one latency.

    Args:
        axes: from 0 to 100 percent.
        middle: place of the bar.
        height: of it.
        shares: by the titles of their parts.
        looks: colour and hatching of every part.
        pale: drawn paler.
    """
    ends = itertools.accumulate(shares.values())
    for (title, share), end in zip(shares.items(), ends, strict=True):
        colour, hatch = looks[title]
        axes.barh(
            middle,
            100 * share,
            height,
            left=100 * (end - share),
            color=colour,
            hatch=hatch,
            edgecolor="white",
            alpha=0.45 if pale else 1,
        )
        if share >= _LEAST:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8}
            place = (100 * (end - share / 2), middle)
            axes.annotate(f"{100 * share:.1f}", place, ha="center", va="center", size=7, bbox=box)


def legend(figure: Figure, looks: dict[str, tuple[str, str]]) -> None:
    """Tell above the figure which part looks how."""
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=clean(title))
        for title, (colour, hatch) in looks.items()
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=5, fontsize=8)
