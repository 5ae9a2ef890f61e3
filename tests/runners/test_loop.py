from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.records import Warmup
from mvdeploy.runners.loop import time_order, warm_up

SECOND = 1_000_000_000


class Clock:
    """Stands still, but for the calls that are being timed."""

    def __init__(self, monkeypatch):
        self.wall = self.cpu = 0
        monkeypatch.setattr(time, "perf_counter_ns", lambda: self.wall)
        monkeypatch.setattr(time, "thread_time_ns", lambda: self.cpu)

    def taking(self, *seconds):
        """A call that takes these times in turn, and the last one from then on; half of it CPU."""
        left = [round(s * SECOND) for s in seconds]

        def infer():
            took = left.pop(0) if len(left) > 1 else left[0]
            self.wall += took
            self.cpu += took // 2

        return infer


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_each_call_has_its_own_time(clock):
    samples = time_order([clock.taking(1, 2, 3), clock.taking(10)], [0, 1, 0, 1, 0])
    assert [ns / SECOND for ns in samples.wall_ns] == [1, 10, 2, 10, 3]
    assert [ns / SECOND for ns in samples.cpu_ns] == [0.5, 5, 1, 5, 1.5]


@given(st.lists(st.integers(0, 3), max_size=200))
def test_calls_are_made_in_order(order):
    calls = []
    infers = [lambda index=index: calls.append(index) for index in range(4)]
    samples = time_order(infers, order)
    assert calls == order
    assert len(samples.wall_ns) == len(samples.cpu_ns) == len(order)
    assert all(ns >= 0 for ns in samples.wall_ns + samples.cpu_ns)


def test_a_failing_call_is_not_swallowed():
    def infer():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        time_order([infer], [0])


def test_a_fixed_number_of_inferences_is_kept(clock):
    assert len(warm_up(clock.taking(100), Warmup(iterations=3))) == 3
    assert len(warm_up(clock.taking(100), Warmup(iterations=0))) == 0


def test_a_steady_model_is_warm_after_the_shortest_time(clock):
    samples = warm_up(clock.taking(0.01), Warmup())
    assert sum(samples.wall_ns) == 0.5 * SECOND


def test_enough_inferences_are_asked_for(clock):
    samples = warm_up(clock.taking(0.3), Warmup(min_iterations=5))
    assert len(samples) == 5


def test_warming_goes_on_until_a_window_is_no_faster_than_the_one_before(clock):
    # Windows of 0.25 s hold one inference each; the fifth is within 5 % of the fourth.
    times = (0.60, 0.50, 0.40, 0.30, 0.29, 0.29)
    samples = warm_up(clock.taking(*times), Warmup(min_iterations=1))
    assert [ns / SECOND for ns in samples.wall_ns] == list(times[:5])


def test_the_windows_are_compared_and_not_single_inferences(clock):
    # Every third inference takes three times as long; the medians of windows do not differ.
    samples = warm_up(clock.taking(*(0.01, 0.01, 0.03) * 1000), Warmup())
    assert sum(samples.wall_ns) < SECOND


def test_a_window_that_was_disturbed_is_no_sign_of_a_cold_start(clock):
    samples = warm_up(clock.taking(0.25, 0.5, 0.25), Warmup(min_iterations=1))
    assert [ns / SECOND for ns in samples.wall_ns] == [0.25, 0.5]


def test_cpu_time_may_decide(clock, monkeypatch):
    # Another program takes ever less of the core; the work itself stays the same.
    wall = (0.60, 0.50, 0.40, 0.30, 0.29)
    steady = clock.taking(*wall)
    cpu = iter(range(0, 1000 * SECOND, SECOND // 10))
    monkeypatch.setattr(time, "thread_time_ns", lambda: next(cpu))
    samples = warm_up(steady, Warmup(min_iterations=1), "cpu")
    assert [ns / SECOND for ns in samples.wall_ns] == [0.60, 0.50]


def test_warming_ends_at_the_cap(clock):
    ever_faster = (0.25 + 4 * 0.9**number for number in range(100))
    samples = warm_up(clock.taking(*ever_faster), Warmup(max_seconds=20))
    assert 20 * SECOND <= sum(samples.wall_ns) < 25 * SECOND


def test_a_model_slower_than_the_cap_runs_once(clock):
    assert len(warm_up(clock.taking(8), Warmup(max_seconds=5))) == 1
