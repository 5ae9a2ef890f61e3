"""``mvdeploy models``."""

from __future__ import annotations

import json

import click

from mvdeploy import models
from mvdeploy.cli import options
from mvdeploy.cli.streams import console
from mvdeploy.models import zoo


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--support",
    "of_support",
    is_flag=True,
    help="Show to which formats networks were exported, and what came of it.",
)
@options.debug
def command(as_json: bool, of_support: bool) -> None:
    """List the models that can be built, by the name to give."""
    if of_support:
        _show_support(as_json)
        return
    catalogue = models.catalogue()
    if as_json:
        click.echo(json.dumps(catalogue, indent=1))
        return
    width = max(map(len, catalogue))
    for name, line in catalogue.items():
        default = " (default)" if name == models.DEFAULT else ""
        click.echo(f"{name:<{width}}  {line}{default}")
    others = ", ".join(zoo.usages())
    click.echo(f"Also: {others} (your own, or those of a library that pip has installed).")


def _show_support(as_json: bool) -> None:
    """Print what ``benchmarks/support.py`` found."""
    from mvdeploy.models import support

    found = support.found()
    if as_json:
        click.echo(json.dumps([row._asdict() for row in found], indent=1))
        return
    from rich.table import Table

    head, *lines = support.table(found)
    table = Table(*head, box=None, pad_edge=False, header_style="bold")
    table.columns[0].no_wrap = True  # a name is typed as it stands
    for line in lines:
        table.add_row(*line)
    console().print(table)
    click.echo(f"ExecuTorch and LiteRT: {support.DELEGATES}.")
