"""``mvdeploy report``."""

from __future__ import annotations

from pathlib import Path

import click

from mvdeploy.cli import options


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR...")
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="NAME",
    help="markdown, html, csv, png; default all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON; write nothing.")
@options.debug
def command(runs: tuple[Path, ...], formats: tuple[str, ...], as_json: bool) -> None:
    """Render saved results again: DIR is a folder that 'mvdeploy bench' wrote.

    Needs neither the device nor torch.
    """
    from mvdeploy.pipeline import report

    for folder in runs:
        if as_json:
            import json

            from mvdeploy.report.renderers.json import as_json as to_json

            click.echo(json.dumps(to_json(report.view(folder)), indent=1))
            continue
        for path in report.render(folder, formats or None):
            click.echo(path)
