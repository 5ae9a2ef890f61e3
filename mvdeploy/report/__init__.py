"""What runs say, shown: Markdown, HTML, CSV, figures, the terminal, JSON.

=================  ================================================================
`document`         what a report says, in order, whatever it is written in
`prose`            its sentences
`wording`          findings in words, each with a remedy; numbers in sentences
`tables`           its tables, as text
`figures`          its pictures
`renderers`        one file for each format; the folder is the list
=================  ================================================================

All numbers are those of a `mvdeploy.analysis.view.View`. Nothing here needs the device, the engines
or torch: a saved run can be rendered anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from mvdeploy import plugins
from mvdeploy.analysis.view import View
from mvdeploy.files.writing import NotWritten

_ROOM = "mvdeploy.report.renderers"


def available() -> dict[str, ModuleType]:
    """Return all formats that a report can be written in, by name."""
    return {name: renderer(name) for name in plugins.names(_ROOM)}


def renderer(name: str) -> ModuleType:
    """Return what writes a format; see `mvdeploy.report.renderers`.

    Raises:
        UsageError: there is no such format.
    """
    return plugins.load(_ROOM, name, "report format")


def write(view: View, folder: Path, formats: Sequence[str] | None = None) -> tuple[Path, ...]:
    """Write the report of a run.

    Args:
        view: the run.
        folder: where the files go; made when it is missing.
        formats: names of renderers; None for those that are written without being asked for.

    Returns:
        The files, each once.

    Raises:
        UsageError: there is no such format, and nothing is written then.
        NotWritten: the folder cannot be written to.
    """
    if formats is None:
        chosen = [module for module in available().values() if module.DEFAULT]
    else:
        chosen = [renderer(name) for name in formats]
    try:
        paths = [path for module in chosen for path in module.render(view, folder)]
    except NotWritten as error:
        raise NotWritten(
            error.message, "Give another place: 'mvdeploy report RUN -o DIR'."
        ) from error
    return tuple(dict.fromkeys(paths))
