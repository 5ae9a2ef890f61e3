"""Pipelines of the cases of a run: on this machine only, and a failure leaves the latency."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mvdeploy import devices
from mvdeploy.errors import EngineError
from mvdeploy.links.families import host
from mvdeploy.pipeline import store as stores
from mvdeploy.pipeline.stages import beside, measuring
from mvdeploy.records import Artifact, JobModel, Plan
from mvdeploy.timing.case import Entry
from tests.saved_runs import case, device

PLAN = Plan(iterations=6, sessions=2)
ENTRIES = [Entry(slug, JobModel("onnxruntime", f"{slug}.onnx", "", {})) for slug in ("a", "b")]


@pytest.fixture
def store(tmp_path: Path) -> stores.Store:
    cases = [case(slug, slug, number, 5.0, (2, 2, 2)) for number, slug in enumerate("ab", 1)]
    created = stores.create(
        tmp_path, "t", cases, device=device(), plan=PLAN, command=(), image="photo.jpg"
    )
    for one in cases:
        created.update(one.slug, measurement=one.measurement, artifact=one.artifact)
    return created


def event(difference: float = 0.0) -> dict[str, Any]:
    return {
        "event": "stages",
        "stages": {"decode": [5, 6, 7], "inference": [3, 3, 3]},
        "total_ns": [9, 10, 11],
        "plain_ns": [9, 9, 9],
        "warmup": 1,
        "program": "Python",
        "picture": "photo.jpg",
        "said": [[3, 0.5, []]],
        "wanted": [[3, 0.5, []]],
        "difference": difference,
        "repeats": difference / 10,
    }


def link(kind: str = "host") -> host.HostLink:
    return host.connect(dataclasses.replace(devices.get("host", ()), link=kind, title="A phone"))


def test_cases_take_turns_in_both_orders(
    store: stores.Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran = []

    def told(module: str, job: Any, limit_s: float) -> list[dict[str, Any]]:
        ran.append((job.model.path, job.passes))
        return [event(difference=0.25 if len(ran) == 2 else 0.0)]

    monkeypatch.setattr(beside, "told", told)
    measuring.measure(ENTRIES, link(), PLAN, store, tmp_path / "photo.jpg")
    assert ran == [("a.onnx", 3), ("b.onnx", 3), ("b.onnx", 3), ("a.onnx", 3)]
    a, b = (store.case(slug).stages for slug in "ab")
    assert a is not None and b is not None
    assert [len(session.total_ns) for session in a.sessions] == [3, 3]
    assert a.finish
    assert a.difference == 0.0
    assert (b.difference, b.repeats) == (0.25, 0.025)  # of any session


def test_a_device_without_a_program_for_all_stages_has_none(
    store: stores.Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(beside, "told", lambda *_: pytest.fail("measured on this machine"))
    measuring.measure(ENTRIES, link("adb"), PLAN, store, tmp_path / "photo.jpg")
    for slug in "ab":
        found = store.case(slug).stages
        assert found is not None and not found.sessions
        assert "A phone" in found.unavailable


@pytest.mark.parametrize("how", ["fails", "prints nonsense"])
def test_a_pipeline_that_fails_leaves_the_latency_and_the_others(
    store: stores.Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    def told(module: str, job: Any, limit_s: float) -> list[dict[str, Any]]:
        if job.model.path == "b.onnx":
            return [event()]
        if how == "fails":
            raise EngineError("It broke.", "Mend it.")
        return [{**event(), "stages": {"inference": [99, 99, 99]}}]

    monkeypatch.setattr(beside, "told", told)
    measuring.measure(ENTRIES, link(), PLAN, store, tmp_path / "photo.jpg")
    a, b = store.case("a"), store.case("b")
    assert a.stages is None and a.measurement is not None
    assert [finding.code for finding in a.measurement.findings] == ["pipeline_failed"]
    assert b.stages is not None and len(b.stages.sessions) == 2


def test_a_file_without_an_image_says_so(
    store: stores.Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(beside, "told", lambda *_: pytest.fail("measured"))
    artifact = store.case("a").artifact
    assert isinstance(artifact, Artifact)
    (image,) = artifact.spec.inputs
    taken = (dataclasses.replace(image, shape=(1, 7), layout=""),)
    spec = dataclasses.replace(artifact.spec, own_inputs=taken)
    store.update("a", artifact=dataclasses.replace(artifact, spec=spec))
    measuring.measure(ENTRIES[:1], link(), PLAN, store, tmp_path / "photo.jpg")
    found = store.case("a").stages
    assert found is not None and found.unavailable == "the file takes no image"
