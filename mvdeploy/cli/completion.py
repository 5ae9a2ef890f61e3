"""What a shell is told when a word is to be completed; `mvdeploy completion` sets the shell up.

The shell starts the command with `VARIABLE` set, whenever the tab key is hit: nothing heavy is
imported, no device is asked, and where something is wrong there is nothing to complete, and not a
word on the terminal.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VARIABLE = "_MVDEPLOY_COMPLETE"
"""Environment: says what the shell asks, and which shell it is, as in ``bash_complete``."""

SHELLS = ("bash", "zsh", "fish")

Complete = Callable[[click.Context, click.Parameter, str], list[Any]]
"""What ``shell_complete`` of an option or argument is: the beginning of a word → what it may be."""


def asked() -> bool:
    """Return whether it is a shell that started the command, in order to complete a word."""
    return bool(os.environ.get(VARIABLE))


def answer(cli: click.Command) -> None:
    """Print what the word may be, for the shell that asked.

    Args:
        cli: the command line, with its commands.
    """
    from click.shell_completion import shell_complete

    # A folder of plug-ins that is gone, say: whoever runs the command is told then.
    with contextlib.suppress(Exception):
        shell_complete(cli, {}, "mvdeploy", VARIABLE, os.environ[VARIABLE])


def script(cli: click.Command, shell: str) -> str:
    """Return what a shell is to run so that it asks, one of `SHELLS`."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    if made is None:
        raise ValueError(f"click completes nothing for {shell}")
    return made(cli, {}, "mvdeploy", VARIABLE).source()


def of_names(names: Callable[[], Iterable[str]]) -> Complete:
    """Return what completes a name.

    Args:
        names: returns those there are; it is called when a shell asks.
    """

    def complete(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[Any]:
        return [name for name in names() if name.startswith(begun)]

    return complete


def models(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[Any]:
    """Complete the name of a network or an exported file."""
    from mvdeploy import formats
    from mvdeploy import models as room

    found = [name for name in room.catalogue() if name.startswith(begun)]
    suffixes = tuple(formats.suffix(name) for name in formats.names())
    return [*found, *_paths(begun, lambda path: path.name.endswith(suffixes))] or _any_file(begun)


def devices(context: click.Context, _parameter: click.Parameter, begun: str) -> list[Any]:
    """Complete the name of a device that has a profile; none is looked for."""
    from mvdeploy import devices as profiles

    return [
        name
        for profile in profiles.profiles(context.params.get("devices_dir") or ()).values()
        for name in (profile.name, *profile.aliases)
        if name.startswith(begun) and " " not in name  # shells would take it for two
    ]


def runs(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[Any]:
    """Complete the folder of a run, the newest first; without a word those in ``reports``."""
    found = _paths(begun or "reports/", lambda path: (path / "run.json").is_file())
    return found[::-1] or _any_file(begun, "dir")


def _paths(begun: str, fits: Callable[[Path], bool]) -> list[str]:
    """Return files and folders that begin so; the shell itself has to quote those with spaces."""
    words = (word for word in glob.iglob(f"{glob.escape(begun)}*") if " " not in word)
    return sorted(word for word in words if fits(Path(word)))


def _any_file(begun: str, kind: str = "file") -> list[CompletionItem[str]]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(begun, type=kind)]
