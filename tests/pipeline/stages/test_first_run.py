"""Starts of processes: of real engines on this machine, and what is said where there are none."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from mvdeploy import devices, files
from mvdeploy.errors import DeviceUnavailable, EngineError
from mvdeploy.links.families import host
from mvdeploy.pipeline import store as stores
from mvdeploy.pipeline.stages import beside, first_run
from mvdeploy.records import Finding, JobModel, JobResult, Level, ModelResult, Plan, Samples
from mvdeploy.timing.case import Entry
from tests.saved_runs import case, device

PLAN = Plan()


@pytest.fixture
def store(tmp_path: Path) -> stores.Store:
    cases = [case(slug, slug, number, 5.0, (2, 2, 2)) for number, slug in enumerate("ab", 1)]
    created = stores.create(
        tmp_path, "t", cases, device=device(), plan=PLAN, command=(), image="photo.jpg"
    )
    for one in cases:
        created.update(one.slug, measurement=one.measurement, artifact=one.artifact)
    return created


def entry(slug: str) -> Entry:
    return Entry(slug, JobModel("onnxruntime", f"/nowhere/{slug}.onnx", "", {}))


def link(kind: str = "host") -> host.HostLink:
    return host.connect(dataclasses.replace(devices.get("host", ()), link=kind, title="A phone"))


def event(*, cold: bool, **changes: Any) -> dict[str, Any]:
    usual = {
        "event": "start",
        "cold": cold,
        "resident": 0.0 if cold else 1.0,
        "import_ns": 100,
        "load_ns": 80 if cold else 50,
        "inferences_ns": [20, 10],
        "reason": "",
    }
    return {**usual, **changes}


def test_kinds_take_turns_and_a_real_file_leaves_the_cache(
    exported, store: stores.Store, tmp_path: Path
) -> None:
    made = exported(size="64", patches="2,2,2")
    for suffix in ("", ".json"):
        shutil.copy(f"{made.path}{suffix}", tmp_path / f"net.onnx{suffix}")
    path = tmp_path / "net.onnx"
    import numpy as np

    (taken,) = made.artifact.inputs
    np.save(tmp_path / "input.npy", np.zeros(taken.shape, np.float32))
    model = JobModel(
        "onnxruntime", str(path), files.sha256(path), {taken.name: str(tmp_path / "input.npy")}
    )
    store.update("a", artifact=made.artifact)
    first_run.measure([Entry("a", model)], link(), PLAN, store, 2)
    found = store.case("a").first_run
    assert found is not None
    assert found.size_bytes == path.stat().st_size
    if found.no_cold:  # where the tests' folder lies in memory
        assert "stay in the system's cache" in found.no_cold
        assert [start.cold for start in found.starts] == [False, False]
    else:
        assert [start.cold for start in found.starts] == [True, False, False, True]
    for start in found.starts:
        assert start.resident == (0.0 if start.cold else 1.0)
        assert (start.import_ns or 0) > 0
        assert start.load_ns > 0
        assert len(start.inferences_ns) == 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resident": 0.4}, "40 % of its files stay"),
        ({"resident": None}, "does not tell"),
        ({"reason": "Read-only file system"}, "cannot be dropped from the system's cache (Read-"),
    ],
)
def test_a_start_that_is_not_cold_does_not_count_as_one(
    store: stores.Store, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    asked = []

    def told(module: str, job: Any, limit_s: float) -> list[dict[str, Any]]:
        asked.append(job.cold)
        # The first cold start of all is one; what is said of later ones holds for all.
        broken = changes if job.cold and asked.count(True) > 1 else {}
        return [event(cold=job.cold, **broken)]

    monkeypatch.setattr(beside, "told", told)
    first_run.measure([entry("a")], link(), PLAN, store, 3)
    found = store.case("a").first_run
    assert found is not None
    assert said in found.no_cold
    assert [start.cold for start in found.starts] == [False] * 3
    assert asked.count(True) == 2


def test_a_case_that_fails_leaves_its_latency_and_the_others(
    store: stores.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(module: str, job: Any, limit_s: float) -> list[dict[str, Any]]:
        if job.model.path.endswith("a.onnx"):
            raise EngineError("It broke.", "Mend it.")
        return [event(cold=job.cold)]

    monkeypatch.setattr(beside, "told", told)
    first_run.measure([entry("a"), entry("b")], link(), PLAN, store, 2)
    a, b = store.case("a"), store.case("b")
    assert a.first_run is None and a.measurement is not None
    assert a.measurement.findings == (
        Finding("first_run_failed", Level.WARNING, {"reason": "It broke"}),
    )
    assert b.first_run is not None and len(b.first_run.starts) == 4


def ran() -> JobResult:
    result = ModelResult(70, Samples((30,), (30,)), Samples((11, 10), (11, 10)), 1, 2, "", None)
    return JobResult({}, (result,), (), Samples(), 3)


def test_a_device_is_started_by_its_own_program_with_the_file_in_the_cache(
    store: stores.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = link("adb")
    jobs = []
    monkeypatch.setattr(beside, "told", lambda *_: pytest.fail("started on this machine"))
    monkeypatch.setattr(far, "run", lambda job, limit_s: jobs.append(job) or ran())
    first_run.measure([entry("a")], far, PLAN, store, 3)
    found = store.case("a").first_run
    assert found is not None
    assert "A phone reads the whole file for its checksum" in found.no_cold
    assert [(s.load_ns, s.inferences_ns, s.import_ns) for s in found.starts] == [
        (70, (30, 11, 10), None)
    ] * 3
    assert [job.warmup.iterations for job in jobs] == [4] * 3


def test_a_device_that_goes_is_told_of(
    store: stores.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(job: Any, limit_s: float) -> JobResult:
        raise DeviceUnavailable("It is gone.", "Plug it in.")

    far = link("adb")
    monkeypatch.setattr(far, "run", gone)
    with pytest.raises(DeviceUnavailable):
        first_run.measure([entry("a")], far, PLAN, store, 3)


def test_all_files_of_a_model_are_meant(store: stores.Store, tmp_path: Path) -> None:
    artifact = store.case("a").artifact
    assert artifact is not None
    (tmp_path / "net.onnx").touch()
    (tmp_path / "weights.bin").touch()
    with_data = dataclasses.replace(artifact, data=("weights.bin",))
    assert first_run.files_of(tmp_path / "net.onnx", with_data) == (
        str(tmp_path / "net.onnx"),
        str(tmp_path / "weights.bin"),
    )
    folder = tmp_path / "net.mlpackage" / "Data"
    folder.mkdir(parents=True)
    (folder / "weight.bin").touch()
    assert first_run.files_of(folder.parent, artifact) == (str(folder / "weight.bin"),)
