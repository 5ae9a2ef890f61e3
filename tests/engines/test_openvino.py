"""OpenVINO on ONNX files: what it computes in, where its times are counted, and how it fails."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from mvdeploy import engines
from mvdeploy.engines import SessionRequest
from mvdeploy.engines import openvino as openvino_engine
from mvdeploy.errors import EngineError, UsageError
from mvdeploy.records import Artifact, OperatorKind, TraceEvent
from tests.warm import ROOT

ENGINE = engines.get("openvino")
RUNS, WARMUP = 4, 2

needs_bfloat16 = pytest.mark.skipif(
    bool(openvino_engine.lacks("bf16", "")), reason="this processor does not compute in bfloat16"
)


def write(path: Path, nodes: list[onnx.NodeProto], outputs: str, **shapes: tuple[int, ...]) -> Path:
    """Write a graph; of a name with a capital letter, a constant."""
    drawn = np.random.default_rng(0)
    of_floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, of_floats, s) for n, s in shapes.items() if n.islower()],
        [helper.make_tensor_value_info(name, of_floats, None) for name in outputs.split()],
        [
            onnx.numpy_helper.from_array(drawn.standard_normal(s, dtype=np.float32), n)
            for n, s in shapes.items()
            if not n.islower()
        ],
    )
    sets = [helper.make_opsetid(name, 18 if not name else 1) for name in ("", "own.domain")]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=10), path)
    return path


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a product with a sigmoid behind it."""
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["y"], "node_matmul"),
        helper.make_node("Sigmoid", ["y"], ["z"], "node_sigmoid"),
    ]
    path = tmp_path_factory.mktemp("product") / "net.onnx"
    return write(path, nodes, "z", x=(2, 64), W=(64, 32))


def feed(seed: int = 0) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).standard_normal((2, 64), dtype=np.float32)}


def run(path: Path, **options: str) -> np.ndarray:
    session = ENGINE.open_session(SessionRequest(path, feed(), options=options))
    session.infer()
    (output,) = session.outputs().values()
    return output


# What it computes in


def exact(path: Path) -> np.ndarray:
    weight = onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    return 1 / (1 + np.exp(-(feed()["x"].astype(np.float64) @ weight)))


def test_single_precision_is_asked_for_and_computed(product: Path) -> None:
    assert np.abs(run(product) - exact(product)).max() < 1e-5


@needs_bfloat16
def test_bfloat16_is_computed_where_it_is_asked_for(product: Path) -> None:
    error = np.abs(run(product, inference_precision_hint="bf16") - exact(product)).max()
    assert 1e-4 < error < 0.1


def test_what_is_computed_otherwise_than_asked_for_is_refused(product: Path) -> None:
    request = SessionRequest(product, feed())
    single = openvino_engine._compiled(request, openvino_engine._read(product))
    openvino_engine._demand_numbers(single, "f32")
    with pytest.raises(EngineError, match="OpenVINO computes in f32 here, where bf16 was asked"):
        openvino_engine._demand_numbers(single, "bf16")


def test_kernels_of_other_numbers_are_refused_whatever_the_engine_says(product: Path) -> None:
    single = openvino_engine._compiled(
        SessionRequest(product, feed()), openvino_engine._read(product)
    )

    class Type:
        def get_type_name(self) -> str:
            return "bf16"

    class Boasting:
        def get_property(self, name: str) -> Type:
            return Type()

        def get_runtime_model(self) -> Any:
            return single.get_runtime_model()

    with pytest.raises(EngineError, match="OpenVINO computes in f32 here, where bf16 was asked"):
        openvino_engine._demand_numbers(Boasting(), "bf16")


@pytest.mark.parametrize(
    ("flags", "bf16", "fp16"),
    [
        ("fpu avx512f amx_bf16", True, False),
        ("fpu avx512_bf16 avx512_fp16", True, True),
        ("fpu avx2 not_avx512_bf16", False, False),
        (None, False, False),
    ],
)
def test_what_the_processor_has_decides(
    monkeypatch: pytest.MonkeyPatch,
    processor: Callable[[str | None], None],
    flags: str | None,
    bf16: bool,
    fp16: bool,
) -> None:
    processor(flags)
    assert bool(ENGINE.lacks("bf16", "x86_64")) is not bf16
    assert bool(ENGINE.emulated("fp16", "x86_64")) is not fp16
    assert ENGINE.lacks("fp16", "x86_64") == ENGINE.emulated("fp32", "x86_64") == ""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert ENGINE.for_precision("fp16") == ({openvino_engine._HINT: "f16"} if fp16 else {})


def test_of_arm_half_precision_is_known() -> None:
    assert ENGINE.lacks("bf16", "aarch64")
    assert not ENGINE.emulated("fp16", "aarch64")


def test_sessions_of_a_precision() -> None:
    assert ENGINE.for_precision("bf16") == {"inference_precision_hint": "bf16"}
    assert ENGINE.for_precision("fp32") == ENGINE.for_precision("int8") == {}


