"""``mvdeploy cache``."""

from __future__ import annotations

import datetime
import json

import click

from mvdeploy.cli import options
from mvdeploy.errors import UsageError
from mvdeploy.pipeline.kept_exports import Shelf
from mvdeploy.text_format import clean, count


@click.command("cache")
@click.argument("action", default="list", type=click.Choice(["list", "path", "clear"]))
@click.option("--json", "as_json", is_flag=True, help="list: print JSON.")
@options.debug
def command(action: str, as_json: bool) -> None:
    """List the exports that are kept, say where they lie, or remove them.

    What 'mvdeploy export' and 'mvdeploy bench' have exported and verified is kept, and taken where
    network, weights, options, packages and mvdeploy itself are the same. What was not taken for
    longest goes when more than 2GB are kept; MVDEPLOY_CACHE_SIZE says another size, and
    MVDEPLOY_CACHE another folder.
    """
    if as_json and action != "list":
        raise UsageError(f"'{action}' prints no JSON.", "Leave --json out.")
    shelf = Shelf()
    if action == "path":
        click.echo(shelf.folder)
    elif action == "clear":
        number, size = shelf.clear()
        click.echo(f"Removed {count(number, 'export')} ({size / 1e6:.1f} MB).")
    else:
        _list(shelf, as_json)


def _list(shelf: Shelf, as_json: bool) -> None:
    entries = shelf.entries()
    if as_json:
        listed = [
            {
                "key": key,
                "size_bytes": size,
                "taken": _time(taken),
                "damaged": record is None,
                **({} if record is None else {"network": record.label, "format": record.format}),
                **({} if record is None else {"precision": record.precision}),
            }
            for key, record, size, taken in entries
        ]
        click.echo(json.dumps(listed, indent=1))
        return
    for key, record, size, taken in entries:
        what = "damaged"
        if record is not None:
            what = f"{clean(record.label)}, {clean(record.format)}, {clean(record.precision)}"
        click.echo(f"{key[:12]}  {size / 1e6:8.1f} MB  {_time(taken)}  {what}")
    total = sum(size for _, _, size, _ in entries)
    click.echo(
        f"{count(len(entries), 'export')}, {total / 1e6:.1f} MB of at most "
        f"{shelf.size / 1e6:,.0f} MB, in {clean(str(shelf.folder))}"
    )


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).isoformat(" ", "minutes")
