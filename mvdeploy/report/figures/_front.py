"""Latency against something else, and the front of what is worth having."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mvdeploy.analysis.pareto import Placed, Standing
from mvdeploy.analysis.sweep import Front
from mvdeploy.report.figures import _style
from mvdeploy.text_format import clean, elide

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAME, _NAMED = 34, 24
"""Letters of a name, and names that a figure has at most."""

_SURE, _BEHIND = "#0072B2", "#AAAAAA"
_LOOKS: dict[Standing, dict[str, Any]] = {
    Standing.FRONT: {"color": _SURE},
    Standing.OPEN: {"color": _SURE, "mfc": "white"},
    Standing.BEHIND: {"color": _BEHIND},
}
_TITLES = {
    Standing.FRONT: "surely on the front",
    Standing.OPEN: "cannot be told",
    Standing.BEHIND: "behind",
}


def draw(front: Front) -> Figure:
    """Draw every case as a point with its interval, and the front of the estimates as steps."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = _style.figure(4.8)
    axes = figure.subplots()
    _steps(axes, front)
    for placed in front.placed:
        _point(axes, placed)
    texts = _names(axes, front)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if front.key == "macs":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("milliseconds of one image (wall time; logarithmic)")
    axes.set_ylabel(clean(front.title))
    axes.set_title(clean(front.where), loc="left")
    axes.margins(x=0.12, y=0.12)
    axes.grid()
    there = [s for s in Standing if any(one.standing is s for one in front.placed)]
    handles = [Line2D([], [], ls="", marker="o", label=_TITLES[s], **_LOOKS[s]) for s in there]
    handles.append(Line2D([], [], lw=1.2, color=_SURE, label="front of the estimates"))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), fontsize=8)
    _uncover(figure, texts)
    return figure


def _steps(axes: Any, front: Front) -> None:
    drawn = sorted((one.point.time / 1e6, one.point.other) for one in front.placed if one.drawn)
    times, others = zip(*drawn, strict=True)
    axes.step(times, others, where="post", lw=1.2, color=_SURE, alpha=0.6)


def _point(axes: Any, placed: Placed) -> None:
    point, look = placed.point, _LOOKS[placed.standing]
    if point.low > 0 and point.high < math.inf:
        ends = (point.low / 1e6, point.high / 1e6)
        axes.plot(ends, (point.other, point.other), lw=1.1, color=look["color"])
    axes.plot(point.time / 1e6, point.other, "o", ms=5.5, zorder=3, **look)


def _names(axes: Any, front: Front) -> list[Any]:
    """Write names, of those on the front first; many would cover one another."""
    texts: list[Any] = []
    ordered = sorted(front.placed, key=lambda one: (not one.drawn, one.standing == "behind"))
    for placed in ordered[:_NAMED]:
        text = axes.annotate(
            elide(clean(placed.point.name), _NAME),
            (placed.point.time / 1e6, placed.point.other),
            xytext=(4, 4),
            textcoords="offset points",
            size=7,
            weight="bold" if placed.standing is Standing.FRONT else "normal",
            color=_style.INK if placed.standing is not Standing.BEHIND else "#777777",
        )
        texts.append(text)
    return texts


def _uncover(figure: Figure, texts: Sequence[Any]) -> None:
    """Hide names that would be drawn over earlier ones."""
    figure.draw_without_rendering()
    shown: list[Any] = []
    for text in texts:
        box = text.get_window_extent()
        text.set_visible(not any(box.overlaps(other) for other in shown))
        if text.get_visible():
            shown.append(box)
