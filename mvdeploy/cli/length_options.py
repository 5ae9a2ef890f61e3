"""Options that say how long to measure, and the plan that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from mvdeploy.cli import numbers
from mvdeploy.pipeline import length
from mvdeploy.records import Plan

F = TypeVar("F", bound=Callable[..., Any])


def options(command: F) -> F:
    """Add the options; `plan` reads them."""
    for option in reversed(
        (
            click.option(
                "--iterations",
                # Every sample is kept: more would not fit into memory.
                type=click.IntRange(1, 10_000_000),
                help="Measured inferences of each case.",
            ),
            click.option(
                "--min-time",
                type=numbers.seconds(),
                default=length.MIN_TIME_S,
                show_default=True,
                metavar="SECONDS",
                help="Measured seconds of each case at least, unless --iterations is given.",
            ),
            click.option(
                "--max-time",
                type=numbers.seconds(),
                metavar="SECONDS",
                help="Measured seconds of each case at most, when its interval stays wide. "
                "[default: 60]",
            ),
            click.option(
                "--target",
                type=numbers.Number(0, 100, min_open=True),
                default=100 * Plan.target,
                show_default=True,
                metavar="PERCENT",
                help="Stop when the median is known to ± this.",
            ),
            click.option(
                "--sessions",
                type=click.IntRange(1),
                help="How often the engine sessions are made anew, at least. [default: "
                f"{Plan.sessions}, or {Plan.groups} when cases are compared]",
            ),
            click.option(
                "--profiler-cost/--no-profiler-cost",
                default=None,
                help="Measure what an engine's profiler adds to each operator or leaves out, and "
                "correct it. [default: on, unless --iterations is given]",
            ),
        )
    ):
        command = option(command)
    return command


def plan(given: Mapping[str, Any], common: Mapping[str, Any], *, anchor: bool) -> Plan:
    """Return how is measured.

    Args:
        given: all options of the command.
        common: fields of the plan that other options decide.
        anchor: whether the yardstick runs between the cases.

    Raises:
        UsageError: the times contradict each other.
    """
    return length.plan(
        common,
        iterations=given["iterations"],
        min_time_s=given["min_time"],
        max_time_s=given["max_time"],
        target=given["target"] / 100,
        sessions=given["sessions"],
        anchor=anchor,
        profiler_cost=given["profiler_cost"],
    )
