"""The figures of a report, one file for each, with a function ``draw(view)``.

Every figure is drawn without pyplot, so nothing is kept open and no display is needed.
"""

from __future__ import annotations

import functools
import gc
import importlib
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from mvdeploy import plugins
from mvdeploy.analysis.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160
"""Resolution of the PNG files."""

_LARGE = 5_000_000
"""Pixels of a figure that is not left to Python to remove."""


@functools.lru_cache(maxsize=16)
def image(view: View, name: str, kind: Literal["png", "svg"]) -> bytes:
    """Draw a figure.

    Args:
        view: what to draw.
        name: of a file in this folder.
        kind: file format; SVG holds its text as shapes, so that it looks the same everywhere.
    """
    from mvdeploy.report.figures import _style

    _import_quickly()

    with _style.applied(view):
        figure = _drawn(view, name)
        made = saved(figure, kind)
    if name not in _kept and figure.bbox.width * figure.bbox.height > _LARGE:
        del figure
        gc.collect()  # each of its texts refers to all pixels
    return made


_kept: dict[str, tuple[View, Figure]] = {}
"""The last figure of each name, until it is saved in another file format: they are large."""


def _drawn(view: View, name: str) -> Figure:
    """Return a figure, to be saved in any file format."""
    kept = _kept.pop(name, None)
    if kept is not None and kept[0] is view:
        return kept[1]
    figure = _new(view, name)
    _kept[name] = (view, figure)
    return figure


def _new(view: View, name: str) -> Figure:
    from mvdeploy.report.figures import _text

    drawer = plugins.load("mvdeploy.report.figures", name, "figure")
    figure: Figure = drawer.draw(view)
    if said := _text.note(view):
        figure.supxlabel(said, size=7.5)
    return figure


def figure(view: View, name: str) -> Figure:
    """Return a figure of its own, for a program to change, show or save.

    Args:
        view: what to draw.
        name: of a file in this folder.
    """
    from mvdeploy.report.figures import _style

    with _style.applied(view):
        made = _new(view, name)
        made.draw_without_rendering()  # ticks have the look of the time at which they are made
    return made


@functools.cache
def _import_quickly() -> None:
    """Import matplotlib without the docstrings that it writes for its classes."""
    from unittest import mock

    from matplotlib import artist

    with mock.patch.object(artist, "kwdoc", lambda _: ""):
        importlib.import_module("matplotlib.figure")


def saved(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """Return a figure as a file, the same each time.

    It is laid out once, for all file formats; ``savefig`` does that for each, by drawing it twice.
    """
    from matplotlib.backend_bases import FigureCanvasBase
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    layout = figure.get_layout_engine()
    if layout is not None:
        figure.set_dpi(DPI)
        for _ in range(2):  # what stands beside the axes moves with them the first time
            layout.execute(figure)
        figure.set_layout_engine("none")
    target, canvas = io.BytesIO(), {"svg": FigureCanvasSVG, "png": FigureCanvasAgg}[kind]
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    write: Callable[..., object] = getattr(canvas(figure), f"print_{kind}")
    write(target, metadata=metadata)
    FigureCanvasBase(figure)  # the pixels are not kept with the figure
    return target.getvalue()
