"""Which modules in whole numbers cost most, each where it is the only one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdeploy.records import Sensitivity
from mvdeploy.report.figures import _style
from mvdeploy.text_format import clean, elide

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 24
"""Modules that have a bar."""

_WIDTH = 56
_KEPT, _WHOLE = ("#D55E00", "//"), ("#0072B2", "")


def draw(found: Sensitivity, label: str) -> Figure:
    """Draw a bar for each of the costliest modules: its share of the noise.

    Args:
        found: the modules.
        label: of the network, its format and precision.
    """
    rows = found.modules[:SHOWN]
    figure = _style.figure(1.5 + 0.24 * max(1, len(rows)))
    axes = figure.subplots()
    for kept, (colour, hatch) in ((False, _WHOLE), (True, _KEPT)):
        chosen = [(at, row) for at, row in enumerate(rows) if (row.module in found.kept) is kept]
        if not chosen:
            continue
        axes.barh(
            [at for at, _ in chosen],
            [100 * row.share for _, row in chosen],
            height=0.78,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.5,
            label="proposed to stay in float" if kept else "in whole numbers",
        )
    for at, row in enumerate(rows):
        text = "no change" if row.snr_db is None else f"{row.snr_db:.1f} dB"
        place = (100 * row.share, at)
        axes.annotate(text, place, (3, 0), textcoords="offset points", va="center", size=7)
    names = [elide(clean(row.module) or "(network)", _WIDTH) for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 112 * max([row.share for row in rows], default=1.0) or 1.0)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(
        "share of the noise, % (beside it the SNR of the outputs with this module alone)"
    )
    axes.set_title(elide(clean(label), 110), loc="left")
    axes.grid(axis="x")
    if found.kept:
        figure.legend(loc="outside upper left", ncols=2, fontsize=8)
    return figure
