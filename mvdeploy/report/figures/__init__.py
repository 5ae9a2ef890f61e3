"""The figures of a report, one file for each, with a function ``draw(view)``.

Every figure is drawn without pyplot, so nothing is kept open and no display is needed.
"""

from __future__ import annotations

import functools
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
    from mvdeploy.report.figures import _style, _text

    drawer = plugins.load("mvdeploy.report.figures", name, "figure")
    with _style.applied(view):
        figure = drawer.draw(view)
        if said := _text.note(view):
            figure.supxlabel(said, size=7.5)
        return saved(figure, kind)


def saved(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """Return a figure as a file, the same each time."""
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    target = io.BytesIO()
    figure.savefig(target, format=kind, dpi=DPI, metadata=metadata)
    return target.getvalue()
