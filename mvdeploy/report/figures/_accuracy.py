"""Measured latency against published accuracy, a panel for each kind of accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mvdeploy.analysis.study import StudyView, WayView
from mvdeploy.records.study import Published
from mvdeploy.report.figures import _style
from mvdeploy.text_format import clean, elide

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAME = 28
_STROKES = 0.4
"""Part of a panel, as a share of the rest, that rows without a published accuracy have."""

_MEASURED, _PUBLISHED = "#0072B2", "#D55E00"


def draw(view: StudyView, way: WayView) -> Figure:
    """Draw the measured latencies as points, and the published ones as rings where there are any.

    Rows without a published accuracy stand as strokes on the axis, in the panel of their task.
    """
    series = view.study.series("accuracy")
    figure = _style.figure(1.0 + 3.6 * len(series))
    panels = figure.subplots(len(series), squeeze=False)[:, 0]
    any_strokes = False
    for axes, one in zip(panels, series, strict=True):
        _points(axes, view, way, one)
        strokes = _without_accuracy(axes, view, way, one)
        any_strokes |= strokes
        if view.study.limit_ms is not None:
            axes.axvline(view.study.limit_ms, color="#009E73", lw=1.2, ls="--")
            axes.annotate(
                view.study.limit_title,
                (view.study.limit_ms, 0.02),
                xycoords=("data", "axes fraction"),
                xytext=(3, 0),
                textcoords="offset points",
                rotation=90,
                size=7.5,
                color="#009E73",
            )
        axes.set_xscale("log")
        axes.set_xlabel("milliseconds of one inference (wall time, median; logarithmic)")
        axes.set_ylabel(f"{clean(one.title)}, {clean(one.unit)} (published)")
        axes.set_title(clean(one.where), loc="left")
        axes.margins(x=0.12, y=0.14)
        if strokes:  # which have the lower part for themselves
            low, high = axes.get_ylim()
            axes.set_ylim(low - _STROKES * (high - low), high)
        axes.grid()
        _plain_numbers(axes)
    _legend(figure, view, any_strokes)
    return figure


def _points(axes: Any, view: StudyView, way: WayView, series: Published) -> None:
    front = set(way.front)
    for entry in way.entries:
        name, accuracy = entry.row.name, series.values.get(entry.row.name)
        if accuracy is None:
            continue
        if entry.ns is not None:
            axes.plot(entry.ns / 1e6, accuracy, "o", ms=6, color=_MEASURED)
            weight = "bold" if name in front else "normal"
            axes.annotate(
                elide(clean(name), _NAME),
                (entry.ns / 1e6, accuracy),
                xytext=(5, 4),
                textcoords="offset points",
                size=7.5,
                weight=weight,
            )
        for latency in view.study.series("latency"):
            if (ms := latency.values.get(name)) is not None:
                axes.plot(ms, accuracy, "o", ms=6, mfc="none", color=_PUBLISHED)


def _without_accuracy(axes: Any, view: StudyView, way: WayView, series: Published) -> bool:
    """Draw the strokes; return whether there are any."""
    known = {name for one in view.study.series("accuracy") for name in one.values}
    tasks = {row.task for row in view.study.rows if row.name in series.values}
    others = [e for e in way.entries if e.row.name not in known and e.row.task in tasks]
    for entry in others:
        if entry.ns is None:
            continue
        axes.plot(entry.ns / 1e6, 0, "|", ms=14, color=_MEASURED, transform=_on_axis(axes))
        axes.annotate(
            elide(clean(entry.row.name), _NAME),
            (entry.ns / 1e6, 0.045),
            xycoords=("data", "axes fraction"),
            size=7,
            rotation=60,
            color="#555555",
        )
    return any(entry.ns for entry in others)


def _on_axis(axes: Any) -> Any:
    return axes.get_xaxis_transform()


def _plain_numbers(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, view: StudyView, strokes: bool) -> None:
    from matplotlib.lines import Line2D

    where = view.device.profile.title if view.device else ""
    handles = [Line2D([], [], ls="", marker="o", color=_MEASURED, label=f"measured, {where}")]
    if strokes:
        lacking = "measured, without a published accuracy"
        handles.append(Line2D([], [], ls="", marker="|", ms=10, color=_MEASURED, label=lacking))
    if latencies := view.study.series("latency"):
        titles = ", ".join(dict.fromkeys(one.title for one in latencies))
        label = f"published latency ({titles})"
        ring = Line2D([], [], ls="", marker="o", mfc="none", color=_PUBLISHED, label=label)
        handles.append(ring)
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), fontsize=8)
