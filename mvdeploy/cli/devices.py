"""``mvdeploy devices``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from mvdeploy import devices, transports
from mvdeploy.cli import options, reach
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.records import codec


@click.command("devices")
@click.argument("action", default="list", type=click.Choice(["list", "doctor"]))
@click.argument("device", required=False, metavar="[DEVICE]")
@click.option(
    "--devices-dir",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder with more profiles; it goes before the others.",
)
@reach.options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.debug
def command(action: str, device: str | None, devices_dir: tuple[Path, ...], as_json: bool) -> int:
    """List the device profiles, or check what it takes to measure on one of them.

    'mvdeploy devices doctor DEVICE' goes through every prerequisite, and says how to meet those
    that are not. It exits with 3 while one of them is missing.
    """
    if action == "doctor":
        return _doctor(device, devices_dir, as_json)
    if device is not None:
        raise UsageError(
            f"The list of devices is not for one of them ('{device}').",
            f"Use 'mvdeploy devices doctor {device}' to check what it takes to measure there.",
        )
    _list(devices_dir, as_json)
    return 0


def _list(devices_dir: tuple[Path, ...], as_json: bool) -> None:
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


def _doctor(device: str | None, devices_dir: tuple[Path, ...], as_json: bool) -> int:
    if device is None:
        raise UsageError(
            "No device is named to be checked.",
            "Give its name: 'mvdeploy devices' lists them.",
        )
    found = transports.doctor(devices.get(device, devices_dir))
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(one) for one in found], indent=1))
    else:
        width = max((len(one.name) for one in found), default=0)
        for one in found:
            click.echo(f"{one.state:<8} {one.name:<{width}}  {one.found}".rstrip())
            if one.remedy:
                click.echo(f"{'':<8} {'':<{width}}  -> {one.remedy}")
        if not found:
            click.echo("Nothing has to be prepared for this device.")
    missing = any(one.state == "missing" for one in found)
    return DeviceUnavailable.exit_code if missing else 0
