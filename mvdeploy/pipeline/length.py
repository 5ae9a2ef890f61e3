"""How long is measured: what is asked for → `Plan`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mvdeploy.errors import UsageError
from mvdeploy.records import Plan, Warmup

MIN_TIME_S = Plan.session_time_s * Plan.sessions
"""Measured seconds of each case at least, where nothing else is said."""

TURNS_WARMUP = Warmup(min_seconds=0.1, window_seconds=0.05, max_seconds=1.0)
"""Shorter than for a latency: both cases are equally warm, and their first turns weigh little."""

STARTS = 9
"""Of each kind: the median of so many is known with 95 % between the second and the eighth."""

_MOST_THREADS = 1024
"""More than any device has cores."""

_FEW = 5
"""Profiled inferences of a case at least."""


def plan(
    common: Mapping[str, Any],
    *,
    iterations: int | None = None,
    min_time_s: float = MIN_TIME_S,
    max_time_s: float | None = None,
    target: float = Plan.target,
    sessions: int | None = None,
    anchor: bool = False,
    profiler_cost: bool | None = None,
) -> Plan:
    """Return how cases are measured.

    Args:
        common: fields of the plan that other options decide.
        iterations: measured inferences of each case; None to go by time.
        min_time_s: measured seconds of each case at least.
        max_time_s: measured seconds of each case at most; None for the usual.
        target: see `Plan`.
        sessions: how often the engine sessions are made anew, at least; None for the usual.
        anchor: whether the yardstick runs between the cases.
        profiler_cost: whether it is measured what profilers add to operators; None for where as
            many inferences as it takes are measured.

    Raises:
        UsageError: the times contradict each other, or nothing is profiled.
    """
    fields = dict(common)
    if iterations is not None:
        # Who asks for few inferences has slow ones.
        few = min(Plan.profile_iterations, max(iterations, _FEW))
        fields.setdefault("profile_iterations", few)
    if max_time_s is not None and max_time_s < min_time_s:
        raise UsageError(
            f"--max-time {max_time_s:g} is less than --min-time {min_time_s:g}.",
            "Give a longer --max-time, or a shorter --min-time.",
        )
    profiled = fields.get("profile_iterations") != 0
    if profiler_cost and not profiled:
        raise UsageError(
            "--profiler-cost corrects the times of operators, and --no-breakdown takes none.",
            "Leave one of them out.",
        )
    fields["profiler_cost"] = profiled and (
        iterations is None if profiler_cost is None else profiler_cost
    )
    count = min(sessions or Plan.sessions, iterations or sessions or Plan.sessions)
    return Plan(
        iterations=iterations,
        target=target,
        anchor=anchor,
        sessions=count,
        groups=sessions or Plan.groups,
        session_time_s=min_time_s / count,
        max_time_s=max_time_s or max(Plan.max_time_s, min_time_s),
        **fields,
    )


def turns(
    common: Mapping[str, Any],
    *,
    max_time_s: float = Plan.max_time_s,
    target: float | None = None,
    groups: int = Plan.groups,
) -> Plan:
    """Return how two cases are compared, in nothing but turns.

    Args:
        common: fields of the plan that other options decide.
        max_time_s: seconds of turns at most.
        target: see `Plan.pair_target`.
        groups: see `Plan`; an odd number is raised by one.
    """
    return Plan(
        pairs_only=True,
        max_time_s=max_time_s,
        groups=groups + groups % 2,
        pair_target=target,
        **common,
    )


_UNITS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_LEAST_S, _MOST_S = 2.0, 24 * 3600.0
"""Seconds that a case can be kept running."""

_LEAST_INTERVAL_S, _MOST_INTERVALS = 0.1, 2000

_USUAL_S, _LEAST_INTERVALS, _MANY = 10.0, 18, 60
"""An interval is this long, unless that makes fewer or more of them."""


def sustained(
    common: Mapping[str, Any],
    *,
    duration: str,
    interval_s: float | None = None,
    alternate: bool = False,
    cases: int = 1,
) -> Plan:
    """Return how cases are kept running.

    Args:
        common: fields of the plan that other options decide.
        duration: of each case, with its unit, as in ``90s``.
        interval_s: seconds that are summed up in one point; None for the usual.
        alternate: whether cases run in turns of one interval.
        cases: that there are.

    Raises:
        UsageError: the duration or the interval makes no sense.
    """
    duration_s = seconds(duration)
    sharing = cases if alternate else 1
    if interval_s is None:
        usual_s = min(_USUAL_S, duration_s / _LEAST_INTERVALS / sharing)
        interval_s = round(max(usual_s, duration_s / _MANY / sharing, _LEAST_INTERVAL_S), 2)
    _check_interval(interval_s, duration_s, sharing)
    fields = {**common, "profile_iterations": 0}
    return Plan(sustained_s=duration_s, interval_s=interval_s, alternate=alternate, **fields)


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


def _check_interval(interval_s: float, duration_s: float, sharing: int) -> None:
    """Refuse an interval that makes too few or too many of them.

    Args:
        interval_s: seconds.
        duration_s: seconds, which the cases share that take turns.
        sharing: how many cases these are; each has to have its turn.

    Raises:
        UsageError: it does.
    """
    if not _LEAST_INTERVAL_S <= interval_s <= duration_s / sharing:  # also what is no number
        turns = f" for each of {sharing} cases" if sharing > 1 else ""
        raise UsageError(
            f"An interval of {interval_s:g} s{turns} does not divide {duration_s:g} s.",
            f"Give --interval from {_LEAST_INTERVAL_S:g} to {duration_s / sharing:g}, or leave it "
            "out."
            if duration_s / sharing >= _LEAST_INTERVAL_S
            else f"Give --sustained {sharing * _LEAST_INTERVAL_S:g}s or more.",
        )
    if duration_s / interval_s > _MOST_INTERVALS:
        raise UsageError(
            f"Intervals of {interval_s:g} s divide {duration_s:g} s into more than "
            f"{_MOST_INTERVALS} parts.",
            f"Give --interval {duration_s / _MOST_INTERVALS:.2g} or more, or leave it out.",
        )


_MOST_NUMBERS = 64
"""Numbers of threads in one run."""


def thread_numbers(texts: Sequence[str]) -> tuple[int, ...]:
    """Read numbers of threads such as ``2`` and ``1-4``, each once, in order.

    Raises:
        UsageError: one of them is neither.
    """
    numbers: list[int] = []
    for text in texts:
        first, dash, last = text.partition("-")
        ends = (first.strip(), last.strip() if dash else first.strip())
        if not all(end.isdecimal() and 1 <= int(end) <= _MOST_THREADS for end in ends):
            raise UsageError(
                f"'{text}' is no number of threads.",
                f"Give one from 1 to {_MOST_THREADS}, or the first and the last of several, as in "
                "--threads 1-4.",
            )
        if int(ends[0]) > int(ends[1]):
            raise UsageError(
                f"'{text}' has no number of threads in it.", "Give the smaller number first."
            )
        numbers += range(int(ends[0]), int(ends[1]) + 1)
    if len({*numbers}) > _MOST_NUMBERS:
        raise UsageError(
            f"These are {len({*numbers})} numbers of threads, and each makes cases of its own.",
            f"Give {_MOST_NUMBERS} at most, such as --threads 1 --threads 2 --threads 4.",
        )
    return tuple(dict.fromkeys(numbers))
