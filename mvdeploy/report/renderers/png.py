"""The figures as PNG files."""

from __future__ import annotations

from pathlib import Path

from mvdeploy.analysis.several import SeveralView
from mvdeploy.analysis.view import View
from mvdeploy.files import writing
from mvdeploy.report import figures
from mvdeploy.report import several as pages
from mvdeploy.report.document import pictures

EXTENSION = "png"
DESCRIPTION = "the figures"
DEFAULT = True


def render(view: View, folder: Path) -> tuple[Path, ...]:
    """Write ``figures/<name>.png`` for every figure of the report."""
    written = []
    for picture in pictures(view):
        path = folder / "figures" / f"{picture.name}.png"
        writing.data(path, figures.image(view, picture.name, "png"))
        written.append(path)
    return tuple(written)


def several(view: SeveralView, folder: Path) -> tuple[Path, ...]:
    """Write ``figures/<name>.png`` for every figure of several runs."""
    drawn, written = pages.drawing(view), []
    for picture in pages.pictures(view):
        written.append(folder / "figures" / f"{picture.name}.png")
        writing.data(written[-1], drawn(picture.name, "png"))
    return tuple(written)
