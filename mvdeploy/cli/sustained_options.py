"""Options of load that does not end, and what else makes no sense beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from mvdeploy.errors import UsageError
from mvdeploy.records import Plan

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_LEAST_S, _MOST_S = 2.0, 24 * 3600.0
_LEAST_INTERVAL_S, _MOST_INTERVALS = 0.1, 2000

_USUAL_S, _FEW, _MANY = 10.0, 18, 60
"""An interval is this long, unless that makes fewer or more of them."""

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
            if given[flag]:
                raise UsageError(
                    f"--{flag} says how the time of --sustained is divided, which was not given.",
                    f"Give --sustained DURATION too, or leave --{flag} out.",
                )
        return None
    duration_s = seconds(given["sustained"])
    _demand_no_others()
    sharing = cases if given["alternate"] else 1
    interval_s = given["interval"]
    if interval_s is None:
        usual_s = min(_USUAL_S, duration_s / _FEW / sharing)
        interval_s = round(max(usual_s, duration_s / _MANY / sharing, _LEAST_INTERVAL_S), 2)
    _check_interval(interval_s, duration_s)
    fields = {**common, "profile_iterations": 0}
    return Plan(
        sustained_s=duration_s, interval_s=interval_s, alternate=given["alternate"], **fields
    )


def seconds(text: str) -> float:
    """Read a duration such as ``90s``, ``3m`` or ``1h``.

    Raises:
        UsageError: it is none, or is too short or too long.
    """
    parts = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]+)\s*", text.lower())
    if parts is None or parts[2] not in _UNITS:
        raise UsageError(
            f"'{text}' is no length of time.",
            "Give seconds, minutes or hours with their unit, as in --sustained 90s, 30m or 1h.",
        )
    duration_s = float(parts[1]) * _UNITS[parts[2]]
    if not _LEAST_S <= duration_s <= _MOST_S:
        raise UsageError(
            f"A case cannot be kept running for {text.strip()}.",
            f"Give a time from {_LEAST_S:g} seconds to {_MOST_S / 3600:g} hours, such as "
            "--sustained 30m.",
        )
    return duration_s


def _check_interval(interval_s: float, duration_s: float) -> None:
    """Refuse an interval that makes too few or too many of them.

    Raises:
        UsageError: it does.
    """
    if not _LEAST_INTERVAL_S <= interval_s <= duration_s:  # also what is no number
        raise UsageError(
            f"An interval of {interval_s:g} s does not divide {duration_s:g} s.",
            f"Give --interval from {_LEAST_INTERVAL_S:g} to {duration_s:g}, or leave it out.",
        )
    if duration_s / interval_s > _MOST_INTERVALS:
        raise UsageError(
            f"Intervals of {interval_s:g} s divide {duration_s:g} s into more than "
            f"{_MOST_INTERVALS} parts.",
            f"Give --interval {duration_s / _MOST_INTERVALS:.2g} or more, or leave it out.",
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
