"""``mvdeploy report``."""

from __future__ import annotations

from pathlib import Path

import click

from mvdeploy import report
from mvdeploy.cli import options


def _listed() -> str:
    formats = report.available()
    listed = "; ".join(f"{name} ({module.DESCRIPTION})" for name, module in formats.items())
    written = ", ".join(name for name, module in formats.items() if module.DEFAULT)
    return f"{listed}. Repeat it for several. [default: {written}]"


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR...")
@click.option("--format", "formats", multiple=True, metavar="NAME", help=_listed())
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write; of several runs, each gets a folder in DIR. [default: the run's folder]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON; write nothing.")
@options.debug
def command(
    runs: tuple[Path, ...], formats: tuple[str, ...], output: Path | None, as_json: bool
) -> None:
    """Render saved results again: DIR is a folder that 'mvdeploy bench' wrote.

    Needs neither the device nor torch.
    """
    from mvdeploy.pipeline.report import render, view

    for folder in runs:
        if as_json:
            click.echo(report.renderer("json").text(view(folder)))
            continue
        place = output / folder.absolute().name if output and len(runs) > 1 else output
        for path in render(folder, formats or None, place):
            click.echo(path)
