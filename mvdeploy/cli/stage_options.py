"""The options that ask for more than the latency of the inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from mvdeploy.errors import UsageError
from mvdeploy.pipeline.length import STARTS

F = TypeVar("F", bound=Callable[..., Any])


def options(command: F) -> F:
    """Add the options; `plan_fields` reads them."""
    for option in reversed(
        (
            click.option(
                "--pipeline",
                is_flag=True,
                help="Time also what an app does around the inference: decode the picture, resize, "
                "normalise, and post-processing.",
            ),
            click.option(
                "--first-run",
                is_flag=True,
                help="Start processes anew to see what the first answer costs, with the file in "
                "the system's cache and without.",
            ),
            click.option(
                "--starts",
                type=click.IntRange(2, 1000),
                metavar="N",
                help=f"Starts of each kind for --first-run. [default: {STARTS}]",
            ),
        )
    ):
        command = option(command)
    return command


def plan_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the plan that the options decide.

    Raises:
        UsageError: a number of starts is given, but none are asked for.
    """
    starts: int | None = given["starts"]
    if starts is not None and not given["first_run"]:
        raise UsageError(
            f"--starts {starts} says how often --first-run starts, which is not given.",
            "Add --first-run, or leave --starts out.",
        )
    number = (starts or STARTS) if given["first_run"] else 0
    return {"pipeline": given["pipeline"], "starts": number}
