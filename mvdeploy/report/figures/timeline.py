"""Every sample in the order it was taken, so that drift can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mvdeploy.analysis.cases import Timing
from mvdeploy.analysis.view import View
from mvdeploy.report.figures import _style
from mvdeploy.text_format import count

_DOTS = "#0072B2"
_MEDIAN = "#D55E00"


def draw(view: View) -> Figure:
    """Draw one panel for each measured case, its sessions one after the other."""
    cases = [(case, case.timing) for case in view.measured if case.timing]
    figure = _style.figure(0.75 + 1.45 * len(cases))
    panels = figure.subplots(len(cases), 1, squeeze=False)[:, 0]
    for axes, (case, timing) in zip(panels, cases, strict=True):
        low, high = _limits(timing)
        _samples(axes, timing)
        axes.set_ylim(low, high)
        beyond = sum(t / 1e6 > high for t in timing.wall_ns)
        label = _style.case_label(view, case, width=86, lines=1)
        above = f"   ({count(beyond, 'sample')} above the frame)" if beyond else ""
        axes.set_title(label + above, loc="left")
        axes.set_ylabel("ms")
        axes.grid(axis="y")
    panels[-1].set_xlabel(
        "seconds of measured time; lines separate sessions, bars are session medians"
    )
    return figure


def _limits(timing: Timing) -> tuple[float, float]:
    # The tail would press the body flat, where drift shows; samples beyond are counted instead.
    wall = timing.wall
    low, high = wall.min / 1e6, min(wall.max, wall.p90 + 2 * (wall.p90 - wall.p10)) / 1e6
    pad = 0.12 * (high - low) or 0.05 * high or 1.0
    return low - pad, high + pad


def _samples(axes: Any, timing: Timing) -> None:
    sessions = [np.asarray(s.wall_ns, dtype=float) for s in timing.sessions if len(s)]
    times = np.concatenate(sessions)
    at = np.cumsum(times) / 1e9
    axes.plot(at, times / 1e6, ".", ms=3.5, color=_DOTS, alpha=0.5, mew=0, rasterized=True)
    start = 0.0
    for session, end in zip(sessions, at[np.cumsum([*map(len, sessions)]) - 1], strict=True):
        if start:
            axes.axvline(start, color="#666666", lw=0.8, ls="--")
        median = float(np.median(session)) / 1e6
        axes.plot([start, end], [median, median], color=_MEDIAN, lw=2)
        start = float(end)
    axes.set_xlim(0, start)
