"""Options of load that does not end, and what else makes no sense beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from mvdeploy.errors import UsageError
from mvdeploy.pipeline import length
from mvdeploy.records import Plan

F = TypeVar("F", bound=Callable[..., Any])

_OTHERS = (
    *("iterations", "min_time", "max_time", "target", "sessions", "time_limit", "anchor"),
    *("baseline", "save_baseline", "fail_on", "require_reliable", "record", "junit"),
    *("github_summary", "profiler_cost", "pipeline", "first_run", "starts", "energy"),
    "energy_time",
)
"""Options of sessions, of the latencies that these give, and of what comes after."""


def options(command: F) -> F:
    """Add the options; `plan` reads them."""
    for option in reversed(
        (
            click.option(
                "--sustained",
                metavar="DURATION",
                help="Run each case without a pause for so long, such as 90s, 30m or 1h, and show "
                "its latency, the clocks and the heat over time.",
            ),
            click.option(
                "--interval",
                type=float,
                metavar="SECONDS",
                help="With --sustained: seconds that are summed up in one point. [default: 10, or "
                "what makes 18 to 60 of them]",
            ),
            click.option(
                "--alternate",
                is_flag=True,
                help="With --sustained: cases run in turns of one interval, and not one after the "
                "other.",
            ),
        )
    ):
        command = option(command)
    return command


def plan(given: Mapping[str, Any], common: Mapping[str, Any], cases: int) -> Plan | None:
    """Return how is measured under load that does not end; None without ``--sustained``.

    Args:
        given: all options of the command.
        common: fields of the plan that other options decide.
        cases: that there are.

    Raises:
        UsageError: the duration or the interval makes no sense, or another option would have no
            effect.
    """
    if given["sustained"] is None:
        for flag in ("interval", "alternate"):
            if given[flag] is not None and given[flag] is not False:
                raise UsageError(
                    f"--{flag} says how the time of --sustained is divided, which was not given.",
                    f"Give --sustained DURATION too, or leave --{flag} out.",
                )
        return None
    _demand_no_others()
    return length.sustained(
        common,
        duration=given["sustained"],
        interval_s=given["interval"],
        alternate=given["alternate"],
        cases=cases,
    )


def _demand_no_others() -> None:
    """Refuse options that would have no effect.

    Raises:
        UsageError: names the first of them.
    """
    context = click.get_current_context()
    usual = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, None)
    for name in _OTHERS:
        if context.get_parameter_source(name) in usual:
            continue
        flag = f"--{name.replace('_', '-')}"
        raise UsageError(
            f"{flag} is about sessions and the latency that these give, and --sustained has none.",
            f"Leave {flag} out, or measure without --sustained.",
        )
