"""Whole jobs in a real browser, with the engines as npm has them."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from mvdeploy import devices, links
from mvdeploy.kits import web
from mvdeploy.links import RunnerFailed
from mvdeploy.links.browsing import doing
from mvdeploy.records import JobModel
from tests.conftest import Export, MakeExport
from tests.links.browsers import Browsers, browsers
from tests.web_engines import ENGINES, web_engines

__all__ = ["browsers", "web_engines"]

FORMATS = {"onnxruntime-web": ("onnx", "onnxruntime"), "litert-web": ("litert", "litert")}


@pytest.fixture(scope="module")
def nets(exported: MakeExport) -> dict[str, Export]:
    """A network for each engine; exporters leave files in the temporary folder of a test."""
    return {engine: exported(name) for engine, (name, _) in FORMATS.items()}


def model_of(browsers: Browsers, engine: str, made: Export) -> JobModel:
    rng = np.random.default_rng(0)
    inputs = {
        tensor.name: rng.random(tensor.shape, dtype=np.float32) for tensor in made.artifact.inputs
    }
    names = tuple(tensor.name for tensor in made.artifact.outputs)
    return browsers.model(engine, made.path, inputs, outputs=names)


def outputs_of(files: dict[str, str]) -> dict[str, np.ndarray]:
    return {name: np.load(path) for name, path in files.items()}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_job_computes_what_the_native_engine_does(
    nets: dict[str, Export], browsers: Browsers, engine: str, threads: int
) -> None:
    (_, native), made = FORMATS[engine], nets[engine]
    model = model_of(browsers, engine, made)
    cores = sorted(os.sched_getaffinity(0))[:threads] if hasattr(os, "sched_getaffinity") else ()
    job = browsers.job(model, model, order=(0, 1, 1, 0), threads=threads, cores=cores)
    result = browsers.run(job)

    kit = web.find(engine)[1]
    assert result.hello["runner"] == "web"
    assert result.hello["engines"] == {engine: kit.version}
    assert result.hello["engine_sha256"] == {engine: kit.sha256}
    assert result.hello["engine_options"][engine]["num_threads"] == threads
    assert result.hello["clock"]["wall"]["resolution_s"] <= 5.5e-6
    if cores:
        assert result.hello["cores"] == list(cores)
    assert len(result.samples) == 4 and min(result.samples.wall_ns) > 0
    if threads == 1 and cores:  # the CPU time is that of the thread which calls the engine
        assert min(result.samples.cpu_ns) > 0
    assert result.peak_memory >= max(m.memory_after for m in result.models) > 10_000_000
    assert browsers.events[0]["event"] == "hello"

    with links.get(devices.get("host")) as host:
        job = dataclasses.replace(job, models=(dataclasses.replace(model, engine=native),))
        job = dataclasses.replace(job, order=(0,))
        wanted = outputs_of(host.run(job, 120).models[0].output_files)
    for told in result.models:
        assert told.finite
        found = outputs_of(told.output_files)
        assert set(found) == set(wanted) == {tensor.name for tensor in made.artifact.outputs}
        for tensor in made.artifact.outputs:
            assert found[tensor.name].dtype == wanted[tensor.name].dtype == np.dtype(tensor.dtype)
            assert found[tensor.name].shape == tuple(tensor.shape)
            assert told.output_shapes[tensor.name] == tuple(tensor.shape)
            scale = np.abs(wanted[tensor.name]).max()
            assert np.abs(found[tensor.name] - wanted[tensor.name]).max() < 1e-4 * scale
    first, second = result.models
    assert first.output_sha256 == second.output_sha256


def test_both_engines_are_in_one_job(nets: dict[str, Export], browsers: Browsers) -> None:
    models = [model_of(browsers, engine, nets[engine]) for engine in ENGINES]
    result = browsers.run(browsers.job(*models, order=(0, 1, 0, 1)))
    assert set(result.hello["engines"]) == set(ENGINES)
    assert len(result.samples_of(0)) == len(result.samples_of(1)) == 2


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kept", [0, 100, 0.9])
def test_a_damaged_model(
    nets: dict[str, Export], browsers: Browsers, tmp_path: Path, engine: str, kept: float
) -> None:
    made = nets[engine]
    content = made.path.read_bytes()
    path = tmp_path / f"damaged{made.path.suffix}"
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    model = model_of(browsers, engine, dataclasses.replace(made, path=path))
    with pytest.raises(RunnerFailed) as caught:
        browsers.run(browsers.job(model), limit_s=60)
    error = caught.value
    assert error.exit_code == 4 and re.fullmatch(r"\S[^\n]*\.", error.message)
    assert error.message.startswith((f"{engine} could not load {path} (", "The page crashed while"))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_input_of_another_shape(
    nets: dict[str, Export], browsers: Browsers, engine: str
) -> None:
    model = model_of(browsers, engine, nets[engine])
    for path in model.inputs.values():
        np.save(path, np.ones((1, 3, 5, 5), np.float32))
    with pytest.raises(RunnerFailed, match=f"{engine} failed in the first inference of ") as caught:
        browsers.run(browsers.job(model), limit_s=60)
    assert re.fullmatch(r"\S[^\n]*\.", caught.value.message)


@pytest.mark.parametrize("engine", ENGINES)
def test_webassembly_that_is_not_there(
    nets: dict[str, Export], browsers: Browsers, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    model = model_of(browsers, engine, nets[engine])
    original = doing.Doing._site

    def without(self: doing.Doing):
        made = original(self)
        for name in [name for name in made.files if name.endswith(".wasm")]:
            del made.files[name]
        return made

    monkeypatch.setattr(doing.Doing, "_site", without)
    with pytest.raises(RunnerFailed, match=f"{engine} could not be started") as caught:
        browsers.run(browsers.job(model), limit_s=60)
    assert re.fullmatch(r"\S[^\n]*\.", caught.value.message)


def large(path: Path) -> Path:
    """Write a model that makes a tensor of as many numbers as it is told, and adds them up."""
    helper, kind = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("ConstantOfShape", ["x"], ["all"]),
        helper.make_node("ReduceSum", ["all"], ["y"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", kind.INT64, [1])],
        [helper.make_tensor_value_info("y", kind.FLOAT, [])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


def test_a_tensor_larger_than_webassembly(browsers: Browsers, tmp_path: Path) -> None:
    path = large(tmp_path / "large.onnx")
    small = browsers.model("onnxruntime-web", path, {"x": np.array([1000], np.int64)})
    result = browsers.run(browsers.job(small))
    (output,) = outputs_of(result.models[0].output_files).values()
    assert output.shape == () and output == 0
    for size in (1_073_000_000, 1 << 30):  # of four bytes; the latter cannot even be counted
        model = browsers.model("onnxruntime-web", path, {"x": np.array([size], np.int64)})
        with pytest.raises(RunnerFailed, match="memory ran out") as caught:
            browsers.run(browsers.job(model), limit_s=60)
        assert "WebAssembly has 4 GB at most" in caught.value.remedy
