from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import mvdeploy
from mvdeploy import engines, kits
from mvdeploy.records import Job, JobModel, Warmup
from mvdeploy.records.codec import dumps
from mvdeploy.records.job import parse_events
from tests import others
from tests.runners.native_kit import (
    aarch64_kit,
    arm64_native,
    asking,
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

    def make(*names, profiled=False, order=None, **fields):
        models = []
        for index, name in enumerate(names):
            export = exported(name)
            inputs = {export.artifact.inputs[0].name: str(tmp_path / "image.npy")}
            folder = str(tmp_path / f"profile{index}") if profiled else None
            path = str(export.path)
            models.append(JobModel(ENGINES[name], path, sha256(path), inputs, folder))
        order = tuple(range(len(names))) * 3 if order is None else order
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


def keeping_outputs(job, folder):
    """The text of the job, with a folder for the outputs of each model."""
    body = json.loads(dumps(job))
    for index, model in enumerate(body["models"]):
        model["outputs_to"] = str(folder / str(index))
    return json.dumps(body)


def saved(output):
    """The tensors that an output event tells of, in the order of their names."""
    assert [*output["files"]] == [*output["shape"]] == sorted(output["files"])
    tensors = [np.load(path) for path in output["files"].values()]
    assert [list(tensor.shape) for tensor in tensors] == [*output["shape"].values()]
    return tensors


DTYPES = (
    *("bool", "uint8", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
)


@pytest.fixture(scope="module")
def many_outputs(tmp_path_factory):
    """A job of a program for ExecuTorch with inputs and outputs of every kind; what comes out."""
    import torch

    class Many(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("constant", torch.arange(3.0))

        def forward(self, *inputs):
            image = inputs[-1]
            outputs = [torch.cat([x, x]) for x in inputs[:-1]]
            channels_last = torch.relu(image.to(memory_format=torch.channels_last))
            return *outputs, image, outputs[-1], image.sum(), self.constant, channels_last

    tensors = [(np.arange(6).reshape(2, 3) - 2).astype(name) for name in DTYPES]
    tensors.append(np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4) - 3)
    arguments = tuple(map(torch.from_numpy, tensors))
    network = Many().eval()
    job = executorch_job(network, arguments, tmp_path_factory.mktemp("many"))
    return job, [np.asarray(tensor) for tensor in network(*arguments)]


def executorch_job(network, arguments, folder):
    """A job of a network that is not delegated to a backend."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.exir import to_edge

        program = to_edge(torch.export.export(network, arguments)).to_executorch()
    path = folder / "network.pte"
    path.write_bytes(program.buffer)
    inputs = {f"x{index}": str(folder / f"{index}.npy") for index in range(len(arguments))}
    for file, tensor in zip(inputs.values(), arguments, strict=True):
        np.save(file, np.ascontiguousarray(tensor))
    entry = JobModel("executorch", str(path), sha256(path), inputs)
    return Job((entry,), (0,), 1, Warmup(iterations=1))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_are_those_of_the_python_runner(native, make_real, many_outputs, tmp_path, threads):
    job = make_real("onnx", "executorch", "onnx", threads=threads)
    job = dataclasses.replace(
        job, models=(*job.models, *many_outputs[0].models), order=(0, 1, 2, 3)
    )
    ended = native.run(keeping_outputs(job, tmp_path))
    result, expected = parse_events(ended.lines, job), python_runner(job)
    # The engines are the same libraries with the same settings.
    assert [m.output_sha256 for m in result.models] == [m.output_sha256 for m in expected.models]
    for key in ("engines", "engine_options"):
        assert result.hello[key] == expected.hello[key]
    outputs = ended.of("output")
    assert all(event["finite"] for event in outputs)
    for event, model in zip(outputs, expected.models, strict=True):
        bytes_ = b"".join(tensor.tobytes() for tensor in saved(event))
        assert hashlib.sha256(bytes_).hexdigest() == model.output_sha256


@pytest.mark.slow
def test_weights_in_whole_numbers_that_are_shared_are_loaded(native, tmp_path):
    path = tmp_path / "net.onnx"
    (feed,) = others.quantised(path).values()
    np.save(tmp_path / "x.npy", feed)
    inputs = {"x": str(tmp_path / "x.npy")}
    entry = JobModel("onnxruntime", str(path), sha256(path), inputs)
    job = Job((entry,), (0,), 1, Warmup(iterations=1))
    result, expected = parse_events(native.run(job).lines, job), python_runner(job)
    assert result.models[0].output_sha256 == expected.models[0].output_sha256


@pytest.mark.slow
def test_executorch_names_outputs_as_the_job_does(native, many_outputs, tmp_path):
    job, expected = many_outputs
    names = [f"{chr(ord('z') - i)}/output" for i in range(len(expected))]
    ended = native.run(asking(job, outputs=names, outputs_to=str(tmp_path)))
    (output,) = ended.of("output")
    tensors = dict(zip(output["files"], saved(output), strict=True))
    assert [*tensors] == names[::-1]
    for name, tensor in zip(names, expected, strict=True):
        assert tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(tensors[name], tensor)
    (unnamed,) = native.run(job).of("output")
    assert {*unnamed["shape"]} == {f"output_{i}" for i in range(len(expected))}


@pytest.mark.slow
def test_another_number_of_names_than_of_outputs_is_refused(native, many_outputs):
    job, expected = many_outputs
    for names in (["one"], [f"name{i}" for i in range(len(expected) + 1)]):
        error = failure(native.run(asking(job, outputs=names)))
        assert error["kind"] == "load"
        counts = f"the program has {len(expected)} outputs, not the {len(names)} that the job names"
        assert counts in error["message"]
        assert "manifest" in error["remedy"]


@pytest.mark.slow
def test_onnx_runtime_names_its_own_outputs(native, make_real):
    job = make_real("onnx")
    (output,) = native.run(asking(job, outputs=["other", "names"])).of("output")
    assert output["shape"] == native.run(job).of("output")[0]["shape"]


@pytest.mark.slow
def test_an_input_that_executorch_takes_in_channels_last_is_refused(native, tmp_path):
    import torch

    image = torch.zeros(1, 2, 3, 4).to(memory_format=torch.channels_last)
    error = failure(native.run(executorch_job(torch.nn.ReLU(), (image,), tmp_path)))
    assert error["kind"] == "load"
    assert "another order of dimensions" in error["message"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_an_option_that_the_engine_does_not_have_is_refused(native, make_real, name):
    job = with_model(make_real(name), options={"spinning": "off"})
    error = failure(native.run(job))
    assert error["kind"] == "load"
    assert f"{ENGINES[name]} has no option 'spinning'" in error["message"]


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
    ended = arm64_native.run(keeping_outputs(job, tmp_path / "there"))
    result = parse_events(ended.lines, job)
    assert result.hello["architecture"] == "aarch64"
    assert result.hello["build"] == "glibc"
    check_profiles(exported, result, runs=1)
    here = native.run(keeping_outputs(make_real(*FORMATS), tmp_path / "here")).of("output")
    for left, right in zip(ended.of("output"), here, strict=True):
        (there,), (known,) = saved(left), saved(right)
        assert largest_difference(there, known) < 1e-5


WHOLE = ("int8", "int8-dynamic", "int8-fast")


@pytest.fixture(scope="module", params=FORMATS)
def whole(request, tmp_path_factory):
    """The yardstick in whole numbers, by precision, and what it computes in float."""
    from mvdeploy import formats, models
    from mvdeploy.pipeline.export import Builder

    format_name, folder = request.param, tmp_path_factory.mktemp(request.param)
    builder = Builder(models.make_spec("yardstick"))
    found = {}
    for precision in WHOLE:
        path = folder / f"{precision}{formats.suffix(format_name)}"
        found[precision] = builder.export(format_name, path, formats.Options(precision))
    return format_name, found, builder.network


@pytest.mark.slow
def test_an_arm64_processor_computes_the_same_in_whole_numbers(arm64_native, whole, tmp_path):
    import torch

    from mvdeploy.verify import running

    format_name, exported, network = whole
    image = np.random.default_rng(7).random((1, 3, 56, 56), dtype=np.float32)
    np.save(tmp_path / "image.npy", image)
    models = []
    for done in exported.values():
        inputs = {done.artifact.inputs[0].name: str(tmp_path / "image.npy")}
        models.append(JobModel(ENGINES[format_name], str(done.path), sha256(done.path), inputs))
    job = Job(tuple(models), (0, 1, 2), 1, Warmup(iterations=0))
    ended = arm64_native.run(keeping_outputs(job, tmp_path / "there"))
    result = parse_events(ended.lines, job)
    exact = network(torch.from_numpy(image)).detach().numpy()
    for ran, done in zip(result.models, exported.values(), strict=True):
        there = np.load(next(iter(ran.output_files.values())))
        feed = {"one": {done.artifact.inputs[0].name: image}}
        here = running.run_artifact(done.artifact, done.path, feed, ENGINES[format_name])
        here = next(iter(here["one"].values()))
        # Numbers halfway between two whole ones are rounded one way or the other.
        assert np.linalg.norm(there - here) <= 0.5 * np.linalg.norm(here - exact), done.path.name


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


def test_engines_to_build_must_be_named(tmp_path):
    words = ["cmake", "-S", kits.code(), "-B", tmp_path]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "MVDEPLOY_ENGINES" in done.stderr


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
