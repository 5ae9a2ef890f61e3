"""``mvdeploy worker``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from mvdeploy.cli import completion, fleet_options, link_options, options
from mvdeploy.text_format import join


@click.command("worker")
@fleet_options.cluster(required=True)
@click.option(
    "-d",
    "--device",
    "devices",
    multiple=True,
    shell_complete=completion.devices,
    help="Offer this one only: a profile's name, a serial number or an address. Repeat it for "
    "several. [default: this machine, and all that is attached]",
)
@link_options.devices_dir
@link_options.options
@options.debug
def command(
    cluster_address: str,
    keys: Path | None,
    insecure: bool,
    devices: tuple[str, ...],
    devices_dir: tuple[Path, ...],
    link_options: Mapping[str, str],
) -> None:
    """Offer the devices of this machine to a cluster, until it is interrupted.

    Devices that are attached later are offered then. What is measured here is measured by processes
    of their own, as by 'mvdeploy bench' here, and its results go to who asked for them.
    """
    from mvdeploy.pipeline.fleet.executors import cluster
    from mvdeploy.pipeline.fleet.machine import Machine, finder

    address = cluster.Address(cluster_address, keys, insecure)
    machine = Machine(finder(devices, devices_dir, link_options), link_options)

    def ready() -> None:
        offered = [f"{unit.profile.name} ({unit.name})" for unit in machine.units]
        click.echo(f"Offered at {address.url}: {join(offered) or 'nothing yet'}.")

    cluster.serve(address, machine, ready)
