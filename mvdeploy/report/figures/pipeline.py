"""Stacked bars: from the bytes of a picture to an answer, by stage."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from mvdeploy.analysis.stages import BETWEEN, PART_TITLES, Part, StagesView, stages_view
from mvdeploy.analysis.view import View
from mvdeploy.report.figures import _style
from mvdeploy.text_format import milliseconds


def draw(view: View) -> Figure:
    """Draw one bar for each case whose stages were timed, labelled with milliseconds and share."""
    timed = [(case, found) for case in view.cases if (found := stages_view(case)) is not None]
    figure = _style.figure(1.5 + 0.72 * len(timed))
    axes = figure.subplots()
    looks = _looks([found for _, found in timed])
    labels: list[tuple[Any, Any]] = []
    largest = max(found.ns for _, found in timed)
    for row, (_, found) in enumerate(timed):
        left = 0.0
        for part in found.parts:
            labels += _segment(axes, row, left, part, looks[part.key])
            left += part.ns
        total = f"{milliseconds(found.ns)} ms"
        axes.text((left + 0.01 * largest) / 1e6, row, total, va="center", weight="bold", size=9)
    axes.set_yticks(range(len(timed)), [_style.case_label(view, case) for case, _ in timed])
    axes.set_ylim(len(timed) - 0.45, -0.55)
    axes.set_xlim(0, 1.13 * largest / 1e6)
    axes.set_xlabel("milliseconds of a usual pass (mean of the middle half)")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _legend(figure, view, looks)
    _style.fit(figure, labels)
    return figure


def _looks(found: list[StagesView]) -> dict[str, tuple[str, str]]:
    """Return colour and hatching of every stage that some case has, in order."""
    there = {part.key for one in found for part in one.parts}
    return {
        key: look
        for key, look in zip(PART_TITLES, _style.looks(), strict=False)
        if key in there and key != BETWEEN
    } | {BETWEEN: ("#BBBBBB", "")}


def _segment(
    axes: Any, row: int, left: float, part: Part, look: tuple[str, str]
) -> list[tuple[Any, Any]]:
    colour, hatch = look
    (bar,) = axes.barh(
        row,
        part.ns / 1e6,
        left=left / 1e6,
        height=0.62,
        color=colour,
        hatch=hatch,
        edgecolor="white",
        linewidth=0.8,
    )
    label = axes.text(
        (left + part.ns / 2) / 1e6,
        row,
        f"{milliseconds(part.ns)}\n{100 * part.share:.1f} %",
        ha="center",
        va="center",
        size=7.5,
        linespacing=1.25,
        bbox={"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": "none"},
    )
    return [(label, bar)]


def _legend(figure: Figure, view: View, looks: dict[str, tuple[str, str]]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(
            facecolor=colour,
            hatch=hatch,
            edgecolor="white",
            label=_style.label(view, PART_TITLES[key], 52),
        )
        for key, (colour, hatch) in looks.items()
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4, fontsize=8, handleheight=1.2)
