"""``mvdeploy report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from mvdeploy import report
from mvdeploy.cli import completion, options
from mvdeploy.errors import UsageError


def _listed() -> str:
    formats = report.available()
    listed = "; ".join(f"{name} ({module.DESCRIPTION})" for name, module in formats.items())
    written = ", ".join(name for name, module in formats.items() if module.DEFAULT)
    return f"{listed}. Repeat it for several. [default: {written}]"


@click.command("report")
@click.argument(
    "runs",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR...",
    shell_complete=completion.runs,
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.of_names(report.available),
    help=_listed(),
)
@click.option(
    "--case",
    "cases",
    multiple=True,
    metavar="LETTER|NAME",
    help="Write timelines of this case only: its letter in reports, or its folder's name. Repeat "
    "it for several. [default: all]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write; with --each, each run gets a folder in DIR. [default: the run's folder; "
    "of several on one page: 'several', here]",
)
@click.option("--each", is_flag=True, help="Render each of several runs by itself.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON; write nothing.")
@options.debug
def command(
    runs: tuple[Path, ...],
    formats: tuple[str, ...],
    cases: tuple[str, ...],
    output: Path | None,
    each: bool,
    as_json: bool,
) -> None:
    """Render saved results again: DIR is a folder that 'mvdeploy bench', 'study' or 'sweep' wrote.

    Several runs are shown on one page, with a column for each device and ratios to the first.
    Needs neither the device nor torch.
    """
    from mvdeploy.pipeline.report import STUDY, SWEEP, render, view

    if as_json and cases:
        raise UsageError("--json prints all cases of a run.", "Leave --case or --json out.")
    if len(runs) > 1 and not each:
        _render_several(runs, formats, cases, output, as_json)
        return
    if output and not as_json:
        _demand_places(runs, output)
    for folder in runs:
        if many := next((k for k in (STUDY, SWEEP) if (folder / k).is_file()), ""):
            what = many.removesuffix(".json")
            if cases:
                raise UsageError(
                    f"{folder} is a {what}, which has no timelines.",
                    "Leave --case out; the runs in its folder 'runs' have them.",
                )
            if formats:
                raise UsageError(
                    f"{folder} is a {what}, whose report has formats of its own.",
                    "Leave --format out; the runs in its folder 'runs' can be rendered in any.",
                )
            render_many = _render_study if many == STUDY else _render_sweep
            render_many(folder, _place(folder, runs, output), as_json)
            continue
        if as_json:
            click.echo(report.renderer("json").text(view(folder)))
            continue
        for path in render(folder, formats or None, _place(folder, runs, output), cases):
            click.echo(path)


def _render_several(
    runs: Sequence[Path],
    formats: Sequence[str],
    cases: Sequence[str],
    output: Path | None,
    as_json: bool,
) -> None:
    from mvdeploy.pipeline.report import STUDY, SWEEP, render_several, several_view
    from mvdeploy.report.several.values import json_text

    many = ((f, kind) for f in runs for kind in (STUDY, SWEEP) if (f / kind).is_file())
    if found := next(many, None):
        folder, kind = found
        what = kind.removesuffix(".json")
        raise UsageError(
            f"{folder} is a {what}, which has a page of its own.",
            f"Give --each to render each folder by itself, or runs alone: a {what} has them in its "
            "folder 'runs'.",
        )
    if cases:
        raise UsageError("--case chooses cases of one run.", "Give one run, or leave --case out.")
    if as_json:
        click.echo(json_text(several_view(runs)))
        return
    for path in render_several(runs, output or Path("several"), formats or None):
        click.echo(path)


def _place(folder: Path, runs: Sequence[Path], output: Path | None) -> Path | None:
    """Return where a run is rendered to; None for its own folder."""
    return output / folder.absolute().name if output and len(runs) > 1 else output


def _demand_places(runs: Sequence[Path], output: Path) -> None:
    """Refuse runs that would be rendered to the same folder, where the last would be left.

    Raises:
        UsageError: two have the same name.
    """
    whose: dict[str, Path] = {}
    for folder in runs:
        earlier = whose.setdefault(folder.absolute().name, folder)
        if earlier.absolute() != folder.absolute():
            raise UsageError(
                f"{earlier} and {folder} would both be written to {_place(folder, runs, output)}.",
                "Render them one by one, each to an -o of its own, or leave -o out: each run is "
                "rendered to its own folder then.",
            )


def _render_study(folder: Path, place: Path | None, as_json: bool) -> None:
    from mvdeploy.pipeline.report import study_view
    from mvdeploy.report import study
    from mvdeploy.report.study.values import json_text

    found = study_view(folder)
    if as_json:
        click.echo(json_text(found))
        return
    for path in study.write(found, place or folder):
        click.echo(path)


def _render_sweep(folder: Path, place: Path | None, as_json: bool) -> None:
    from mvdeploy.pipeline.report import sweep_view
    from mvdeploy.report import sweep
    from mvdeploy.report.sweep.values import json_text

    found = sweep_view(folder)
    if as_json:
        click.echo(json_text(found))
        return
    for path in sweep.write(found, place or folder):
        click.echo(path)
