"""Options that plug-ins declare, as options of a command."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from mvdeploy.plugins import Option

F = TypeVar("F", bound=Callable[..., Any])


def declared(parameter: str, options: Sequence[Option]) -> Callable[[F], F]:
    """Add declared options to a command.

    Args:
        parameter: of the command, which is given a dictionary: the values that were asked for, by
            the options' names.
        options: what plug-ins declare.
    """

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def collected(*args: Any, **given: Any) -> Any:
            typed = {option: given.pop(_key(parameter, option)) for option in options}
            given[parameter] = {
                option.name: value if option.is_switch else option.read(value)
                for option, value in typed.items()
                if value
            }
            return command(*args, **given)

        for option in reversed(options):
            _option(parameter, option)(collected)
        return collected  # type: ignore[return-value]

    return decorate


def _option(parameter: str, option: Option) -> Callable[[F], F]:
    variable = f" [env var: {option.variable}]" if option.variable else ""
    return click.option(
        option.flag,
        _key(parameter, option),
        is_flag=option.is_switch,
        type=click.Choice(option.choices) if option.choices else None,
        metavar=option.metavar or None,
        help=option.help + variable,
    )


def _key(parameter: str, option: Option) -> str:
    return f"{parameter}_{option.name}"