# Options


@pytest.mark.parametrize(
    ("threads", "chosen"), [(1, {}), (2, {"enable_cpu_pinning": "on", "num_streams": 1})]
)
def test_options_are_what_a_program_is_compiled_with(
    product: Path, threads: int, chosen: dict[str, str]
) -> None:
    own = {name: value for name, value in chosen.items() if name != "num_streams"}
    session = ENGINE.open_session(SessionRequest(product, feed(), threads, options=own))
    told = {name: session._compiled.get_property(name.upper()) for name in ENGINE.options(1)}
    wanted = engines.options(ENGINE, threads, own)
    assert told.pop("inference_precision_hint").get_type_name() == "f32"
    assert told.pop("performance_hint") == wanted["performance_hint"]
    assert told.pop("enable_hyper_threading") is False
    assert told.pop("enable_cpu_pinning") is (wanted["enable_cpu_pinning"] == "on")
    assert told == {"inference_num_threads": threads, "num_streams": 1}


def test_an_option_that_there_is_not_is_refused(product: Path) -> None:
    with pytest.raises(UsageError, match="The engine has no option 'spinning'"):
        ENGINE.open_session(SessionRequest(product, feed(), options={"spinning": "on"}))


# What goes in and comes out


def test_outputs_that_are_one_tensor_have_their_names(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["y"], "a"),
        helper.make_node("Identity", ["y"], ["z"], "b"),
    ]
    path = write(tmp_path / "net.onnx", nodes, "z y", x=(2, 64))
    session = ENGINE.open_session(SessionRequest(path, feed(), outputs=("z", "y")))
    session.infer()
    assert list(session.outputs()) == ["z", "y"]
    np.testing.assert_allclose(session.outputs()["y"], feed()["x"] ** 2, rtol=1e-6)


def test_any_number_of_images_can_be_fed(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "W"], ["y"], "a")]
    path = write(tmp_path / "net.onnx", nodes, "y", x=("batch", 64), W=(64, 32))
    session = ENGINE.open_session(SessionRequest(path, feed()))
    for count in (2, 5, 1):
        session.feed({"x": np.ones((count, 64), np.float32)})
        session.infer()
        assert session.outputs()["y"].shape == (count, 32)


def test_inner_tensors_are_those_of_the_file(product: Path) -> None:
    request = SessionRequest(product, feed())
    found = ENGINE.read_tensors(request, ("y", "nowhere", "z"))
    other = engines.get("onnxruntime").read_tensors(request, ("y", "nowhere", "z"))
    assert found.keys() == other.keys() == {"y", "z"}
    for name, tensor in found.items():
        np.testing.assert_allclose(tensor, other[name], rtol=1e-5, atol=1e-5)
    assert ENGINE.read_tensors(request, ("nowhere",)) == {}


# Failures


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        ({"x": np.zeros((2, 63), np.float32)}, r"The input 'x' \(float32, \(2, 63\)\)"),
        ({"x": np.zeros((2, 64), np.float64)}, r"The input 'x' \(float64, \(2, 64\)\)"),
        ({"q": np.zeros((2, 64), np.float32)}, "The input 'q'.*not found"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    product: Path, tensor: dict[str, np.ndarray], said: str
) -> None:
    with pytest.raises(EngineError, match=said) as caught:
        ENGINE.open_session(SessionRequest(product, tensor))
    assert "Exception from" not in caught.value.message


@pytest.mark.parametrize("damage", ["cut off", "text", "empty", "missing"])
def test_a_damaged_file_is_one_sentence(
    product: Path, tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.onnx"
    if damage != "missing":
        whole = product.read_bytes()
        path.write_bytes({"cut off": whole[:3000], "text": b"no program", "empty": b""}[damage])
    with pytest.raises(EngineError, match=r"OpenVINO [\d.]+ cannot load net\.onnx \(") as caught:
        ENGINE.open_session(SessionRequest(path, feed()))
    assert "src/" not in caught.value.message
    assert "\n" not in caught.value.message


def test_operators_that_it_lacks_are_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Odd", ["x"], ["y"], "a", domain="own.domain"),
        helper.make_node("Odder", ["y"], ["z"], "b", domain="own.domain"),
    ]
    path = write(tmp_path / "net.onnx", nodes, "z", x=(2, 64))
    with pytest.raises(EngineError, match=r"cannot take .*own\.domain\.Odd, own\.domain\.Odder"):
        ENGINE.open_session(SessionRequest(path, feed()))


def test_memory_that_runs_out_is_told_as_such() -> None:
    error = RuntimeError("Exception from src/a.cpp:1:\nstd::bad_alloc\n")
    found = openvino_engine._not_compiled(Path("net.onnx"), error)
    assert (type(found), str(found)) == (MemoryError, "std::bad_alloc")


