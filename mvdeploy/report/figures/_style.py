"""The look that all figures share."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mvdeploy.analysis.breakdown_view import OUTSIDE, UNPLACED
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.view import View
from mvdeploy.report.figures import _text
from mvdeploy.text_format import clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _matplotlib() -> Any:
    """Import matplotlib, whatever display and home folder the environment names."""
    if "matplotlib" in sys.modules:
        return importlib.import_module("matplotlib")
    log = logging.getLogger("matplotlib")
    level, backend = log.level, os.environ.pop("MPLBACKEND", None)
    log.setLevel(logging.ERROR)  # it warns of a cache folder that it cannot write to
    try:
        imported = importlib.import_module("matplotlib")
    finally:
        log.setLevel(level)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        # That of a notebook may not be installed here. Nothing here needs one; others may.
        with contextlib.suppress(ValueError):
            imported.rcParams["backend"] = backend
    return imported


mpl = _matplotlib()

WIDTH = 10.0
"""Inches."""

INK = "#222222"
FAINT = "#d0d0d0"

_CATEGORY_LOOKS = (
    *(
        ("#56B4E9", "//"),
        ("#0072B2", ""),
        ("#F0E442", ".."),
        ("#D55E00", "\\\\"),
        ("#009E73", "xx"),
    ),
    *(
        ("#E69F00", "++"),
        ("#332288", "--"),
        ("#882255", "**"),
        ("#44AA99", "||"),
        ("#DDDDDD", "//"),
    ),
)
"""Colour (Okabe-Ito, then Tol, safe for the colour-blind) and hatching (for grey prints) of the
categories, in their order; the first five are those of `Category`."""

_UNATTRIBUTED_LOOKS = {UNPLACED: ("#CC79A7", "oo"), OUTSIDE: ("#BBBBBB", "--")}

_GAP = 4
"""Pixels at 100 dpi that stay free beside a label."""

_CASE_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_CASE_HATCHES = ("", "//", "..", "\\\\", "xx", "--", "oo", "++")

_RC: dict[str, Any] = {
    "font.size": 9.0,
    "text.usetex": False,
    # Names from files may hold dollar signs, which are no mathematics.
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 9.5,
    "axes.formatter.useoffset": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.7,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": None,
    "svg.fonttype": "path",
    "svg.hashsalt": "mvdeploy",
}


@contextlib.contextmanager
def applied(view: View) -> Iterator[None]:
    """Draw and save with this look, whatever the user's own matplotlib settings are.

    Args:
        view: what is drawn; its names choose further fonts.
    """
    with look(_text.letters(view)):
        yield


@contextlib.contextmanager
def look(letters: frozenset[str]) -> Iterator[None]:
    """Draw and save with this look; `letters` of names choose further fonts."""
    defaults = {k: v for k, v in mpl.rcParamsDefault.items() if k != "backend"}
    more, _ = _text.families(letters)
    settings: dict[Any, Any] = {**defaults, **_RC, "font.family": [_text.FONT, *more]}
    with mpl.rc_context(settings):
        yield


def figure(height: float) -> Figure:
    """Return an empty figure.

    Args:
        height: inches.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from mvdeploy.report.figures._shown import ShownFigure

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08)
    return ShownFigure(figsize=(WIDTH, height), layout=layout)


def case_label(view: View, case: CaseView, width: int = 26, lines: int = 3) -> str:
    """Return a case's key and name on a few short lines."""
    name = f"{case.key}: {case.name}" if len(view.cases) > 1 else case.name
    return label(view, name, width, lines)


def label(view: View, name: str, width: int, lines: int = 1) -> str:
    """Return a name as it can be drawn, on a few short lines.

    Args:
        view: where it stands.
        name: any text.
        width: of a line, in letters of usual width.
        lines: at most.
    """
    return _text.wrapped(_text.drawable(view, clean(name)), width, lines)


def part_looks(view: View) -> dict[str, tuple[str, str]]:
    """Return colour and hatching of every part of a latency, in order."""
    own = dict(zip(view.categories, looks(), strict=False))
    rest = {OUTSIDE: _UNATTRIBUTED_LOOKS[OUTSIDE]} if view.by_kind else _UNATTRIBUTED_LOOKS
    return {**own, **rest}


def looks() -> Iterator[tuple[str, str]]:
    """Give colours and hatchings for parts of a latency, in order, again and again."""
    return itertools.cycle(_CATEGORY_LOOKS)


def unattributed(key: str) -> tuple[str, str]:
    """Return colour and hatching of what is in no category."""
    return _UNATTRIBUTED_LOOKS[key]


def case_look(view: View, case: CaseView) -> tuple[str, str]:
    """Return colour and hatching of a case."""
    return series_look(view.cases.index(case))


def series_look(index: int) -> tuple[str, str]:
    """Return colour and hatching of what is the so-many-eth of several, from 0."""
    return (
        _CASE_COLOURS[index % len(_CASE_COLOURS)],
        _CASE_HATCHES[index % len(_CASE_HATCHES)],
    )


def fit(figure: Figure, labels: Sequence[tuple[Any, Any]]) -> None:
    """Turn labels that are wider than the bars they stand on; hide those that still do not fit.

    Args:
        figure: complete.
        labels: pairs of a text of one or more lines, and its bar.
    """
    figure.draw_without_rendering()
    for label, bar in labels:
        width = bar.get_window_extent().width
        if label.get_window_extent().width + _GAP > width:
            label.set(text=label.get_text().splitlines()[0], rotation=90, rotation_mode="default")
            label.set_visible(label.get_window_extent().width + _GAP <= width)
