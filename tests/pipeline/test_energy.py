"""What a run keeps of energies, and what it goes by."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mvdeploy.errors import DeviceUnavailable
from mvdeploy.links.power import Unmetered
from mvdeploy.pipeline import energy
from mvdeploy.pipeline.store import Store
from mvdeploy.records import Plan
from mvdeploy.records.energy import Energy
from mvdeploy.records.run import load_run
from mvdeploy.timing import energy as timing
from tests.metered import SENSOR, MeteredLink, TableMeter, World, entries
from tests.saved_runs import Story, two

__all__ = ["two"]

PLAN = Plan(energy=True, energy_block_s=1.0)
FED = Unmetered("It is being fed (USB).", "Take it off its cable.")


@pytest.fixture
def store(two: Story, tmp_path: Path) -> Store:
    store = Store(two.saved.run, tmp_path, two.saved.cases)
    for case in two.saved.cases:
        store.update(case.slug, measurement=case.measurement)
    return store


def link(meter: TableMeter | Unmetered) -> MeteredLink:
    return MeteredLink(World(cases_w={}, case_s={}), meter)


def test_what_an_inference_takes_is_known_from_its_latency_or_its_turns(
    store: Store, two: Story
) -> None:
    found = energy._estimates(entries("a", "b"), store)
    assert found == {"a": pytest.approx(5.2e6, rel=0.03), "b": pytest.approx(4.6e6, rel=0.03)}
    for case in two.saved.cases:
        assert case.measurement is not None
        without = dataclasses.replace(case.measurement, sessions=())
        store.update(case.slug, measurement=without)
    assert energy._estimates(entries("a", "b"), store) == {}
    store.compared(two.saved.comparisons)
    turns = energy._estimates(entries("a", "b"), store)
    assert turns.keys() == {"a", "b"} and turns["b"] < turns["a"]


def test_what_is_unavailable_is_told_at_first_and_kept_at_last(store: Store) -> None:
    told: list[str] = []
    energy.warn(link(FED), told.append)
    assert told == [
        "energy is unavailable as things are: It is being fed (USB). Take it off its cable."
    ]
    energy.measure(entries("a"), link(FED), PLAN, store, told.append)
    assert load_run(store.folder).energy == Energy(None, (), FED.message, FED.remedy)


def test_nothing_is_told_of_a_device_that_is_metered(store: Store) -> None:
    told: list[str] = []
    made = World(cases_w={}, case_s={})
    energy.warn(MeteredLink(made, TableMeter(made, SENSOR)), told.append)
    assert told == []


def test_without_a_case_that_has_a_latency_there_is_nothing_to_measure(store: Store) -> None:
    energy.measure((), link(FED), PLAN, store, lambda _: None)
    assert load_run(store.folder).energy is None


def test_a_device_that_was_lost_before_is_the_reason(store: Store) -> None:
    energy.unmeasured(DeviceUnavailable("The phone is gone.", "Plug it in."), store)
    assert load_run(store.folder).energy == Energy(None, (), "The phone is gone.", "Plug it in.")


def test_a_run_that_ends_before_its_first_block_says_so(store: Store) -> None:
    made = World(cases_w={"a": 5.0}, case_s={"a": 0.02})
    meter = TableMeter(made, SENSOR)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        timing.energy(
            entries("a"), MeteredLink(made, meter), PLAN, {}, store.metered, sleep=interrupted
        )
    kept = load_run(store.folder).energy
    assert kept is not None and kept.problem == "The run ended before all blocks of it had run."
    assert (meter.started, meter.stopped) == (1, 1)
