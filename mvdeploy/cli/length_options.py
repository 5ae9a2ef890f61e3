"""Options that say how long to measure, and the plan that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from mvdeploy.errors import UsageError
from mvdeploy.records import Plan

F = TypeVar("F", bound=Callable[..., Any])

_FEW = 5
"""Profiled inferences of a case at least."""


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
                type=click.FloatRange(0, min_open=True),
                default=Plan.session_time_s * Plan.sessions,
                show_default=True,
                metavar="SECONDS",
                help="Measured seconds of each case at least, unless --iterations is given.",
            ),
            click.option(
                "--max-time",
                type=click.FloatRange(0, min_open=True),
                metavar="SECONDS",
                help="Measured seconds of each case at most, when its interval stays wide. "
                "[default: 60]",
            ),
            click.option(
                "--target",
                type=click.FloatRange(0, 100, min_open=True),
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
    iterations, fields = given["iterations"], dict(common)
    if iterations is not None:
        # Who asks for few inferences has slow ones.
        few = min(Plan.profile_iterations, max(iterations, _FEW))
        fields.setdefault("profile_iterations", few)
    fields["profiler_cost"] = _profiler_cost(given, fields)
    times = _times(iterations, given["min_time"], given["max_time"], given["sessions"])
    return Plan(
        iterations=iterations, target=given["target"] / 100, anchor=anchor, **times, **fields
    )


def _profiler_cost(given: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Return whether it is measured what profilers cost.

    Raises:
        UsageError: nothing is profiled.
    """
    wanted, profiled = given["profiler_cost"], fields.get("profile_iterations") != 0
    if wanted and not profiled:
        raise UsageError(
            "--profiler-cost corrects the times of operators, and --no-breakdown takes none.",
            "Leave one of them out.",
        )
    return profiled and (given["iterations"] is None if wanted is None else wanted)


def _times(
    iterations: int | None, min_time: float, max_time: float | None, sessions: int | None
) -> dict[str, Any]:
    """Return the fields of the plan that say how long to measure."""
    if max_time is not None and max_time < min_time:
        raise UsageError(
            f"--max-time {max_time:g} is less than --min-time {min_time:g}.",
            "Give a longer --max-time, or a shorter --min-time.",
        )
    count = min(sessions or Plan.sessions, iterations or sessions or Plan.sessions)
    return {
        "sessions": count,
        "groups": sessions or Plan.groups,
        "session_time_s": min_time / count,
        "max_time_s": max_time or max(Plan.max_time_s, min_time),
    }
