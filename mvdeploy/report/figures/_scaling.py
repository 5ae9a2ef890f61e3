"""Latency over pixels, both logarithmic: points, power laws that fit them, growth of MACs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mvdeploy.analysis.ratios import CLOCK_NAMES
from mvdeploy.analysis.sweep import Series, SweepView, title_of
from mvdeploy.report.figures import _style
from mvdeploy.text_format import clean, elide

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mvdeploy.records.sweep import SweepWay

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#882255")
_MARKS = "os^Dv<>P"
_NAME = 60


def draw(view: SweepView) -> Figure:
    """Draw a panel for each way, with a line for each network in it."""
    ways = [way for way in view.ways if any(_is_fitted(s, way) for s in view.series)]
    most = max(sum(_is_fitted(s, way) for s in view.series) for way in ways)
    figure = _style.figure(1.2 + (3.4 + 0.14 * most) * len(ways))
    panels = figure.subplots(len(ways), squeeze=False)[:, 0]
    for axes, way in zip(panels, ways, strict=True):
        for number, series in enumerate(s for s in view.series if _is_fitted(s, way)):
            _draw(axes, series, number)
        axes.set_title(clean(title_of(view.saved, way)), loc="left")
        axes.set_xlabel("pixels of one image (logarithmic)")
        clock = next(series.clock for series in view.series if series.way == way)
        axes.set_ylabel(f"milliseconds ({CLOCK_NAMES[clock]}; logarithmic)")
        _scales(axes, view, way)
        axes.grid()
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7.5)
    _legend(figure)
    return figure


def _is_fitted(series: Series, way: SweepWay) -> bool:
    return series.way == way and series.pixels is not None


def _draw(axes: Any, series: Series, number: int) -> None:
    found = series.pixels
    if found is None:
        return
    colour = _COLOURS[number % len(_COLOURS)]
    pixels = [entry.planned.pixels for entry in series.entries]
    levels = [entry.by(series.clock) for entry in series.entries]
    times = [level.ns / 1e6 if level else math.nan for level in levels]
    batch = f", batch {series.batch}" if series.batch > 1 else ""
    label = f"{elide(clean(series.network), _NAME)}{batch}: {found.exponent:.2f}"
    mark = _MARKS[number % len(_MARKS)]
    axes.plot(pixels, times, mark, ms=5, color=colour, label=label)
    for level, at in zip(levels, pixels, strict=True):
        if level and level.interval:
            ends = [ns / 1e6 for ns in level.interval]
            axes.plot((at, at), ends, lw=1.1, color=colour)
    ends_x = (pixels[0], pixels[-1])
    axes.plot(ends_x, [found.at(x) / 1e6 for x in ends_x], lw=1.3, color=colour)
    if series.macs is not None:
        grown = found.at(pixels[0]) / 1e6 * (pixels[-1] / pixels[0]) ** series.macs
        axes.plot(ends_x, (found.at(pixels[0]) / 1e6, grown), lw=1.2, ls=":", color=colour)


def _scales(axes: Any, view: SweepView, way: SweepWay) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = {e.planned.pixels: e.planned.image_size for e in view.entries if e.planned.way == way}
    labels = [f"{h}²" if h == w else f"{h}x{w}" for _, (h, w) in sorted(sizes.items())]
    axes.set_xticks(sorted(sizes), labels)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.06, y=0.1)


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], lw=1.3, color=_style.INK, label="power law (exponent beside the name)"),
        Line2D([], [], lw=1.2, ls=":", color=_style.INK, label="as its MACs grow"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, fontsize=8)