@given(st.text())
def test_whatever_it_says_is_one_line(text: str) -> None:
    said = openvino_engine._cause(RuntimeError(text))
    assert said
    assert len(said.splitlines()) == 1


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    openvino_engine._core.cache_clear()
    try:
        with pytest.raises(EngineError, match=r"not installed\. Install it: pip install"):
            ENGINE.start()
        assert "not installed" in ENGINE.lacks("fp32", "")
    finally:
        openvino_engine._core.cache_clear()

    def version(name: str) -> str:
        raise openvino_engine.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(openvino_engine.importlib.metadata, "version", version)
    with pytest.raises(EngineError, match="pip install"):
        ENGINE.version()


def test_nothing_is_told_to_its_makers(product: Path) -> None:
    code = (
        "import sys; from mvdeploy import engines; engines.get('openvino').start();"
        "print([name for name, module in sys.modules.items() if 'telemetry' in name and module])"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    # What stands in for it, and does nothing, is in the engine's own package.
    assert said.stdout.strip().startswith("["), said.stderr
    assert "'openvino_telemetry" not in said.stdout


# Where its times are counted


@dataclasses.dataclass(frozen=True)
class Profiled:
    artifact: Artifact
    profile: Path
    events: tuple[TraceEvent, ...]


@pytest.fixture(scope="module")
def profiled(exported, tmp_path_factory: pytest.TempPathFactory) -> Profiled:
    made = exported()
    image = np.random.default_rng(0).random(made.artifact.inputs[0].shape, dtype=np.float32)
    folder = tmp_path_factory.mktemp("profile")
    request = SessionRequest(made.path, {"image": image}, 1, profile_to=folder)
    session = ENGINE.open_session(request)
    for _ in range(WARMUP + RUNS):
        session.infer()
    profile = session.end_profile()
    assert profile is not None
    times = ENGINE.read_profile(made.artifact, profile, RUNS)
    return Profiled(made.artifact, profile, times.events)


def test_everything_is_placed(profiled: Profiled) -> None:
    assert all(event.modules for event in profiled.events)
    assert all(len(event.samples_ns) == RUNS for event in profiled.events)
    assert sum(sum(event.samples_ns) for event in profiled.events) > 0


def test_each_layer_with_weights_is_counted_once_under_its_own_name(profiled: Profiled) -> None:
    """This is told from the exported operators alone, by the type and the module of each."""
    operators = profiled.artifact.operators
    computed = {name for op in operators for name in op.outputs}
    wanted = sorted(
        op.module
        for op in operators
        if op.type in ("Conv", "Gemm") or (op.type == "MatMul" and op.inputs[1] not in computed)
    )
    kinds = ("Convolution", "GroupConvolution", "FullyConnected")
    got = sorted(event.modules[0] for event in profiled.events if event.type in kinds)
    assert got == wanted


def test_norms_are_counted_with_norms(profiled: Profiled) -> None:
    norms = [event for event in profiled.events if event.kind is OperatorKind.LAYERNORM]
    wanted = {op.module for op in profiled.artifact.operators if op.type == "LayerNormalization"}
    assert {event.modules[0] for event in norms} == wanted


def test_activations_are_in_the_kernels_before_them(profiled: Profiled) -> None:
    fused = [event.modules for event in profiled.events if len(event.modules) > 1]
    assert ("conv_1.conv", "conv_1.act") in fused


def test_a_profile_is_read_without_the_engine(
    profiled: Profiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert ENGINE.read_profile(profiled.artifact, profiled.profile, RUNS).events == profiled.events


def edited(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


def first(body: dict[str, Any]) -> str:
    return next(iter(body["averages_us"]))


BROKEN: dict[str, Callable[[Path], object]] = {
    "missing": lambda p: p.unlink(),
    "empty": lambda p: p.write_bytes(b""),
    "cut off": lambda p: p.write_bytes(p.read_bytes()[:-9]),
    "no text": lambda p: p.write_bytes(b"\xff\xfe"),
    "another kind": lambda p: p.write_text("[1]"),
    "no times": lambda p: edited(p, lambda b: b["averages_us"].clear()),
    "no whole times": lambda p: edited(p, lambda b: b.pop("walls_ns")),
    "too few runs": lambda p: edited(p, lambda b: b["averages_us"][first(b)].pop()),
    "no number": lambda p: edited(p, lambda b: b["averages_us"].update({first(b): ["x"] * 6})),
    "below zero": lambda p: edited(p, lambda b: b["averages_us"].update({first(b): [-1] * 6})),
    "a strange node": lambda p: edited(p, lambda b: b["averages_us"].update({"?": [1] * 6})),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_profile_is_an_engine_error(
    profiled: Profiled, tmp_path: Path, fault: str
) -> None:
    path = tmp_path / "openvino.json"
    path.write_bytes(profiled.profile.read_bytes())
    BROKEN[fault](path)
    with pytest.raises(EngineError, match="The profile of OpenVINO cannot be used: it"):
        ENGINE.read_profile(profiled.artifact, path, RUNS)
