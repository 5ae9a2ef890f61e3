"""Power and energy of readings that can be counted by hand, and properties of both."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from mvdeploy.records.codec import RecordError, dumps, loads
from mvdeploy.records.energy import Channel, EnergyBlock, PowerMeter, PowerReading
from mvdeploy.stats import energy
from mvdeploy.stats.energy import NoPower

RANGE = 262_143_328_850
COUNTER = PowerMeter("RAPL", "it", (Channel("e", "energy", 1e-6, RANGE),), 0.1)
TWO = PowerMeter(
    "RAPL", "it", (Channel("e", "energy", 1e-6, 1000), Channel("f", "energy", 1e-6)), 1
)
SENSOR = PowerMeter("sensor", "it", (Channel("p", "power", 1e-6),), 0.1)
BATTERY = PowerMeter(
    "battery", "it", (Channel("i", "current", 1e-3), Channel("v", "voltage", 1e-6)), 0.1
)


def block(times, values, began: float, ended: float) -> EnergyBlock:
    readings = tuple(
        PowerReading(float(t), v if isinstance(v, tuple) else (int(v),))
        for t, v in zip(times, values, strict=True)
    )
    return EnergyBlock("a", began, ended, 10, 1, readings)


@given(
    start=st.integers(0, RANGE - 1),
    watts=st.floats(0.01, 400),
    interval=st.floats(0.01, 10),
)
def test_a_counter_that_begins_anew_tells_the_same_power(
    start: int, watts: float, interval: float
) -> None:
    times = [i * interval for i in range(7)]
    counts = [(start + round(watts * 1e6 * t)) % RANGE for t in times]
    found = energy.mean_power(block(times, counts, 0.0, times[-1]), COUNTER)
    assert found == pytest.approx(watts, rel=1e-3, abs=2e-6 / interval)


def test_several_counters_are_added_up() -> None:
    a, b = (PowerReading(float(t), v) for t, v in ((0, (900, 10)), (1, (100, 40))))
    assert energy.counted(a, b, TWO) == pytest.approx((200 + 30) * 1e-6)


def test_a_counter_of_unknown_range_that_goes_backwards_tells_nothing() -> None:
    a, b = (PowerReading(float(t), v) for t, v in ((0, (900, 40)), (1, (950, 10))))
    with pytest.raises(NoPower, match="f went backwards"):
        energy.counted(a, b, TWO)


def test_what_a_counter_counts_before_and_after_a_block_is_no_part_of_it() -> None:
    # 100 W before the block and after it, 1 W within.
    times, counts = [0, 0.9, 1.1, 2, 2.9, 3.1, 4], [0, 90e6]
    counts += [counts[-1] + 20e6, counts[-1] + 20.9e6, counts[-1] + 21.8e6]
    counts += [counts[-1] + 10e6, counts[-1] + 100e6]
    assert energy.mean_power(block(times, counts, 1.0, 3.0), COUNTER) == pytest.approx(1.0)


@given(st.lists(st.tuples(st.floats(0.01, 5), st.floats(-50, 50)), min_size=2, max_size=40))
def test_the_integral_is_that_of_numpy_and_parts_add_up(steps) -> None:
    times = np.cumsum([step for step, _ in steps])
    values = [value for _, value in steps]
    points = [(float(t), v) for t, v in zip(times, values, strict=True)]
    whole = energy.integral(points)
    assert whole == pytest.approx(float(np.trapezoid(values, times)), rel=1e-9, abs=1e-9)
    cut = len(points) // 2
    parts = energy.integral(points[: cut + 1]) + energy.integral(points[cut:])
    assert whole == pytest.approx(parts, rel=1e-9, abs=1e-9)


def test_readings_at_uneven_times_count_for_as_long_as_they_hold() -> None:
    uneven = block([0, 1, 2, 10], [2e6, 2e6, 4e6, 4e6], -1.0, 11.0)
    assert energy.mean_power(uneven, SENSOR) == pytest.approx((2 + 3 + 8 * 4) / 10)


def test_a_late_meter_is_given_time_to_settle() -> None:
    late = block([0, 1, 2, 3, 4, 5], [2e6, 2e6, 8e6, 8e6, 8e6, 8e6], 0.0, 5.0)
    assert energy.mean_power(late, SENSOR, settle_s=2.0) == pytest.approx(8.0)
    assert energy.mean_power(late, SENSOR) < 7.5


def test_current_and_voltage_make_a_power_with_the_sign_of_the_current() -> None:
    assert energy.watts(PowerReading(0.0, (-500, 4_000_000)), BATTERY) == pytest.approx(-2.0)


@pytest.mark.parametrize(
    ("times", "message"),
    [([], "read 0 times"), ([1, 2], "read 2 times"), ([1, 1.1, 1.2], "reach over 0.2 of 10 s")],
)
def test_too_few_readings_tell_no_power(times, message: str) -> None:
    with pytest.raises(NoPower, match=message):
        energy.mean_power(block(times, [1e6] * len(times), 0.0, 10.0), SENSOR)


def test_the_interval_of_a_mean_is_students() -> None:
    values = [3.1, 2.9, 3.4, 3.0, 2.7]
    found = energy.mean(values)
    low, high = scipy_stats.t.interval(
        0.95, 4, loc=np.mean(values), scale=np.std(values, ddof=1) / math.sqrt(5)
    )
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    with pytest.raises(ValueError, match="two values"):
        energy.mean([1.0])


@pytest.mark.parametrize(("rest", "running"), [(1.0, 0.1), (1.0, 1.0), (0.1, 1.0)])
def test_an_interval_holds_as_often_as_it_says_though_neighbours_share_a_rest(
    rest: float, running: float
) -> None:
    rng, runs, blocks = np.random.default_rng(2), 1500, 6
    held = plain = 0
    for _ in range(runs):
        rests = rng.normal(0, rest, blocks + 1).tolist()
        powers = rng.normal(5, running, blocks)
        above = [p - (a + b) / 2 for p, a, b in zip(powers, rests, rests[1:], strict=False)]
        wide = energy.mean(above, shared=energy.shared_variance(rests))
        narrow = energy.mean(above)
        held += wide.low <= 5 <= wide.high
        plain += narrow.low <= 5 <= narrow.high
    assert 0.935 <= held / runs <= 0.985
    assert rest < running or plain < held - 0.02 * runs


def test_a_steady_drift_of_the_rest_is_no_variance() -> None:
    assert energy.shared_variance([1.0, 1.5, 2.0, 2.5]) == pytest.approx(0.0)
    assert energy.shared_variance([1.0, 2.0]) == 0.0
    assert energy.shared_variance([0.0, 3.0, 0.0]) == pytest.approx(9 / 1.5 / 2)


def test_a_ratio_is_that_of_neighbours() -> None:
    # Both drift alike: their ratio does not.
    a = [1.0, 1.5, 2.0, 3.0]
    found = energy.paired_ratio(a, [x * r for x, r in zip(a, (1.2, 1.21, 1.19, 1.2), strict=True)])
    assert found.value == pytest.approx(1.2, rel=1e-3)
    assert energy.pair_verdict(found) == "more energy"
    assert energy.pair_verdict(energy.paired_ratio([2.0, 2.1, 2.0], [1.0, 1.0, 1.05])) == (
        "less energy"
    )
    same = energy.paired_ratio([1.0, 1.1, 0.9], [1.1, 0.9, 1.0])
    assert energy.pair_verdict(same) == "no difference detected"
    with pytest.raises(ValueError, match="positive"):
        energy.paired_ratio([1.0, 1.0], [1.0, -1.0])


def test_what_was_seen_of_a_meter() -> None:
    one = block([0, 1, 2, 3, 4, 5, 6], [5e6, 5e6, 6e6, 6e6, 6.5e6, 6.5e6, 8e6], 0.0, 6.0)
    assert energy.update_s([one]) == pytest.approx(2.0)
    assert energy.step_w([one], SENSOR) == pytest.approx(0.5)
    assert not energy.is_stuck([one])
    same = block([0, 1], [5e6, 5e6], 0.0, 1.0)
    assert energy.is_stuck([same]) and energy.update_s([same]) is None
    assert energy.step_w([one], COUNTER) == 0.0
    mixed = [block([0, 1], [(5, 4_000_000), (9, 4_000_000)], 0.0, 1.0)]
    assert energy.step_w(mixed, BATTERY) == pytest.approx(4e-3 * 4)
    assert energy.sign(mixed) == 1
    with pytest.raises(NoPower, match="direction"):
        energy.sign([*mixed, block([0], [(-9, 1)], 0.0, 1.0)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ended_s": -1.0}, "ended before it began"),
        ({"inferences": 0}, "none of its case"),
        (
            {"readings": (PowerReading(2.0, (1,)), PowerReading(1.0, (1,)))},
            "not in order",
        ),
        (
            {"readings": (PowerReading(1.0, (1,)), PowerReading(2.0, (1, 2)))},
            "different channels",
        ),
    ],
)
def test_a_block_that_cannot_be_is_refused(change, message: str) -> None:
    broken = dataclasses.replace(block([0.0, 1.0], [1, 2], 0.0, 1.0), **change)
    with pytest.raises(RecordError, match=message):
        loads(EnergyBlock, dumps(broken), "a file")


def test_channels_that_make_no_power_are_refused() -> None:
    for channels in ((), (Channel("i", "current", 1.0),), (*SENSOR.channels, *COUNTER.channels)):
        broken = dataclasses.replace(SENSOR, channels=channels)
        with pytest.raises(RecordError, match="make no power"):
            loads(PowerMeter, dumps(broken), "a file")
