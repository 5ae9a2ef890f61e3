"""Options that say how a device is reached; each link declares its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from mvdeploy import links
from mvdeploy.cli import completion
from mvdeploy.cli.declared_options import declared

F = TypeVar("F", bound=Callable[..., Any])


def device(command: F) -> F:
    """Add the options that name a device, where its profile is, and how it is reached."""
    named = click.option(
        "-d",
        "--device",
        default="host",
        show_default=True,
        shell_complete=completion.devices,
        help="Where to run it: 'mvdeploy devices' lists them.",
    )
    return named(devices_dir(options(command)))


def several_devices(command: F) -> F:
    """Add what `device` adds, where several devices may be named; their names come as a tuple."""
    named = click.option(
        "-d",
        "--device",
        "devices",
        multiple=True,
        default=("host",),
        show_default="host",
        shell_complete=completion.devices,
        help="Where to run it: 'mvdeploy devices' lists them. Repeat it to measure on several at "
        "once, and get one report.",
    )
    return named(devices_dir(options(command)))


def devices_dir(command: F) -> F:
    """Add the option for folders of profiles."""
    return click.option(
        "--devices-dir",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Folder with more device profiles; it goes before the others.",
    )(command)


def options(command: F) -> F:
    """Add the options of all links to a command.

    It is given one value for all of them, ``link_options``: what was typed, and what the
    environment says where nothing was, as `mvdeploy.links` takes it.
    """

    @functools.wraps(command)
    def resolved(*args: Any, link_options: Mapping[str, Any], **given: Any) -> Any:
        return command(*args, **given, link_options=links.resolve(link_options))

    return cast(F, declared("link_options", links.declared())(resolved))
