"""``mvdeploy models``."""

from __future__ import annotations

import json

import click

from mvdeploy import models
from mvdeploy.cli import options
from mvdeploy.models import zoo


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.debug
def command(as_json: bool) -> None:
    """List the models that can be built, by the name to give."""
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
