"""``mvdeploy cluster``."""

from __future__ import annotations

from pathlib import Path

import click

from mvdeploy.cli import fleet_options, options
from mvdeploy.errors import UsageError


@click.command("cluster")
@click.argument("action", type=click.Choice(["keys", "start"]))
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option(
    "--listen",
    metavar="HOST[:PORT]",
    help="start: where to listen. [default: 127.0.0.1:8786, for this machine alone]",
)
@fleet_options.keys
@options.debug
def command(
    action: str, folder: Path | None, listen: str | None, keys: Path | None, insecure: bool
) -> None:
    """Connect machines with devices.

    'mvdeploy cluster keys DIR' makes the keys: each machine gets a copy of DIR, and who has none is
    not let in. 'mvdeploy cluster start --listen HOST --keys DIR' connects the machines until it is
    interrupted. On each machine with devices 'mvdeploy worker' offers these, and 'mvdeploy bench
    --cluster' measures on them.
    """
    if action == "keys":
        if folder is None or keys is not None or listen is not None or insecure:
            raise UsageError(
                "The keys go into a folder of their own.", "Give it: mvdeploy cluster keys DIR."
            )
        from mvdeploy.pipeline.fleet import keys as files

        files.make(folder)
        click.echo(f"Keys: {folder}. Copy the folder to each machine, and to nobody else.")
        return
    if folder is not None:
        raise UsageError(
            f"'{folder}' is nothing that a cluster is started with.",
            "Give the folder with the keys as --keys DIR.",
        )
    from mvdeploy.pipeline.fleet.executors import cluster

    def ready(address: str) -> None:
        given = f" --keys {keys}" if keys is not None else ""
        click.echo(f"The cluster listens at {address}.")
        click.echo(f"On machines with devices: mvdeploy worker --cluster {address}{given}")

    cluster.schedule(cluster.Address(listen or "127.0.0.1", keys, insecure), ready)
