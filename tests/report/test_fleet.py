"""What is shown of a run with two devices, two precisions, and a category of its own."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from rich.console import Console

from mvdeploy.analysis.view import View, view_of
from mvdeploy.report import document, prose
from mvdeploy.report.figures import _style, categories
from mvdeploy.report.renderers import terminal
from mvdeploy.report.renderers.json import as_json
from mvdeploy.report.tables import latency
from mvdeploy.report.tables.conditions import devices
from mvdeploy.report.tables.parity import parity


@pytest.fixture(scope="module")
def fleet(fleet_story: Any) -> View:
    return view_of(fleet_story.saved, fleet_story.breakdowns)


def relabelled(story: Any) -> View:
    """The same with labels that tell cases apart without the device."""
    cases = tuple(dataclasses.replace(c, label=f"net {i}") for i, c in enumerate(story.saved.cases))
    return view_of(dataclasses.replace(story.saved, cases=cases), {})


def printed(view: View) -> str:
    out = io.StringIO()
    terminal.show(view, Console(file=out, width=160))
    return out.getvalue()


def test_the_title_and_the_summary_name_all_devices(fleet: View) -> None:
    assert document.title(fleet) == "Latency of 4 cases on This machine and A phone"
    assert document.sections(fleet)[0].blocks[0].texts[0] == (  # type: ignore[union-attr]
        "4 cases were measured with onnxruntime (1 inference thread) on This machine (AMD EPYC "
        "7B13) and A phone (Cortex-X1), an emulated device."
    )


def test_many_verdicts_that_are_the_same_are_one(eight: Any, fleet: View) -> None:
    assert prose.verdicts(view_of(eight.saved, eight.breakdowns)) == (
        "Can it be relied on? All 15 results are reliable.",
    )
    assert prose.verdicts(fleet)[0].count(": reliable") == 4


def test_a_column_has_the_device_where_names_have_not(fleet: View, fleet_story: Any) -> None:
    assert "Device" not in [column.title for column in latency.latency(fleet).columns]
    view = relabelled(fleet_story)
    table = latency.latency(view)
    assert [column.title for column in table.columns][:3] == ["Case", "Device", "Engine"]
    assert [row[1] for row in table.rows] == ["This machine", "A phone"] * 2
    assert "Device" not in printed(fleet)
    assert any(line.split()[:4] == ["B:", "net", "1", "A"] for line in printed(view).splitlines())


def test_every_device_has_a_table(fleet: View, two: Any) -> None:
    assert [table.title for table in devices(fleet)] == ["Device (A, C)", "Device (B, D)"]
    assert ("notes", "In a rack.") in list(devices(fleet))[1].rows
    assert [table.title for table in devices(view_of(two.saved, {}))] == ["Device"]


def test_what_the_device_computed_stands_beside_the_export(fleet: View, two: Any) -> None:
    table = parity(fleet)
    place = [column.title for column in table.columns].index("Checked with")
    mine = [row[1:4] for row in table.rows if row[0].startswith("D:")]
    assert mine == [
        ("photograph", "passed", "onnxruntime 1.24.1"),
        ("noise", "passed", "onnxruntime 1.24.1"),
        ("photograph", "FAILED", "onnxruntime 1.24.1 on this device"),
    ]
    without = parity(view_of(two.saved, {}))
    assert not any("this device" in row[place] for row in without.rows)


def test_a_case_that_was_only_checked_on_the_device(fleet_story: Any) -> None:
    cases = tuple(dataclasses.replace(c, parity=None) for c in fleet_story.saved.cases)
    rows = parity(view_of(dataclasses.replace(fleet_story.saved, cases=cases), {})).rows
    assert [row[2] for row in rows[:2]] == ["not checked", "passed"]
    assert len(rows) == 8


def test_a_category_has_a_look_of_its_own(fleet: View) -> None:
    looks = _style.part_looks(fleet)
    assert list(looks) == [*fleet.categories, "unplaced", "outside"]
    assert len(set(looks.values())) == len(looks)
    with _style.applied(fleet):
        (legend,) = categories.draw(fleet).legends
    titles = [text.get_text() for text in legend.get_texts()]
    assert titles[5] == "Feature pyramid"
    assert titles[-1] == "Unattributed: outside operators (engine dispatch)"


def test_more_categories_than_colours_can_be_drawn(fleet: View) -> None:
    many = dataclasses.replace(fleet, categories={f"c{i}": f"C {i}" for i in range(25)})
    assert len(_style.part_looks(many)) == 27


def test_json_has_device_precision_and_both_names_of_the_share(fleet: View) -> None:
    data = as_json(fleet)
    case = data["cases"][3]
    assert [device["profile"]["name"] for device in data["devices"]] == ["host", "pixel"]
    assert (case["device"], case["format"], case["precision"]) == ("pixel", "onnx", "fp16")
    assert case["device_parity"]["passed"] is False
    assert case["breakdown"]["categories"]["neck"]["ms"] > 0
    assert case["breakdown"]["attributed_share"] == case["breakdown"]["coverage"] > 0.99
