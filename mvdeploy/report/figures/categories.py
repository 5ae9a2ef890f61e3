"""Stacked bars: the latency of every case by category."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from mvdeploy.analysis.breakdown_view import UNATTRIBUTED_TITLES, Part
from mvdeploy.analysis.view import View
from mvdeploy.report.figures import _style
from mvdeploy.text_format import milliseconds


def draw(view: View) -> Figure:
    """Draw one bar for each profiled case, its parts labelled with milliseconds and share."""
    cases = view.profiled
    figure = _style.figure(1.35 + 0.72 * len(cases))
    axes = figure.subplots()
    looks = _style.part_looks(view)
    labels: list[tuple[Any, Any]] = []
    largest = max(case.breakdown.total_ns for case in cases if case.breakdown) or 1.0
    for row, case in enumerate(cases):
        divided = case.breakdown
        if divided is None:
            continue
        left = 0.0
        for part in divided.parts:
            labels += _segment(axes, row, left, part, looks[part.key])
            left += part.ns
        total = f"{milliseconds(divided.total_ns)} ms"
        kind = "" if divided.time_kind == "measured" else f"\n{divided.time_kind}"
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
    _legend(figure, view)
    _style.fit(figure, labels)
    return figure


def _segment(
    axes: Any, row: int, left: float, part: Part, look: tuple[str, str]
) -> list[tuple[Any, Any]]:
    if not part.ns:
        return []
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


def _legend(figure: Figure, view: View) -> None:
    from matplotlib.patches import Patch

    titles = {**view.categories, **UNATTRIBUTED_TITLES}
    handles = [
        Patch(
            facecolor=colour,
            hatch=hatch,
            edgecolor="white",
            label=_style.label(view, titles[key], 52),
        )
        for key, (colour, hatch) in _style.part_looks(view).items()
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4, fontsize=8, handleheight=1.2)
