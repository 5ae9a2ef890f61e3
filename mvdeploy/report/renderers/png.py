"""The figures as PNG files."""

from __future__ import annotations

import functools
from pathlib import Path

from mvdeploy.analysis.view import View
from mvdeploy.records.codec import write_atomically
from mvdeploy.report import figures
from mvdeploy.report.document import pictures

EXTENSION = "png"
DESCRIPTION = "the figures"
DEFAULT = True


def render(view: View, folder: Path) -> tuple[Path, ...]:
    """Write ``figures/<name>.png`` for every figure of the report."""
    written = []
    for picture in pictures(view):
        path = folder / "figures" / f"{picture.name}.png"
        draw = functools.partial(_write, figures.image(view, picture.name, "png"))
        write_atomically(path, draw)
        written.append(path)
    return tuple(written)


def _write(data: bytes, path: Path) -> None:
    path.write_bytes(data)
