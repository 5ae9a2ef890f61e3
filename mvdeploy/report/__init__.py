"""Records to reports: Markdown, HTML, CSV and figures, the terminal, and JSON.

=================  ================================================================
`view`             every number of a report, derived once
`findings`         the sentences for what was found, each with a remedy
`document`         what a report says, in order, whatever it is written in
`figures`          the pictures
`renderers`        one file for each format; the folder is the list
`terminal`         the tables at the end of ``mvdeploy bench``
`machine`          the same numbers for programs (``--json``)
=================  ================================================================

Nothing here needs the device, the engines or torch: a saved run can be rendered anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mvdeploy import plugins
from mvdeploy.records import Breakdown, SavedRun

_ROOM = "mvdeploy.report.renderers"


def formats() -> tuple[str, ...]:
    """Return the names of all formats a report can be written in."""
    return plugins.names(_ROOM)


def render(
    saved: SavedRun,
    breakdowns: Mapping[str, Breakdown],
    folder: Path,
    formats: Sequence[str] | None = None,
) -> tuple[Path, ...]:
    """Write the report of a run.

    Args:
        saved: the run.
        breakdowns: where the latency goes, by slug of the case; cases without a profile lack one.
        folder: where the files go; made when it is missing.
        formats: some of `formats()`; None for all.

    Returns:
        The files, each once.

    Raises:
        UsageError: there is no such format; nothing is written then.
    """
    from mvdeploy.analysis.view import view_of

    chosen = plugins.names(_ROOM) if formats is None else formats
    renderers = [plugins.load(_ROOM, name, "report format") for name in chosen]
    view = view_of(saved, breakdowns)
    written = (path for renderer in renderers for path in renderer.render(view, folder))
    return tuple(dict.fromkeys(written))
