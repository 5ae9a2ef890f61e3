from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mvdeploy
from mvdeploy import engines, kits
from mvdeploy.records import Job, JobModel, Warmup
from mvdeploy.records.codec import dumps
from mvdeploy.records.job import parse_events
from tests.runners.native_kit import (
    aarch64_kit,
    arm64_native,
    failure,
    host_kit,
    native,
    sha256,
    with_model,
)

__all__ = ["aarch64_kit", "arm64_native", "host_kit", "native"]

ENGINES = {"onnx": "onnxruntime", "executorch": "executorch"}
FORMATS = tuple(ENGINES)


# Real engines and real networks.


@pytest.fixture
def make_real(exported, tmp_path):
    """Return a function that makes a job of exported networks."""
    image = np.random.default_rng(7).standard_normal((1, 3, 96, 96)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)

    def make(*formats, profiled=False, order=None, **fields):
        models = []
        for index, name in enumerate(formats):
            export = exported(name)
            inputs = {export.artifact.inputs[0].name: str(tmp_path / "image.npy")}
            folder = str(tmp_path / f"profile{index}") if profiled else None
            path = str(export.path)
            models.append(JobModel(ENGINES[name], path, sha256(path), inputs, folder))
        order = tuple(range(len(formats))) * 3 if order is None else order
        job = Job(tuple(models), order, 1, Warmup(iterations=1))
        return dataclasses.replace(job, **fields)

    return make


def python_runner(job):
    done = subprocess.run(
        [sys.executable, "-m", "mvdeploy.runners.host"],
        input=dumps(job).encode(),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(mvdeploy.__file__).parents[1])},
        check=True,
    )
    return parse_events(done.stdout.decode().splitlines(), job)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_are_those_of_the_python_runner(native, make_real, threads):
    job = make_real("onnx", "executorch", "onnx", threads=threads)
    ended = native.run(job)
    result, expected = parse_events(ended.lines, job), python_runner(job)
    # The engines are the same libraries with the same settings.
    assert [m.output_sha256 for m in result.models] == [m.output_sha256 for m in expected.models]
    for key in ("engines", "engine_options"):
        assert result.hello[key] == expected.hello[key]
    assert all(event["finite"] for event in ended.of("output"))


def check_profiles(exported, result, runs):
    for name, model in zip(FORMATS, result.models, strict=True):
        engine = engines.get(ENGINES[name])
        times = engine.read_profile(exported(name).artifact, Path(model.profile), runs)
        placed = sum(sum(e.samples_ns) for e in times.events if e.modules)
        assert placed >= 0.95 * sum(sum(e.samples_ns) for e in times.events) > 0


@pytest.mark.slow
def test_profiles_are_placed_in_the_network(native, make_real, exported):
    job = make_real(*FORMATS, profiled=True, order=(0, 1, 1, 0))
    check_profiles(exported, parse_events(native.run(job).lines, job), runs=2)


def largest_difference(a, b):
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))


@pytest.mark.slow
def test_an_arm64_processor_computes_the_same(native, arm64_native, make_real, exported, tmp_path):
    job = make_real(*FORMATS, profiled=True, order=(0, 1))
    ended = arm64_native.run(job, "--outputs", tmp_path / "there")
    result = parse_events(ended.lines, job)
    assert result.hello["architecture"] == "aarch64"
    assert result.hello["build"] == "glibc"
    check_profiles(exported, result, runs=1)
    assert native.run(make_real(*FORMATS), "--outputs", tmp_path / "here").status == 0
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert len(names) == len(FORMATS)
    for name in names:
        here, there = (np.load(tmp_path / place / name) for place in ("here", "there"))
        assert largest_difference(there, here) < 1e-5


