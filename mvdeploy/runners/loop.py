"""The timed loop. What stands between two clock readings here is in every number."""

from __future__ import annotations

import statistics
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Literal

from mvdeploy.records import Samples, Warmup

Infer = Callable[[], object]
Clock = Literal["wall", "cpu"]


def time_order(infers: Sequence[Infer], order: Sequence[int]) -> Samples:
    """Time one call for each entry of an order.

    Nothing but the call lies between the two readings of the wall clock; the CPU clock, which
    costs more to read, is read outside of them.

    Args:
        infers: what to call, one for each model.
        order: index into `infers` for each call.

    Returns:
        Nanoseconds of each call, in order.
    """
    wall_ns = array("q", bytes(8 * len(order)))
    cpu_ns = array("q", bytes(8 * len(order)))
    wall, cpu = time.perf_counter_ns, time.thread_time_ns
    for position, infer in enumerate([infers[index] for index in order]):
        cpu_start = cpu()
        start = wall()
        infer()
        end = wall()
        cpu_ns[position] = cpu() - cpu_start
        wall_ns[position] = end - start
    return Samples(tuple(wall_ns), tuple(cpu_ns))


def warm_up(infer: Infer, rule: Warmup, clock: Clock = "wall") -> Samples:
    """Call until the rule is satisfied, and return every call's time.

    The inferences are grouped into windows of at least ``rule.window_seconds``. A window is always
    finished, so the warm-up may exceed ``rule.max_seconds`` by one inference.

    Args:
        infer: what to call.
        rule: when it is warm.
        clock: whose medians it asks for. CPU time holds the work of one thread, and does not rise
            and fall with what else runs.
    """
    if rule.iterations is not None:
        return time_order([infer], [0] * rule.iterations)
    began = time.perf_counter_ns()
    latest, samples, medians = began, Samples(), list[float]()
    while (latest - began) / 1e9 < rule.max_seconds:
        until = min(latest + rule.window_seconds * 1e9, began + rule.max_seconds * 1e9)
        window = _time_until(infer, until)
        samples += window
        medians.append(statistics.median(window.cpu_ns if clock == "cpu" else window.wall_ns))
        latest = time.perf_counter_ns()
        if _is_warm(rule, len(samples), (latest - began) / 1e9, medians):
            break
    return samples


def _time_until(infer: Infer, until_ns: float) -> Samples:
    parts = []
    while True:
        parts.append(time_order([infer], [0]))
        if time.perf_counter_ns() >= until_ns:
            break
    wall_ns = tuple(part.wall_ns[0] for part in parts)
    return Samples(wall_ns, tuple(part.cpu_ns[0] for part in parts))


def _is_warm(rule: Warmup, count: int, seconds: float, medians: list[float]) -> bool:
    if count < rule.min_iterations or seconds < rule.min_seconds or len(medians) < 2:
        return False
    before, now = medians[-2:]
    # What warms up gets faster; what has got slower meanwhile was disturbed.
    return before - now <= rule.tolerance * before
