"""LiteRT in the native runner: the same as on this machine in Python."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvdeploy import engines
from mvdeploy.engines import SessionRequest
from mvdeploy.engines.litert import profile
from mvdeploy.records import Job, JobModel, Warmup
from mvdeploy.records.codec import dumps
from mvdeploy.records.job import parse_events
from tests.engines.litert_programs import NETWORKS, Program, program
from tests.runners.native_kit import (
    NativeRunner,
    aarch64_kit,
    arm64_native,
    failure,
    host_kit,
    native,
    sha256,
    with_model,
)

__all__ = ["aarch64_kit", "arm64_native", "host_kit", "native", "program"]

ENGINE: Any = engines.get("litert")
pytestmark = pytest.mark.slow

MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(program: Callable[[str], Program], tmp_path: Path) -> MakeJob:
    """Return a function that makes a job of small programs."""

    def make(*names: str, profiled: bool = False, **fields: Any) -> Job:
        models = []
        for number, name in enumerate(names):
            made = program(name)
            inputs = {}
            for key, tensor in made.inputs.items():
                inputs[key] = str(tmp_path / f"{name}-{key}.npy")
                np.save(inputs[key], tensor)
            folder = str(tmp_path / f"profile{number}") if profiled else None
            path = str(made.path)
            models.append(JobModel("litert", path, sha256(path), inputs, folder))
        job = Job(tuple(models), tuple(range(len(names))) * 2, 1, Warmup(iterations=1))
        return dataclasses.replace(job, **fields)

    return make


def outputs_of(runner: NativeRunner, job: Job, folder: Path) -> tuple[Any, list[dict[str, Any]]]:
    """Do a job, and return what came of it and the outputs of each model."""
    body = json.loads(dumps(job))
    for number, model in enumerate(body["models"]):
        model["outputs_to"] = str(folder / f"outputs{number}")
    ended = runner.run(json.dumps(body))
    result = parse_events(ended.lines, job)
    events = ended.of("output")
    return result, [{n: np.load(path) for n, path in e["files"].items()} for e in events]


def here(made: Program, threads: int = 1, **options: str) -> dict[str, Any]:
    request = SessionRequest(made.path, made.inputs, threads, options=options)
    session = ENGINE.open_session(request)
    session.infer()
    return dict(session.outputs())


@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_are_those_of_python(native, make_job, program, tmp_path, threads):
    job = make_job(*NETWORKS, threads=threads)
    result, outputs = outputs_of(native, job, tmp_path)
    assert result.hello["engines"] == {"litert": ENGINE.version()}
    assert result.hello["engine_options"] == {"litert": ENGINE.options(threads)}
    for name, tensors in zip(NETWORKS, outputs, strict=True):
        expected = here(program(name), threads)
        assert set(tensors) == set(expected)
        for output, tensor in expected.items():
            # The same library with the same settings.
            np.testing.assert_array_equal(tensors[output], tensor)


@pytest.mark.parametrize(
    ("option", "value"), [("kernel_mode", "builtin"), ("force_fp16", "on"), ("force_fp16", "off")]
)
def test_options_are_set(native, make_job, program, tmp_path, option, value):
    job = with_model(make_job("small", profiled=True), options={option: value})
    result, (tensors,) = outputs_of(native, job, tmp_path)
    assert result.hello["engine_options"]["litert"][option] == value
    np.testing.assert_array_equal(
        tensors["logits"], here(program("small"), **{option: value})["logits"]
    )
    ran = profile.read(Path(result.models[0].profile))[-1]
    assert {event.delegated for event in ran} == {value != "builtin"}
    assert any("F16)" in event.name for event in ran) is (value == "on")


def test_profiles_are_those_of_python(native, make_job, program, tmp_path):
    job = make_job("small", "cut", profiled=True)
    result = parse_events(native.run(job).lines, job)
    for name, model in zip(("small", "cut"), result.models, strict=True):
        made = program(name)
        times = ENGINE.read_profile(made.artifact, Path(model.profile), 2)
        request = SessionRequest(made.path, made.inputs, profile_to=tmp_path)
        session = ENGINE.open_session(request)
        session.infer()
        known = ENGINE.read_profile(made.artifact, session.end_profile(), 1)
        told = [(event.name, event.type, event.modules) for event in times.events]
        assert told == [(event.name, event.type, event.modules) for event in known.events]
        assert all(len(event.samples_ns) == 2 for event in times.events)


def test_an_arm64_processor_computes_the_same(arm64_native, make_job, program, tmp_path):
    job = make_job(*NETWORKS, profiled=True)
    result, outputs = outputs_of(arm64_native, job, tmp_path)
    assert result.hello["architecture"] == "aarch64"
    for name, tensors, model in zip(NETWORKS, outputs, result.models, strict=True):
        made = program(name)
        for output, tensor in here(made).items():
            np.testing.assert_allclose(tensors[output], tensor, atol=1e-5, rtol=0)
        times = ENGINE.read_profile(made.artifact, Path(model.profile), 2)
        assert all(event.modules for event in times.events)
        assert {finding.code for finding in times.findings} <= {"coarse_times"}


def test_halves_are_computed_on_arm64(arm64_native, make_job, program, tmp_path):
    job = with_model(make_job("small", profiled=True), options={"force_fp16": "on"})
    result, (tensors,) = outputs_of(arm64_native, job, tmp_path)
    difference = np.abs(tensors["logits"] - here(program("small"))["logits"]).max()
    assert 1e-6 < difference < 1e-2
    names = {event.name for event in profile.read(Path(result.models[0].profile))[-1]}
    assert any("F16)" in name for name in names)


@pytest.mark.parametrize("name", ["kernel_mode", "force_fp16", "spinning"])
def test_a_value_that_an_option_does_not_have_is_refused(native, make_job, name):
    error = failure(native.run(with_model(make_job("small"), options={name: "maybe"})))
    assert error["kind"] == "load"
    assert f"'{name}'" in error["message"]


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "flipped"])
def test_a_damaged_file_is_refused(native, make_job, program, tmp_path, damage):
    data = program("small").path.read_bytes()
    flipped = bytearray(data)
    flipped[0] ^= 255
    kinds = {"truncated": data[: len(data) // 2], "text": b"no program", "empty": b""}
    path = tmp_path / "damaged"
    path.write_bytes(kinds.get(damage, bytes(flipped)))
    job = with_model(make_job("small"), path=str(path), sha256=sha256(path))
    error = failure(native.run(job))
    assert error["kind"] == "load"
    assert f"litert could not load {path} (it is " in error["message"]


def test_inputs_that_do_not_fit_are_refused(native, make_job, program, tmp_path):
    job = make_job("whole")
    first = job.models[0]
    unfit = {
        "the input 'n' is int64, and the program takes int32": np.arange(4),
        "the input 'n' is of another shape than the program takes": np.zeros((4, 1), np.int32),
    }
    for number, (said, tensor) in enumerate(unfit.items()):
        np.save(tmp_path / f"{number}.npy", tensor)
        inputs = {**first.inputs, "n": str(tmp_path / f"{number}.npy")}
        error = failure(native.run(with_model(job, inputs=inputs)))
        assert said in error["message"] and "manifest" in error["remedy"]
    named = {"x": first.inputs["x"], "m": first.inputs["n"]}
    missing = failure(native.run(with_model(job, inputs=named)))
    assert "the program takes 'n', and it was not given" in missing["message"]
    fewer = failure(native.run(with_model(job, inputs={"x": first.inputs["x"]})))
    assert "the program takes 2 inputs, and 1 were given" in fewer["message"]


def test_a_profile_that_cannot_be_written_is_told(native, make_job, tmp_path):
    job = make_job("small", profiled=True)
    (tmp_path / "profile0" / "litert.json").mkdir(parents=True)
    (tmp_path / "profile0" / "litert.json" / "in the way").touch()
    error = failure(native.run(job))
    assert error["kind"] == "run" and "litert.json: " in error["message"]
    assert not (tmp_path / "profile0" / "litert.json.part").exists()
