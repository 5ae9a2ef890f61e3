"""The distribution of the samples of every case, with its percentiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mvdeploy.analysis.cases import Timing
from mvdeploy.analysis.view import View
from mvdeploy.report.figures import _style
from mvdeploy.text_format import milliseconds

_BINS = 160
_FEW = 30
_MANY = 1000
_MARKS = {"p50": ("o", 0.12), "p90": ("^", 0.22), "p99": ("D", 0.12)}
"""Sign and height of each percentile; neighbours stand at different heights."""


def draw(view: View) -> Figure:
    """Draw one row for each measured case: density above, percentiles below, values beside."""
    cases = [(case, case.timing) for case in view.measured if case.timing]
    figure = _style.figure(1.25 + 0.82 * len(cases))
    axes = figure.subplots()
    low = min(t.wall.min for _, t in cases) / 1e6
    high = max(t.wall.p99 for _, t in cases) / 1e6
    pad = 0.04 * (high - low) or 0.05 * high or 1.0
    edges = np.linspace(low - pad, high + pad, _BINS + 1)
    for row, (case, timing) in enumerate(cases):
        _row(axes, row, edges, timing, _style.case_look(view, case)[0])
        _values(axes, row, timing, edges[-1])
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(len(cases) - 0.6, -0.72)
    axes.set_yticks(range(len(cases)), [_style.case_label(view, case) for case, _ in cases])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("milliseconds of one inference (wall time, measured)")
    axes.grid(axis="x")
    _legend(figure)
    return figure


def _row(axes: Any, row: int, edges: Any, timing: Timing, colour: str) -> None:
    times = np.asarray(timing.wall_ns, dtype=float) / 1e6
    if len(times) < _FEW:
        axes.plot(times, np.full(len(times), row - 0.12), "o", ms=3, color=colour, alpha=0.6)
    else:
        density = _smooth(np.histogram(times, edges)[0].astype(float))
        middles = (edges[:-1] + edges[1:]) / 2
        height = 0.6 * density / (density.max() or 1.0)
        axes.fill_between(middles, row, row - height, color=colour, alpha=0.55, lw=0)
        axes.plot(middles, row - height, color=colour, lw=0.9)
    axes.axhline(row, color="#999999", lw=0.6)
    for name, (marker, below) in _MARKS.items():
        value = getattr(timing.wall, name) / 1e6
        axes.plot(value, row + below, marker, color=_style.INK, ms=4.5, mfc=_fill(name))


def _values(axes: Any, row: int, timing: Timing, edge: float) -> None:
    wall = timing.wall
    beyond = sum(t / 1e6 > edge for t in timing.wall_ns)
    lines = [
        f"p50 {milliseconds(wall.p50)}   n {wall.count:,}",
        f"p90 {milliseconds(wall.p90)}   p99 {milliseconds(wall.p99)}",
        f"max {milliseconds(wall.max)}",
    ]
    if beyond:
        lines[2] += f"   {beyond:,} beyond"
    axes.annotate(
        "\n".join(lines),
        (1.0, row - 0.12),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        size=7.5,
        linespacing=1.3,
    )


def _smooth(density: Any) -> Any:
    # With fewer samples single bins say less, so they are spread further.
    kernel = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    for _ in range(1 if density.sum() > _MANY else 6):
        density = np.convolve(density, kernel, mode="same")
    return density


def _fill(name: str) -> str:
    return _style.INK if name == "p50" else "white"


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], ls="", marker=marker, color=_style.INK, mfc=_fill(name), label=name)
        for name, (marker, _) in _MARKS.items()
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), fontsize=8)
