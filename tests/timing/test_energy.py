"""Blocks on a device whose power is that of a table: what comes out is what the table implies."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from mvdeploy.analysis.cases import case_views
from mvdeploy.analysis.energy import EnergyView, energy_findings, energy_view, of_cases
from mvdeploy.errors import DeviceUnavailable, EngineError
from mvdeploy.links.power import Unmetered
from mvdeploy.records import Comparison, Plan
from mvdeploy.records.codec import dumps, loads
from mvdeploy.records.energy import IDLE, Energy
from mvdeploy.timing.energy import ROUNDS, energy
from tests import saved_runs
from tests.metered import BATTERY, COUNTER, SENSOR, MeteredLink, TableMeter, World, entries

PLAN = Plan(energy=True, energy_block_s=5.0)
CASES = {"a": 0.020, "b": 0.050}


def world(**fields) -> World:
    return World(**{"cases_w": {"a": 5.0, "b": 3.0}, "case_s": CASES, **fields})


def ran(about, made: World | None = None, plan: Plan = PLAN, sign: int = 1, **fields):
    made = made or world()
    meter = TableMeter(made, about, sign)
    meter.supplies = fields.pop("supplies", meter.supplies)
    link = MeteredLink(made, meter, **fields)
    kept: list[Energy] = []
    estimates = {slug: 1e9 * s for slug, s in made.case_s.items()}
    found = energy(entries(*made.case_s), link, plan, estimates, kept.append, sleep=made.sleep)
    assert kept[-1] == found == loads(Energy, dumps(found), "a file")
    assert (meter.started, meter.stopped) == (1, 1)
    return found, link


def seen(found: Energy) -> EnergyView:
    story = saved_runs.two_cases()
    views = case_views(story.saved, {}, {})
    return energy_view(found, views, (Comparison("a", "b", ()),))


@pytest.mark.parametrize(
    ("about", "sign"), [(SENSOR, 1), (COUNTER, 1), (BATTERY, 1), (BATTERY, -1)]
)
def test_an_energy_is_what_the_table_implies(about, sign: int) -> None:
    found, _ = ran(about, sign=sign)
    view = seen(found)
    a, b = view.cases
    # Above 2 W at rest, for the time of an inference: loading at 9 W is no part of it.
    for one, joules in ((a, (5.0 - 2.0) * 0.020), (b, (3.0 - 2.0) * 0.050)):
        assert one.joules is not None and one.blocks == ROUNDS
        assert one.joules.value == pytest.approx(joules, rel=0.02)
        assert one.rest_w == pytest.approx(2.0, rel=0.02)
    assert a.power_w == pytest.approx(5.0, rel=0.02)
    (pair,) = view.pairs
    assert pair.ratio.value == pytest.approx(50 / 60, rel=0.03)
    assert pair.difference_j.value == pytest.approx(-0.010, abs=0.002)
    assert view.problem == "" and list(energy_findings(view)) == [] and list(of_cases(view)) == []
    assert view.rest_before_w == pytest.approx(2.0, rel=0.02)
    assert view.block_s == pytest.approx(5.0, rel=0.01)


def test_cases_come_before_each_other_equally_often_with_rest_around_each_round() -> None:
    found, link = ran(SENSOR)
    assert link.settled == ROUNDS + 1  # the device is then as a job would find it
    order = [block.case for block in found.blocks]
    assert order[0] == order[-1] == IDLE
    rounds = [[*group] for rest, group in itertools.groupby(order, lambda c: c == IDLE) if not rest]
    assert len(rounds) == ROUNDS and rounds[0] == rounds[1][::-1] == rounds[2]
    assert sorted(rounds[0]) == ["a", "b"]
    counts = {block.case: block.inferences for block in found.blocks if block.case}
    assert counts == {"a": 250, "b": 100}


def test_a_drift_of_the_rest_is_taken_out_and_told() -> None:
    drifting = world(
        cases_w={"a": 5.0, "b": 3.0}, idle_w=lambda at: 2.0 + 0.5 * (at - 100) / 220, jitter_w=0.01
    )
    found, _ = ran(SENSOR, drifting)
    view = seen(found)
    codes = {finding.code for finding in energy_findings(view)}
    assert codes == {"energy_rest_drifts"}
    assert view.rest_after_w is not None and view.rest_before_w is not None
    assert view.rest_after_w > view.rest_before_w + 0.3


def test_what_the_meter_cannot_tell_from_rest_is_below_a_bound_and_never_negative() -> None:
    found, _ = ran(SENSOR, world(cases_w={"a": 1.99, "b": 5.0}, jitter_w=0.2))
    a, b = seen(found).cases
    assert a.joules is None and a.below_j is not None and a.below_j > 0
    assert b.joules is not None
    ((name, (finding,)),) = of_cases(seen(found))
    assert finding.code == "energy_too_small" and name == a.case.name


def test_charging_that_begins_half_way_ends_it_and_what_is_whole_counts() -> None:
    def supplies(at: float) -> str:
        return "USB" if at > 220 else ""

    found, _ = ran(BATTERY, supplies=supplies)
    view = seen(found)
    assert found.blocks[-1].fed_after == "USB"
    assert found.blocks[-1].problem == "the device was being fed (USB)"
    assert all(block.fed_after == "" for block in found.blocks[:-1])
    assert "being fed (USB) from block" in view.problem
    assert [one.blocks for one in view.cases] == [4, 4]
    (finding,) = energy_findings(view)
    assert finding.code == "energy_ended_early"
    assert view.cases[0].joules is not None
    assert view.cases[0].joules.value == pytest.approx(0.060, rel=0.02)


def test_charging_from_early_on_leaves_no_energy() -> None:
    found, _ = ran(BATTERY, supplies=lambda at: "AC" if at > 140 else "")
    view = seen(found)
    assert not view.known and "AC" in view.problem
    assert {finding.code for finding in energy_findings(view)} == {"energy_unavailable"}


def test_a_current_that_changes_its_direction_counts_for_nothing() -> None:
    found, _ = ran(BATTERY)
    *others, last = found.blocks
    turned = tuple(
        dataclasses.replace(r, values=(-r.values[0], r.values[1])) for r in last.readings
    )
    blocks = (*others, dataclasses.replace(last, readings=turned))
    view = seen(dataclasses.replace(found, blocks=blocks))
    assert not view.known and "changed its direction" in view.problem


def test_a_meter_that_is_stuck_tells_nothing() -> None:
    stuck = world(cases_w={"a": 2.0, "b": 2.0}, busy_w=2.0, jitter_w=0.0)
    view = seen(ran(SENSOR, stuck)[0])
    assert not view.known and view.problem == "The meter told the same all the time."


def test_a_device_that_is_lost_keeps_what_was_seen() -> None:
    def fault(case: str, number: int):
        return DeviceUnavailable("The phone is gone.", "Plug it in.") if number == 9 else None

    found, _ = ran(SENSOR, fault=fault)
    view = seen(found)
    assert found.problem == "The phone is gone." and found.remedy == "Plug it in."
    assert all(one.joules is not None and one.blocks == 4 for one in view.cases)


def test_a_case_that_fails_is_left_out_of_later_rounds() -> None:
    def fault(case: str, number: int):
        return EngineError("It crashed.", "Report it.") if case == "a" else None

    found, link = ran(SENSOR, fault=fault)
    assert link.jobs.count("a") == 1 and link.jobs.count("b") == ROUNDS
    a, b = seen(found).cases
    assert a.joules is None and "It crashed" in a.reason and b.joules is not None


def test_a_runner_that_tells_its_inferences_afterwards_gives_no_energy() -> None:
    found, _ = ran(SENSOR, late=True)
    assert all("by the runner's own times it took 5 s" in b.problem for b in found.blocks if b.case)
    a, b = seen(found).cases
    assert a.joules is b.joules is None and "passed between its events" in a.reason


def test_without_a_meter_the_reason_is_kept() -> None:
    made = world()
    link = MeteredLink(made, Unmetered("It is being fed (USB).", "Take it off its cable."))
    kept: list[Energy] = []
    found = energy(entries("a"), link, PLAN, {}, kept.append)
    assert kept == [found] == [Energy(None, (), "It is being fed (USB).", "Take it off its cable.")]
    assert link.jobs == [] and not seen(found).known


def test_blocks_are_as_long_as_the_meter_needs() -> None:
    plan = dataclasses.replace(PLAN, energy_block_s=None)
    slow = dataclasses.replace(SENSOR, interval_s=0.8)
    for about, seconds in ((SENSOR, 4.0), (slow, 16.0)):
        found, _ = ran(about, plan=plan)
        assert found.blocks[0].seconds == pytest.approx(seconds)
        assert found.blocks[1].seconds == pytest.approx(seconds, rel=0.02)


def test_settings_of_the_device_have_rests_of_their_own() -> None:
    made = world()
    meter = TableMeter(made, SENSOR)
    link = MeteredLink(made, meter)
    own = entries("a", "b", a="fixed", b="free")
    found = energy(own, link, PLAN, {"a": 2e7, "b": 5e7}, sleep=made.sleep)
    assert link.settings_taken == ["fixed", "free"]
    assert {(b.case, b.setting) for b in found.blocks} == {
        *(("a", "fixed"), (IDLE, "fixed")),
        *(("b", "free"), (IDLE, "free")),
    }
