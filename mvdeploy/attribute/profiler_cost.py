"""What the profile's time of an operator has too much, or lacks.

One more operator in a chain makes an inference without the profiler longer by what it takes, its
dispatch included. What a profile says of it beyond that is the profiler's: reading clocks and
writing the event down, which some engines do within the time that they report. Others leave the
dispatch out, or count in whole microseconds and cut the rest off. Both are nearly the same for
every operator, so they make small operators look large, or vanish.
"""

from __future__ import annotations

from mvdeploy.records import ChainTimes, Excess, ProfilerCost
from mvdeploy.stats.interval import mean_interval


def excess(cost: ProfilerCost) -> Excess:
    """Work out what a profiler adds to each operator."""
    more = cost.operators[1] - cost.operators[0]
    within = [(_longer(t.operators_ns) - _longer(t.plain_ns)) / more for t in cost.stretches]
    whole = [_slower(times) / more for times in cost.stretches]
    mean, half = mean_interval(within)
    return Excess(mean, mean - half, mean + half, sum(whole) / len(whole))


def _longer(times: tuple[float, float]) -> float:
    return times[1] - times[0]


def _slower(times: ChainTimes) -> float:
    return _longer(times.profiled_ns) - _longer(times.plain_ns)
