"""p50 and p90 of every interval, and below them what the device told, on one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from mvdeploy.analysis.coincidence import clock_khz, hottest_c
from mvdeploy.analysis.sustained import SustainedView
from mvdeploy.analysis.view import View
from mvdeploy.report.figures import _style

_MEDIAN, _TAIL, _CLOCK, _HEAT, _WAIT = "#0072B2", "#56B4E9", "#332288", "#D55E00", "#009E73"
_MOST = 8
"""Cases that are drawn; a figure of more would be too tall to be read."""


def draw(view: View) -> Figure:
    """Draw two panels for each case."""
    found = view.sustained[:_MOST]
    figure = _style.figure(0.6 + 3.2 * len(found))
    ratios = [ratio for _ in found for ratio in (2, 1)]
    panels = figure.subplots(
        2 * len(found), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": ratios}
    )[:, 0]
    longest = max(one.record.until_s for one in found)
    unit, name = (60.0, "minutes") if longest >= 600 else (1.0, "seconds")
    for one, above, below in zip(found, panels[::2], panels[1::2], strict=True):
        _latency(view, one, above, unit)
        _device(view, one, below, unit)
        for axes in (above, below):
            _marks(one, axes, unit)
    panels[-1].set_xlabel(
        f"{name} of load; a line marks a change (shaded: it may have been so much earlier)"
    )
    panels[-1].set_xlim(0, longest / unit)
    return figure


def _latency(view: View, found: SustainedView, axes: Any, unit: float) -> None:
    intervals = found.record.intervals
    middles = [(i.start_s + i.length_s / 2) / unit for i in intervals]
    wide = {"marker": ".", "ms": 5 if len(intervals) <= 120 else 2}
    p90, p50, means = (
        [value / 1e6 for value in values]
        for values in (
            [i.p90_ns for i in intervals],
            [i.p50_ns for i in intervals],
            [i.wall_ns / i.count for i in intervals],
        )
    )
    axes.plot(middles, p90, color=_TAIL, lw=1, label="p90", **wide)
    axes.plot(middles, means, color="#777777", lw=1, ls=":", label="mean")
    axes.plot(middles, p50, color=_MEDIAN, lw=1.6, label="p50", **wide)
    axes.set_ylabel("ms")
    axes.set_ylim(0, _top([*p90, *p50]))
    axes.grid(axis="y")
    axes.set_title(_style.case_label(view, found.case, width=86, lines=1), loc="left")
    axes.legend(loc="upper right", ncols=3, fontsize=8, bbox_to_anchor=(1.0, 1.18))


def _top(values: Sequence[float]) -> float:
    """Return the end of an axis from zero on; single peaks leave it."""
    ordered = sorted(values)
    return 1.15 * min(ordered[-1], 2.5 * ordered[int(0.95 * (len(ordered) - 1))])


def _device(view: View, found: SustainedView, axes: Any, unit: float) -> None:
    """Draw clocks on the left; on the right heat, or how much the thread was kept waiting."""
    moments, cores = found.record.moments, view.run.plan.cores
    clocks = [(m.at_s / unit, clock_khz(m, "cpu_khz", cores)) for m in moments]
    limits = [(m.at_s / unit, clock_khz(m, "cpu_max_khz", cores)) for m in moments]
    heat = [(m.at_s / unit, hottest_c(m)) for m in moments]
    drawn = _line(axes, clocks, _CLOCK, 1e3, label="clock")
    drawn |= _line(axes, limits, _CLOCK, 1e3, label="allowed", ls=":")
    if drawn:
        axes.set_ylim(bottom=0)
        axes.set_ylabel("MHz", color=_CLOCK)
    else:
        axes.set_yticks([])
        axes.set_ylabel("no clocks")
    right = axes.twinx()
    right.grid(visible=False)
    if _line(right, heat, _HEAT, 1.0):
        right.set_ylabel("°C", color=_HEAT)
    elif (found.case.case.threads or view.run.plan.threads) == 1 and any(
        i.cpu_ns for i in found.record.intervals
    ):
        waits = [
            ((i.start_s + i.length_s / 2) / unit, 100 * max(0.0, 1 - i.cpu_ns / i.wall_ns))
            for i in found.record.intervals
        ]
        _line(right, waits, _WAIT, 1.0)
        right.set_ylim(0, 100)
        right.set_ylabel("% not\ncomputing", color=_WAIT)
    else:
        right.set_yticks([])


def _line(
    axes: Any, points: Sequence[tuple[float, float | None]], color: str, scale: float, **look: Any
) -> bool:
    known = [(x, y / scale) for x, y in points if y is not None]
    if known:
        axes.plot(*zip(*known, strict=True), color=color, lw=1.2, **look)
    return bool(known)


def _marks(found: SustainedView, axes: Any, unit: float) -> None:
    for shift in found.shifts:
        axes.axvspan((shift.at_s - shift.within_s) / unit, shift.at_s / unit, color="#eeeeee")
        axes.axvline(shift.at_s / unit, color=_style.INK, lw=1, ls="--")
    for gap in found.record.gaps:
        stop_s = gap.start_s + gap.length_s if gap.length_s else found.record.until_s
        axes.axvspan(
            gap.start_s / unit, stop_s / unit, facecolor="none", edgecolor="#999999", hatch="//"
        )
