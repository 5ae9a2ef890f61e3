"""``mvdeploy devices``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mvdeploy import devices
from mvdeploy.cli import options
from mvdeploy.records import codec


@click.command("devices")
@click.argument("action", default="list", type=click.Choice(["list"]))
@click.option(
    "--devices-dir",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder with more profiles; it goes before the others.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.debug
def command(action: str, devices_dir: tuple[Path, ...], as_json: bool) -> None:
    """List the device profiles, by the name to give after --device."""
    profiles = devices.profiles(devices_dir)
    if as_json:
        click.echo(json.dumps(codec.encode(profiles), indent=1))
    else:
        width = max(map(len, profiles))
        for name, profile in profiles.items():
            engines = ", ".join(profile.engines)
            click.echo(f"{name:<{width}}  {profile.title} (link {profile.link}; {engines})")
    for problem in devices.problems(devices_dir):
        click.echo(f"Warning: {problem.message}\n{problem.remedy}", err=True)
