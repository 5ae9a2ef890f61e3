"""The medians of a series of runs, their levels and where these change."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from mvdeploy.analysis.trends import Trend
from mvdeploy.report.figures import _style
from mvdeploy.text_format import clean, elide, signed_percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TICKS = 8
"""Dates below the axis at most."""

_RUN, _LEVEL, _CHANGE = "#0072B2", "#222222", "#D55E00"
_TITLE = 90


def draw(trend: Trend) -> Figure:
    """Draw each run as a point with its interval, in equal steps from left to right."""
    figure = _style.figure(4.2)
    axes = figure.subplots()
    numbers = range(1, len(trend.points) + 1)
    medians = [point.median_ns / 1e6 for point in trend.points]
    axes.plot(numbers, medians, "o", ms=4.5, color=_RUN, label="median of a run, with its interval")
    for number, point in zip(numbers, trend.points, strict=True):
        if point.interval:
            ends = (point.interval.low / 1e6, point.interval.high / 1e6)
            axes.plot((number, number), ends, lw=1.2, color=_RUN)
    _levels(axes, trend)
    _dates(axes, trend)
    axes.set_xlabel("runs in the order of time")
    axes.set_ylabel("milliseconds (wall time)")
    axes.set_title(elide(clean(trend.label), _TITLE), loc="left")
    axes.margins(y=0.18)
    axes.grid()
    figure.legend(loc="outside upper right", ncols=3, fontsize=8)
    return figure


def _levels(axes: Any, trend: Trend) -> None:
    shifted = [i for i, point in enumerate(trend.points) if point.shift]
    for start, stop in itertools.pairwise((0, *shifted, len(trend.points))):
        level = trend.points[start].level_ns / 1e6
        label = "" if start else "level"
        axes.plot((start + 0.6, stop + 0.4), (level, level), lw=1.4, color=_LEVEL, label=label)
    for number, i in enumerate(shifted):
        shift = trend.points[i].shift
        label = "" if number else "change"
        axes.axvline(i + 0.5, lw=1.2, ls="--", color=_CHANGE, label=label)
        if shift is not None:
            axes.annotate(
                signed_percent(shift.share),
                (i + 0.5, 0.98),
                xycoords=("data", "axes fraction"),
                xytext=(3, 0),
                textcoords="offset points",
                va="top",
                size=8,
                color=_CHANGE,
            )


def _dates(axes: Any, trend: Trend) -> None:
    number = len(trend.points)
    step = -(-number // _TICKS)
    places = list(range(0, number, step))
    axes.set_xticks(
        [place + 1 for place in places],
        [clean(trend.points[place].entry.created)[:10] for place in places],
    )
    axes.set_xlim(0.4, number + 0.6)
