"""How reports show energies: of a saved run, in every form."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from mvdeploy.analysis.energy import energy_findings, energy_view, of_cases
from mvdeploy.analysis.view import View, view_of
from mvdeploy.records.codec import RecordError, dumps, loads
from mvdeploy.records.energy import Energy
from mvdeploy.records.run import load_run, save_case, save_comparisons, save_energy, save_run
from mvdeploy.report import document, prose, renderer
from mvdeploy.report.renderers.terminal import show
from mvdeploy.report.tables.energy import figures
from mvdeploy.report.wording import word
from mvdeploy.timing.energy import energy
from tests.metered import BATTERY, SENSOR, MeteredLink, TableMeter, World, entries
from tests.robustness.damages_json import damages
from tests.saved_runs import Story, two
from tests.timing.test_energy import PLAN

__all__ = ["two"]

Measured = Callable[..., View]


@pytest.fixture
def measured(two: Story) -> Measured:
    """Return a function that gives a run of two cases with energies of a device in a table."""

    def make(**fields) -> View:
        about = fields.pop("about", SENSOR)
        made = World(
            **{"cases_w": {"a": 5.0, "b": 3.0}, "case_s": {"a": 0.02, "b": 0.05}, **fields}
        )
        meter = TableMeter(made, about)
        estimates = {"a": 2e7, "b": 5e7}
        found = energy(
            entries("a", "b"), MeteredLink(made, meter), PLAN, estimates, sleep=made.sleep
        )
        return with_energy(two, found)

    return make


def with_energy(story: Story, found: Energy) -> View:
    return view_of(dataclasses.replace(story.saved, energy=found), story.breakdowns)


def rows(view: View, folder: Path) -> list[dict[str, str]]:
    renderer("csv").render(view, folder)
    return list(csv.DictReader(io.StringIO((folder / "energy.csv").read_text())))


def printed(view: View) -> str:
    text = io.StringIO()
    show(view, Console(file=text, width=300))
    return text.getvalue()


def test_every_form_has_the_same_energies(measured: Measured, tmp_path: Path) -> None:
    view = measured()
    assert view.energy is not None and view.energy.rest_before_w is not None
    a, b = view.energy.cases
    assert a.joules is not None and b.joules is not None
    first, second = rows(view, tmp_path)
    assert float(first["energy_mj"]) == pytest.approx(60, rel=0.02)
    assert float(second["energy_mj"]) == pytest.approx(50, rel=0.02)
    body = renderer("json").as_json(view)["energy"]
    assert json.loads(json.dumps(body)) == body
    assert body["cases"][0]["energy_mj"]["value"] == a.joules.value * 1e3
    assert body["pairs"][0]["verdict"] == "less energy" and body["kind"] == "measured"
    renderer("markdown").render(view, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "Energy per inference above the device at rest, mJ (measured)" in text
    for one in (a, b):
        assert f"{one.joules.value * 1e3:.1f}" in text and f"{one.joules.value * 1e3:.1f}" in (
            printed(view)
        )
    assert "Read from: sensor, which tells the energy of the board." in text
    assert f"At rest: {figures(view.energy.rest_before_w)} W before all blocks" in text


def test_the_summary_has_one_sentence_on_it(measured: Measured) -> None:
    said = [s for s in prose.summary(measured()) if "nergy" in s]
    assert len(said) == 1
    assert said[0].startswith("Energy per inference above the device at rest, of the board: A: ")
    assert prose.energy(measured())[1].startswith(
        "An inference of mobilevit_xxs 8,4,2 takes less energy than one of mobilevit_xxs 2,2,2 "
        "(ratio 0.8"
    )


def test_what_is_too_small_has_a_bound_and_no_number(measured: Measured, tmp_path: Path) -> None:
    view = measured(cases_w={"a": 1.99, "b": 5.0}, jitter_w=0.3)
    first, _ = rows(view, tmp_path)
    assert first["energy_mj"] == "" and float(first["below_mj"]) > 0
    assert "below " in prose.energy(view)[0] and "−" not in prose.energy(view)[0]
    assert "energy_too_small" in {finding.code for finding in view.findings}
    assert renderer("json").as_json(view)["energy"]["cases"][0]["energy_mj"] is None


def test_what_is_unavailable_is_said_once_with_what_to_do(two: Story, tmp_path: Path) -> None:
    view = with_energy(two, Energy(None, (), "It is being fed (USB).", "Take it off its cable."))
    (said,) = prose.energy(view)
    assert said == (
        "Energy per inference: unavailable. It is being fed (USB). Take it off its cable."
    )
    assert all(r["energy_mj"] == r["below_mj"] == "" for r in rows(view, tmp_path))
    assert [f.code for f in view.findings].count("energy_unavailable") == 1
    assert "unavailable: It is being fed (USB). Take it off its cable." in printed(view)


def test_a_run_that_was_not_asked_says_nothing_of_it(two: Story, tmp_path: Path) -> None:
    view = view_of(two.saved, two.breakdowns)
    assert prose.energy(view) == () and "energy" not in {s.anchor for s in document.sections(view)}
    renderer("csv").render(view, tmp_path)
    assert not (tmp_path / "energy.csv").exists()
    assert renderer("json").as_json(view)["energy"] is None


def test_what_was_assumed_is_a_finding(measured: Measured) -> None:
    about = dataclasses.replace(BATTERY, assumed="its current is in mA, as its size says")
    codes = {finding.code for finding in measured(about=about).findings}
    assert "energy_assumed" in codes


def test_a_saved_run_keeps_it_and_refuses_that_of_another(two: Story, measured, tmp_path) -> None:
    made = World(cases_w={"a": 5.0, "b": 3.0}, case_s={"a": 0.02, "b": 0.05})
    link = MeteredLink(made, TableMeter(made, SENSOR))
    found = energy(entries("a", "b"), link, PLAN, {"a": 2e7, "b": 5e7}, sleep=made.sleep)
    save_run(two.saved.run, tmp_path)
    for case in two.saved.cases:
        save_case(case, tmp_path)
    save_comparisons(two.saved.comparisons, tmp_path)
    save_energy(found, tmp_path)
    assert load_run(tmp_path).energy == found
    block = dataclasses.replace(found.blocks[1], case="stranger")
    save_energy(dataclasses.replace(found, blocks=(*found.blocks, block)), tmp_path)
    with pytest.raises(Exception, match="'stranger' took part"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(60.0, "60.0"), (100.2, "100"), (999.7, "1,000"), (12345.0, "12,345"), (0.01234, "0.0123")],
)
def test_numbers_have_three_digits_that_count(value: float, shown: str) -> None:
    assert figures(value) == shown


def test_a_damaged_record_is_refused_or_shown_without_a_number_that_cannot_be(
    two: Story,
) -> None:
    made = World(cases_w={"a": 5.0, "b": 3.0}, case_s={"a": 0.02, "b": 0.05})
    link = MeteredLink(made, TableMeter(made, SENSOR))
    found = energy(entries("a", "b"), link, PLAN, {"a": 2e7, "b": 5e7}, sleep=made.sleep)
    # Few readings, so that most damages are done to what is rarer.
    few = (dataclasses.replace(b, readings=b.readings[::10]) for b in found.blocks)
    record = json.loads(dumps(dataclasses.replace(found, blocks=tuple(few))))
    record.pop("checksum", None)
    whole = with_energy(two, found)
    count = sum(1 for _ in damages(record))
    chosen = {*random.Random(5).sample(range(count), min(500, count))}
    refused = 0
    for number, (name, damaged) in enumerate(damages(record)):
        if number not in chosen:
            continue
        try:
            taken = loads(Energy, json.dumps(damaged), "a file")
        except RecordError:
            refused += 1
            continue
        again = energy_view(taken, whole.cases, two.saved.comparisons)
        view = dataclasses.replace(whole, energy=again)
        body = renderer("json").as_json(view)["energy"]
        json.dumps(body, allow_nan=False)
        for case in body["cases"]:
            assert case["energy_mj"] is None or case["energy_mj"]["low"] > 0, name
            assert case["below_mj"] is None or case["below_mj"] >= 0, name
        assert all(prose.energy(view)) and document.sections(view), name
        for finding in (*energy_findings(again), *(f for _, own in of_cases(again) for f in own)):
            assert "Recorded as" not in word(finding).sentence, name
    assert refused > 100
