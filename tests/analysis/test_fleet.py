"""One run with two devices, two precisions, and a category that only its network knows."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from mvdeploy.analysis.baselines import baseline_of
from mvdeploy.analysis.gates import check, parse
from mvdeploy.analysis.view import View, view_of
from mvdeploy.errors import UsageError
from mvdeploy.records import Artifact, Category

PLACES = ("on This machine", "on A phone")


@pytest.fixture(scope="module")
def fleet(fleet_story: Any) -> View:
    return view_of(fleet_story.saved, fleet_story.breakdowns)


def test_names_hold_what_tells_cases_apart_and_no_more(fleet: View) -> None:
    assert [case.name for case in fleet.cases] == [
        f"detector 2,2,2 {precision} {place}" for precision in ("fp32", "fp16") for place in PLACES
    ]
    assert fleet.cases[0].title == "detector 2,2,2 onnxruntime on This machine"
    assert fleet.cases[3].title == "detector 2,2,2 onnxruntime fp16 on A phone"


@pytest.mark.parametrize(
    ("chosen", "added"),
    [((0, 2), ("fp32", "fp16")), ((0, 1), PLACES), ((2,), ("",)), ((0, 0), ("#1", "#2"))],
)
def test_names_of_fewer_cases_are_shorter(
    fleet_story: Any, chosen: tuple[int, ...], added: tuple[str, ...]
) -> None:
    cases = tuple(
        dataclasses.replace(fleet_story.saved.cases[index], slug=f"c{i}")
        for i, index in enumerate(chosen)
    )
    run = dataclasses.replace(fleet_story.saved.run, cases=tuple(c.slug for c in cases))
    view = view_of(dataclasses.replace(fleet_story.saved, run=run, cases=cases), {})
    assert [c.name for c in view.cases] == [f"detector 2,2,2 {text}".strip() for text in added]


def test_format_and_precision_of_old_results_are_those_of_the_artifact(two: Any) -> None:
    case, _ = view_of(two.saved, {}).cases
    assert (case.case.format, case.case.precision) == ("", "")
    assert (case.format, case.precision) == ("onnx", "fp32")


def test_the_device_of_a_case_is_where_it_ran(fleet: View, fleet_story: Any) -> None:
    assert [device.profile.name for device in fleet.devices] == ["host", "pixel"]
    assert [case.device.profile.name for case in fleet.cases] == ["host", "pixel"] * 2
    kept = baseline_of(fleet).cases
    assert [c.conditions["device"] for c in kept] == ["host", "pixel"] * 2
    assert [c.conditions["emulated"] for c in kept] == ["no", "yes"] * 2
    assert [c.conditions["precision"] for c in kept] == ["fp32", "fp32", "fp16", "fp16"]
    (emulated,) = [f for f in fleet.findings if f.code == "emulated"]
    assert emulated.values == {"device": "A phone"}
    saved = dataclasses.replace(fleet_story.saved, cases=())
    assert view_of(saved, {}).devices == (fleet_story.saved.run.device,)


def test_parts_are_the_same_for_all_cases(fleet: View) -> None:
    usual = ["pre-and-post", "convolution", "fold", "attention", "ffn"]
    for case in fleet.cases:
        assert case.breakdown is not None
        parts = case.breakdown.parts
        assert [p.key for p in parts] == [*usual, "neck", "unplaced", "outside"]
        assert math.fsum(p.ns for p in parts) == pytest.approx(case.breakdown.total_ns)
        assert parts[5].title == "Feature pyramid"
        assert parts[5].ns > 0
        assert "Feature pyramid" in {module.category for module in case.breakdown.modules}


def test_a_case_without_the_category_has_a_part_of_zero(fleet_story: Any, two: Any) -> None:
    breakdowns = {**fleet_story.breakdowns, "fp32-host": two.breakdowns["a"]}
    view = view_of(fleet_story.saved, breakdowns)
    first, second = (case.breakdown for case in view.cases[:2])
    assert first is not None
    assert second is not None
    assert [p.key for p in first.parts] == [p.key for p in second.parts]
    assert (first.parts[5].ns, second.parts[5].ns > 0) == (0, True)
    assert len(view.differences) == 3


def test_categories_without_a_title_are_named_by_their_id(fleet_story: Any) -> None:
    def bare(artifact: Artifact) -> Artifact:
        return dataclasses.replace(artifact, categories={})

    cases = tuple(
        dataclasses.replace(c, artifact=bare(c.artifact)) for c in fleet_story.saved.cases
    )
    saved = dataclasses.replace(fleet_story.saved, cases=cases)
    categories = view_of(saved, fleet_story.breakdowns).categories
    assert list(categories.items())[4:] == [("ffn", Category.FFN.heading), ("neck", "Neck")]


def test_a_failed_check_on_the_device_is_an_error_on_its_case(fleet: View) -> None:
    failed = [f for f in fleet.findings if f.code == "device_parity_failed"]
    assert [(f.level, f.subjects) for f in failed] == [
        ("error", ("detector 2,2,2 fp16 on A phone",))
    ]
    assert failed[0].values == {"max_abs": 0.21, "demand": "max abs 1e-03", "input": "photograph"}
    assert "parity_failed" not in {f.code for f in fleet.findings}


def test_gates_know_the_categories_of_the_run(fleet: View) -> None:
    strict, lenient = (check((parse(text),), fleet) for text in ("neck:1%", "neck:99%"))
    assert [r.passed for r in strict] == [False] * 4
    assert [r.passed for r in lenient] == [True] * 4
    assert strict[0].sentence.startswith("neck:1% failed: neck takes 9.7 % of detector 2,2,2 fp32")


def test_a_part_that_no_latency_has_is_refused(fleet: View, fleet_story: Any) -> None:
    with pytest.raises(UsageError, match="'nek', which is no part of these latencies") as caught:
        check((parse("neck:99%"), parse("nek:99%")), fleet)
    assert caught.value.remedy == (
        "Did you mean 'neck'? Choose one of: pre-and-post, convolution, fold, attention, ffn, "
        "neck, unattributed."
    )
    results = check((parse("nek:99%"),), view_of(fleet_story.saved, {}))
    assert [r.passed for r in results] == [False] * 4
    assert "there is no breakdown" in results[0].sentence


def test_devices_that_differ_are_why_cases_took_no_turns(fleet: View, fleet_story: Any) -> None:
    (finding,) = [f for f in fleet.findings if f.code == "not_interleaved"]
    assert finding.values == {"reason": "the devices differ"}
    cases = tuple(dataclasses.replace(c, device=None) for c in fleet_story.saved.cases)
    alone = view_of(dataclasses.replace(fleet_story.saved, cases=cases), {})
    (finding,) = [f for f in alone.findings if f.code == "not_interleaved"]
    assert finding.values == {"reason": "the run holds no paired samples"}


def test_engines_are_compared_on_one_device(fleet_story: Any) -> None:
    host, phone = fleet_story.saved.cases[:2]
    times = fleet_story.breakdowns
    for device, compared in ((phone.device, 0), (host.device, 1)):
        other = dataclasses.replace(phone, engine="executorch", device=device)
        saved = dataclasses.replace(fleet_story.saved, cases=(host, other))
        assert len(view_of(saved, times).engines) == compared
