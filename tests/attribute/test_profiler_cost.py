from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy import attribute
from mvdeploy.attribute.profiler_cost import excess
from mvdeploy.records import ChainTimes, ProfilerCost
from mvdeploy.records.codec import RecordError, decode, encode
from tests.attribute.test_attribute import ARTIFACT, event, trace

MODELS = ("short", "long")


def cost(*added_ns: float, true_ns: float = 400, gap_ns: float = 3000) -> ProfilerCost:
    """Chains of 20 and 120 operators, whose profile has so much too much in each stretch."""

    def both(base: float, each: float) -> tuple[float, float]:
        return base + 20 * each, base + 120 * each

    stretches = (
        ChainTimes(
            both(0, true_ns + added),
            both(9000, true_ns + max(added, 0) + gap_ns),
            both(7000, true_ns),
        )
        for added in added_ns
    )
    return ProfilerCost(MODELS, (20, 120), tuple(stretches))


def test_what_one_more_operator_takes_is_not_the_profilers() -> None:
    found = excess(cost(1500, 1600, 1700))
    assert found.ns == pytest.approx(1600)
    assert found.low == pytest.approx(1600 - 248.4, abs=1)  # t with 2 degrees: 4.303 · 100 / √3
    assert found.high == pytest.approx(1600 + 248.4, abs=1)
    assert found.whole_ns == pytest.approx(4600)
    assert found.subtracted_ns == found.ns


@pytest.mark.parametrize(
    "added, known", [((-700, -720, -710), True), ((-500, 700, 100), False), ((10, -10), False)]
)
def test_only_what_is_surely_not_nothing_is_corrected(
    added: tuple[float, ...], known: bool
) -> None:
    found = excess(cost(*added))
    assert found.subtracted_ns == (found.ns if known else 0.0)


def test_what_the_profiler_adds_is_taken_off_each_operator() -> None:
    plain = trace(event(30, "m.ffn"), event(5, "m.attention"), event(40, "none"))
    found = attribute.break_down(dataclasses.replace(plain, cost=cost(10, 10)), ARTIFACT, 200.0)
    assert [row.ns for row in found.rows] == [40, 0, 60]  # none takes less than nothing
    assert [row.as_profiled_ns for row in found.rows] == [60, 10, 80]
    assert found.outside_ns == pytest.approx(100)
    assert found.operator_share == 0.5
    assert found.subtracted_ns == 25
    before = found.as_profiled
    assert before is not None
    assert before.rows == tuple(
        dataclasses.replace(row, as_profiled_ns=None)
        for row in attribute.break_down(plain, ARTIFACT, 200.0).rows
    )
    assert before.outside_ns == pytest.approx(50)


def test_what_a_profile_lacks_is_added_to_each_operator() -> None:
    plain = trace(event(0, "m.ffn"), event(30, "none"))
    found = attribute.break_down(dataclasses.replace(plain, cost=cost(-20, -20)), ARTIFACT, 200.0)
    assert [row.ns for row in found.rows] == [40, 100]
    assert found.subtracted_ns == -40
    assert found.by_category()[found.rows[0].category] == 40


def test_nothing_is_said_of_what_was_not_corrected() -> None:
    plain = trace(event(30, "m.ffn"))
    for one in (plain, dataclasses.replace(plain, cost=cost(-9, 9))):
        found = attribute.break_down(one, ARTIFACT, 200.0)
        assert found.as_profiled is None
        assert [row.ns for row in found.rows] == [60]


@given(st.lists(st.floats(-5e3, 5e3), min_size=2, max_size=6), st.floats(1, 1e9))
def test_time_is_conserved(added: list[float], latency: float) -> None:
    one = trace(event(300, "m.ffn"), event(4000, "none"), event(7), plain=5000)
    found = attribute.break_down(dataclasses.replace(one, cost=cost(*added)), ARTIFACT, latency)
    for each in filter(None, (found, found.as_profiled)):
        assert each.operators_ns + each.outside_ns == pytest.approx(latency, rel=1e-9)
        assert each.outside_ns >= 0 and all(row.ns >= 0 for row in each.rows)


@pytest.mark.parametrize("changes", [{"operators": (20, 20)}, {"stretches": ()}])
def test_records_that_say_nothing_are_refused(changes: dict[str, object]) -> None:
    right = cost(1, 2)
    assert decode(ProfilerCost, encode(right), "x") == right
    with pytest.raises(RecordError):
        decode(ProfilerCost, encode(dataclasses.replace(right, **changes)), "x")
