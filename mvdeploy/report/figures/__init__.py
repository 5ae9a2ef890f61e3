"""The figures of a report, one file for each, with a function ``draw(view)``.

Every figure is drawn without pyplot, so nothing is kept open and no display is needed.
"""

from __future__ import annotations

import functools
import importlib
import io
from typing import TYPE_CHECKING, Literal

from mvdeploy import plugins
from mvdeploy.analysis.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160
"""Resolution of the PNG files."""


@functools.lru_cache(maxsize=16)
def image(view: View, name: str, kind: Literal["png", "svg"]) -> bytes:
    """Draw a figure.

    Args:
        view: what to draw.
        name: of a file in this folder.
        kind: file format; SVG holds its text as shapes, so that it looks the same everywhere.
    """
    _import_quickly()
    from mvdeploy.report.figures import _style

    with _style.applied(view):
        return saved(_laid_out(view, name), kind)


@functools.lru_cache(maxsize=8)
def _laid_out(view: View, name: str) -> Figure:
    """Return a figure that is laid out, to be saved in any file format."""
    from mvdeploy.report.figures import _text

    drawer = plugins.load("mvdeploy.report.figures", name, "figure")
    figure: Figure = drawer.draw(view)
    if said := _text.note(view):
        figure.supxlabel(said, size=7.5)
    layout = figure.get_layout_engine()
    if layout is not None:
        figure.set_dpi(DPI)
        for _ in range(2):  # what stands beside the axes moves with them the first time
            layout.execute(figure)
        figure.set_layout_engine("none")
    return figure


@functools.cache
def _import_quickly() -> None:
    """Import matplotlib without the docstrings that it writes for its classes."""
    from unittest import mock

    from matplotlib import artist

    with mock.patch.object(artist, "kwdoc", lambda _: ""):
        importlib.import_module("matplotlib.figure")


def saved(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """Return a figure as a file, the same each time."""
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    target = io.BytesIO()
    figure.savefig(target, format=kind, dpi=DPI, metadata=metadata)
    return target.getvalue()
