"""The options that say whether, and how long, the energy of cases is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from mvdeploy.cli import numbers
from mvdeploy.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def options(command: F) -> F:
    """Add the options; `plan_fields` reads them."""
    for option in reversed(
        (
            click.option(
                "--energy",
                is_flag=True,
                help="Measure also the energy of an inference, above the device at rest, where "
                "something meters it and it is not being charged.",
            ),
            click.option(
                "--energy-time",
                # Blocks of half a second are for trying it out only.
                type=numbers.Number(0.5, 600),
                metavar="SECONDS",
                help="Length of each of the 6 blocks of a case that give its energy. [default: "
                "what the meter needs, 4 to 30]",
            ),
        )
    ):
        command = option(command)
    return command


def plan_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the plan that the options decide.

    Args:
        given: all options of the command.

    Raises:
        UsageError: a length is given, and no energy is asked for.
    """
    if given["energy_time"] is not None and not given["energy"]:
        raise UsageError(
            "--energy-time says how long the blocks are that give the energy, and no energy is "
            "asked for.",
            "Give --energy with it, or leave it out.",
        )
    return {"energy": given["energy"], "energy_block_s": given["energy_time"]}
