"""Stacked bars: the latency of every case by category."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from mvdeploy.analysis.breakdown_view import PART_TITLES, Part
from mvdeploy.analysis.view import View
from mvdeploy.report.figures import _style
from mvdeploy.text_format import milliseconds


def draw(view: View) -> Figure:
    """Draw one bar for each profiled case, its parts labelled with milliseconds and share."""
    cases = view.profiled
    figure = _style.figure(1.35 + 0.72 * len(cases))
    axes = figure.subplots()
    labels: list[tuple[Any, Any]] = []
    largest = max(case.shares.total_ns for case in cases if case.shares) or 1.0
    for row, case in enumerate(cases):
        if case.shares is None:
            continue
        left = 0.0
        for part in case.shares.parts:
            labels += _segment(axes, row, left, part)
            left += part.ns
        total = f"{milliseconds(case.shares.total_ns)} ms"
        kind = "" if case.shares.time_kind == "measured" else f"\n{case.shares.time_kind}"
        axes.text(
            (left + 0.01 * largest) / 1e6, row, total + kind, va="center", weight="bold", size=9
        )
    axes.set_yticks(range(len(cases)), [_style.case_label(view, case) for case in cases])
    axes.set_ylim(len(cases) - 0.45, -0.55)
    axes.set_xlim(0, 1.13 * largest / 1e6)
    axes.set_xlabel("milliseconds of one inference (p50)")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _legend(figure)
    _style.fit(figure, labels)
    return figure


def _segment(axes: Any, row: int, left: float, part: Part) -> list[tuple[Any, Any]]:
    if not part.ns:
        return []
    colour, hatch = _style.PART_LOOKS[part.key]
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


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=PART_TITLES[key])
        for key, (colour, hatch) in _style.PART_LOOKS.items()
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4, fontsize=8, handleheight=1.2)
