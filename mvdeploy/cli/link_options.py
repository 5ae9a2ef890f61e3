"""Options that say how a device is reached; each link declares its own.

Each stands for an environment variable, which is where the links look: what is set once and for all
in a shell or a CI need not be typed, and what is typed goes before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from mvdeploy import links

F = TypeVar("F", bound=Callable[..., Any])


def options(command: F) -> F:
    """Add the options of all links to a command; it is given none of them itself."""
    for declared in reversed(links.options()):
        decorate = click.option(
            declared.flag,
            is_flag=not declared.metavar,
            metavar=declared.metavar or None,
            help=f"{declared.help} [env var: {declared.variable}]",
            expose_value=False,
            callback=_kept(declared.variable),
        )
        command = decorate(command)
    return command


def _kept(variable: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(_context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value:
            os.environ[variable] = "1" if value is True else str(value)

    return keep
