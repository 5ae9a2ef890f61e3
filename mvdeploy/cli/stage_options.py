"""The options that ask for more than the latency of the inference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mvdeploy.errors import UsageError

if TYPE_CHECKING:
    from mvdeploy.pipeline.bench import Request

_STARTS = 9
"""Of each kind: the median of so many is known with 95 % between the second and the eighth."""

F = TypeVar("F", bound=Callable[..., Any])


def options(command: F) -> F:
    """Add the options; `asked` reads them."""
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
                help=f"Starts of each kind for --first-run. [default: {_STARTS}]",
            ),
        )
    ):
        command = option(command)
    return command


def asked(request: Request, given: Mapping[str, Any]) -> Request:
    """Return what is to be measured with what these options ask for.

    Raises:
        UsageError: a number of starts is given, but none are asked for.
    """
    starts: int | None = given["starts"]
    if starts is not None and not given["first_run"]:
        raise UsageError(
            f"--starts {starts} says how often --first-run starts, which is not given.",
            "Add --first-run, or leave --starts out.",
        )
    number = (starts or _STARTS) if given["first_run"] else 0
    return dataclasses.replace(request, pipeline=given["pipeline"], starts=number)
