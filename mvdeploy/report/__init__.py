"""What runs say, shown: Markdown, HTML, CSV, figures, the terminal, JSON.

=================  ================================================================
`document`         what a report says, in order, whatever it is written in
`prose`            its sentences
`overview`         the answer, in a few words
`wording`          findings in words, each with a remedy; numbers in sentences
`tables`           its tables, as text
`figures`          its pictures
`several`          the page of several runs: its sentences, tables and values
`interactive`      what the charts of the HTML page are drawn from
`charts`           what those of other pages are drawn from
`assets`           what is written into HTML pages: look, scripts, the library that draws
`timelines`        what formats that draw an inference have in common
`renderers`        one file for each format; the folder is the list
=================  ================================================================

All numbers are those of a `mvdeploy.analysis.view.View`. Nothing here needs the device, the engines
or torch: a saved run can be rendered anywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from mvdeploy import plugins
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.several import SeveralView
from mvdeploy.analysis.view import View
from mvdeploy.errors import UsageError
from mvdeploy.files.writing import NotWritten
from mvdeploy.text_format import clean

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


def write(
    view: View,
    folder: Path,
    formats: Sequence[str] | None = None,
    cases: Sequence[str] = (),
) -> tuple[Path, ...]:
    """Write the report of a run.

    Args:
        view: the run.
        folder: where the files go; made when it is missing.
        formats: names of renderers; None for those that are written without being asked for.
        cases: letters or slugs of those that are written; empty for all.

    Returns:
        The files, each once.

    Raises:
        UsageError: there is no such format or case, or a format is of all cases together; nothing
            is written then. Or a format has nothing to show of the run.
        NotWritten: the folder cannot be written to.
    """
    if formats is None:
        chosen = [module for module in available().values() if module.DEFAULT]
    else:
        chosen = [renderer(name) for name in formats]
    if cases:
        _demand_by_case(formats or ())
        view = dataclasses.replace(view, cases=_cases(view, cases))
    try:
        paths = [path for module in chosen for path in module.render(view, folder)]
    except NotWritten as error:
        raise NotWritten(
            error.message, "Give another place: 'mvdeploy report RUN -o DIR'."
        ) from error
    return tuple(dict.fromkeys(paths))


def write_several(
    view: SeveralView, folder: Path, formats: Sequence[str] | None = None
) -> tuple[Path, ...]:
    """Write the page of several runs.

    Args:
        view: the runs.
        folder: where the files go; made when it is missing.
        formats: names of renderers; None for those that are written without being asked for.

    Returns:
        The files, each once.

    Raises:
        UsageError: there is no such format, or it shows one run only; nothing is written then.
        NotWritten: the folder cannot be written to.
    """
    names = (
        [name for name, one in available().items() if one.DEFAULT] if formats is None else formats
    )
    chosen = {name: renderer(name) for name in names}
    for name, module in chosen.items():
        if not hasattr(module, "several"):
            if formats is None:
                continue
            can = [one for one, module in available().items() if hasattr(module, "several")]
            raise UsageError(
                f"The format {name} shows one run.",
                f"Give one run, or a format that shows several: {', '.join(can)}.",
            )
    writers = [module.several for module in chosen.values() if hasattr(module, "several")]
    try:
        paths = [path for write_page in writers for path in write_page(view, folder)]
    except NotWritten as error:
        raise NotWritten(
            error.message, "Give another place: 'mvdeploy report RUN RUN -o DIR'."
        ) from error
    return tuple(dict.fromkeys(paths))


def _demand_by_case(formats: Sequence[str]) -> None:
    by_case = [name for name, module in available().items() if getattr(module, "BY_CASE", False)]
    together = [name for name in formats if name not in by_case]
    if together or not formats:
        what = f"The format {together[0]}" if together else "A report"
        raise UsageError(
            f"{what} is of all cases of a run together.",
            f"Leave --case out, or give it with --format {' or '.join(by_case)}.",
        )


def _cases(view: View, asked: Sequence[str]) -> tuple[CaseView, ...]:
    for name in asked:
        if all(name not in (case.key, case.slug) for case in view.cases):
            known = tuple(f"{case.key} ({case.slug})" for case in view.cases)
            raise UsageError(
                f"The run has no case '{clean(name)}'.",
                f"Give a letter or a name of: {', '.join(known) or 'none'}.",
            )
    return tuple(case for case in view.cases if case.key in asked or case.slug in asked)