@pytest.mark.slow
def test_the_arm64_kit_has_its_engines(arm64_native, aarch64_kit):
    (hello,) = arm64_native.run(b"", "--hello").events
    assert hello["architecture"] == "aarch64"
    events = arm64_native.run(b"", "--engines").events
    assert {e["engine"]: e.get("version") for e in events} == kits.load(aarch64_kit).engines


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_a_damaged_model_is_an_error_event(native, make_real, exported, tmp_path, name, damage):
    whole = exported(name).path.read_bytes()
    path = tmp_path / "damaged"
    kinds = {"truncated": whole[: len(whole) // 2], "text": b"no model at all", "empty": b""}
    path.write_bytes(kinds[damage])
    job = with_model(make_real(name), path=str(path), sha256=sha256(path))
    error = failure(native.run(job))
    assert error["kind"] == "load"
    assert f"{ENGINES[name]} could not load {path} (" in error["message"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("what", ["shape", "rank", "type", "none", "more"])
def test_inputs_that_do_not_fit_are_an_error_event(native, make_real, tmp_path, name, what):
    job = make_real(name)
    tensors = {
        "shape": np.zeros((1, 3, 64, 96), np.float32),
        "rank": np.zeros((3, 96, 96), np.float32),
        "type": np.zeros((1, 3, 96, 96), np.float64),
    }
    (given_name,) = job.models[0].inputs
    inputs = dict(job.models[0].inputs)
    if what in tensors:
        np.save(tmp_path / "other.npy", tensors[what])
        inputs[given_name] = str(tmp_path / "other.npy")
    elif what == "none":
        inputs = {}
    else:
        inputs["one_more"] = inputs[given_name]
    error = failure(native.run(with_model(job, inputs=inputs)))
    assert error["kind"] in ("load", "run")
    assert "(" in error["message"]


@pytest.mark.slow
def test_the_same_model_may_be_loaded_twice_and_by_two_threads(native, make_real):
    job = make_real("executorch", "executorch", threads=2)
    result = parse_events(native.run(job).lines, job)
    assert result.models[0].output_sha256 == result.models[1].output_sha256


# Its code.


def configure(folder, *flags):
    package = importlib.metadata.distribution("executorch").locate_file("executorch")
    words = ["cmake", "-S", kits.code(), "-B", folder, f"-DEXECUTORCH_DIR={package}", *flags]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["host", "aarch64"])
def test_it_compiles_without_a_warning(host_kit, tmp_path, target):
    flags = ["-DMVDEPLOY_WARNINGS_ARE_ERRORS=ON"]
    if target == "aarch64":
        flags.append(f"-DCMAKE_TOOLCHAIN_FILE={kits.code() / 'aarch64-linux-gnu.cmake'}")
        # Libraries of another processor are not linked: this is about the code.
        flags.append("-DMVDEPLOY_ENGINES=onnxruntime")
    assert configure(tmp_path, *flags).returncode == 0
    build = ["cmake", "--build", str(tmp_path)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout + done.stderr


def places():
    text = (kits.code() / "engines" / "onnxruntime_abi.h").read_text()
    return {name: int(place) for place, name in re.findall(r"X\((\d+), (\w+),", text)}


def write_header(folder, moved=""):
    """A header of the engine, as far as it is looked at; one function may be at another place."""
    names = {place + (name == moved): name for name, place in places().items()}
    members = (f"void (*{names.get(i, f'other{i}')})(void);" for i in range(300))
    folder.mkdir()
    (folder / "onnxruntime_c_api.h").write_text(
        "#include <stddef.h>\n#define ORT_API_VERSION 23\n"
        "enum { ORT_LOGGING_LEVEL_ERROR = 3, ORT_SEQUENTIAL = 0, ORT_ENABLE_ALL = 99,\n"
        "  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,\n"
        "  ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX128 = 15 };\n"
        "typedef struct OrtApiBase { void *GetApi, *GetVersionString; } OrtApiBase;\n"
        f"typedef struct OrtApi {{ {' '.join(members)} }} OrtApi;\n"
    )
    return folder


@pytest.mark.parametrize("moved", ["", "EnableProfiling", "GetBoundOutputValues"])
def test_a_header_of_the_engine_is_held_against_what_is_taken_for_granted(
    host_kit, tmp_path, moved
):
    assert len(places()) > 30
    header = write_header(tmp_path / "include", moved)
    check = kits.code() / "engines" / "onnxruntime_check.c"
    words = ["gcc", "-std=c11", "-fsyntax-only", f"-I{header}", check]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is (moved == ""), done.stderr
    assert moved == "" or f"{moved} is at another place" in done.stderr
