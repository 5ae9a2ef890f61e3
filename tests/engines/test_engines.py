from __future__ import annotations

import platform
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from mvdeploy import engines
from mvdeploy.engines import SessionRequest
from mvdeploy.errors import EngineError, UsageError

FORMAT = {
    "executorch": "executorch",
    "onnxruntime": "onnx",
    "openvino": "onnx",
    "pytorch": "pytorch",
}


def image(seed: int) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(seed).random((1, 3, 96, 96), dtype=np.float32)}


def request(path, inputs, **fields) -> SessionRequest:
    return SessionRequest(path, inputs, outputs=("logits",), **fields)


def test_engines() -> None:
    assert {*FORMAT, "coreml", "litert"} <= set(engines.names())
    assert list(engines.get("coreml").FORMATS) == ["coreml"]
    for name, format_name in FORMAT.items():
        engine = engines.get(name)
        assert list(engine.FORMATS) == [format_name]
        assert engine.version()[0].isdigit()
        assert engines.for_format(format_name, (name,)) == name
    with pytest.raises(UsageError, match=r"There is no engine 'onnxruntim'\. Did you mean"):
        engines.get("onnxruntim")


def test_a_format_that_no_engine_of_the_device_runs_is_refused() -> None:
    with pytest.raises(UsageError, match=r"runs the format 'onnx'\. Formats it runs: pytorch"):
        engines.for_format("onnx", ("pytorch",))


@pytest.mark.parametrize("engine", FORMAT)
def test_a_session_computes_what_the_network_does(exported, engine: str) -> None:
    small = exported(FORMAT[engine])
    given = [image(0), image(1)]
    with torch.inference_mode():
        wanted = [small.network(torch.from_numpy(i["image"])).numpy() for i in given]
    assert np.abs(wanted[0] - wanted[1]).max() > 0.01
    threads = torch.get_num_threads()
    try:
        session = engines.get(engine).open_session(request(small.path, given[0]))
        for each, expected in zip([*given, given[0]], [*wanted, wanted[0]], strict=True):
            session.feed(each)
            session.infer()
            outputs = session.outputs()
            assert list(outputs) == ["logits"]
            np.testing.assert_allclose(outputs["logits"], expected, atol=1e-4, rtol=0)
        assert session.end_profile() is None
        assert not torch.is_inference_mode_enabled()
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("engine", FORMAT)
def test_outputs_are_not_overwritten_by_the_next_inference(exported, engine: str) -> None:
    small = exported(FORMAT[engine])
    session = engines.get(engine).open_session(request(small.path, image(0)))
    session.infer()
    first = session.outputs()["logits"]
    kept = first.copy()
    session.feed(image(1))
    session.infer()
    np.testing.assert_array_equal(first, kept)


def test_the_profiled_engine_computes_the_same(exported, tmp_path) -> None:
    for engine, format_name in FORMAT.items():
        small = exported(format_name)
        results = []
        for place in (None, tmp_path / engine):
            session = engines.get(engine).open_session(
                request(small.path, image(3), profile_to=place)
            )
            session.infer()
            results.append(session.outputs()["logits"])
        np.testing.assert_allclose(*results, atol=1e-5, rtol=0)


def test_options_are_what_a_session_is_opened_with(exported, monkeypatch) -> None:
    ort = engines.get("onnxruntime")
    path = exported("onnx").path
    usual = ort.options(2)
    assert engines.options(ort, 2) == usual
    assert settings_of(ort.open_session(SessionRequest(path, image(0), threads=2))) == usual
    # Not a second list beside the one that is used: what it says is what is done.
    other = {
        **usual,
        "intra_op_num_threads": 1,
        "inter_op_num_threads": 2,
        "graph_optimization_level": "ORT_ENABLE_BASIC",
        "execution_mode": "ORT_PARALLEL",
        "spinning": "off",
        "placement": "free",
    }
    monkeypatch.setattr(ort, "options", lambda threads: other)
    assert settings_of(ort.open_session(SessionRequest(path, image(0), threads=2))) == other


def settings_of(session) -> dict[str, str | int]:
    """Ask ONNX Runtime itself."""
    told = session._session.get_session_options()
    spinning = told.get_session_config_entry("session.intra_op.allow_spinning")
    (provider,) = session._session.get_providers()
    return {
        "provider": provider,
        "intra_op_num_threads": told.intra_op_num_threads,
        "inter_op_num_threads": told.inter_op_num_threads,
        "graph_optimization_level": told.graph_optimization_level.name,
        "execution_mode": told.execution_mode.name,
        "spinning": {"1": "on", "0": "off"}[spinning],
        "placement": "pinned" if has_places(told) else "free",
    }


def has_places(told: onnxruntime.SessionOptions) -> bool:
    try:
        return bool(told.get_session_config_entry("session.intra_op_thread_affinities"))
    except RuntimeError:  # there is no such entry
        return False


@pytest.mark.parametrize(("spinning", "placement"), [("off", "free"), ("on", "pinned")])
def test_threads_of_onnx_runtime_wait_and_lie_as_is_chosen(
    exported, spinning: str, placement: str
) -> None:
    ort = engines.get("onnxruntime")
    chosen = {"spinning": spinning, "placement": placement}
    request = SessionRequest(exported("onnx").path, image(0), threads=2, options=chosen)
    session = ort.open_session(request)
    session.infer()
    assert settings_of(session) == engines.options(ort, 2, chosen) == {**ort.options(2), **chosen}


def test_a_thread_alone_needs_no_place() -> None:
    ort = engines.get("onnxruntime")
    chosen = {**ort.options(1), "placement": "pinned"}
    assert not has_places(ort._session_options(chosen, None))


def test_onnx_runtime_says_which_precisions_it_has_here() -> None:
    ort = engines.get("onnxruntime")
    assert ort.lacks("bf16", "x86_64") and not ort.lacks("fp16", "x86_64")
    assert ort.emulated("fp16", "x86_64") and not ort.emulated("fp16", "aarch64")
    assert not ort.emulated("fp32", "x86_64") and not ort.lacks("int8", "aarch64")
    # What it says is what the engine does on this machine.
    name = onnx.TensorProto.BFLOAT16
    with pytest.raises(Exception, match="NOT_IMPLEMENTED"):
        onnxruntime.InferenceSession(product_of(name), providers=["CPUExecutionProvider"])


def product_of(kind: int) -> bytes:
    """Return a model with one product of matrices of a type."""
    x, y = (onnx.helper.make_tensor_value_info(name, kind, [4, 4]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("MatMul", "xx", "y")], "g", [x], [y])
    opsets = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return bytes(model.SerializeToString())


def test_onnx_runtime_casts_halves_on_this_machine(tmp_path: Path) -> None:
    """Where it says that it emulates them, its own graph has casts; else none around a product."""
    ort, options = engines.get("onnxruntime"), onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    model = product_of(onnx.TensorProto.FLOAT16)
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    made = onnx.load(tmp_path / "optimised.onnx").graph.node
    casts = "Cast" in {node.op_type for node in made}
    assert casts == bool(ort.emulated("fp16", platform.machine()))


def test_the_defaults_of_onnx_runtime_are_kept() -> None:
    made, plain = onnxruntime_options(1), onnxruntime.SessionOptions()
    assert made.graph_optimization_level == plain.graph_optimization_level
    assert made.execution_mode == plain.execution_mode


def onnxruntime_options(threads: int):
    ort = engines.get("onnxruntime")
    return ort._session_options(ort.options(threads), None)


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_runs_as_its_options_say(exported, threads: int) -> None:
    engine = engines.get("pytorch")
    told = engines.options(engine, threads)
    before = torch.get_num_threads()
    try:
        session = engine.open_session(SessionRequest(exported("pytorch").path, image(0), threads))
        session.infer()
        assert told == {
            "num_threads": torch.get_num_threads(),
            "mode": "eager, inference_mode" if session._result.is_inference() else "eager",
        }
    finally:
        torch.set_num_threads(before)


def test_an_engine_need_not_have_options() -> None:
    assert engines.options(object(), 1) == {}


@pytest.mark.parametrize("engine", FORMAT)
def test_an_option_that_an_engine_does_not_have_is_refused(exported, engine: str) -> None:
    chosen = {"compute_units": "all"}
    words = r"no option 'compute_units'\. Options it has: "
    with pytest.raises(UsageError, match=words):
        engines.options(engines.get(engine), 1, chosen)
    with pytest.raises(UsageError, match=words):
        small = exported(FORMAT[engine])
        engines.get(engine).open_session(request(small.path, image(0), options=chosen))


def test_what_was_chosen_takes_the_place_of_a_default() -> None:
    coreml = engines.get("coreml")
    assert engines.options(coreml, 1) == {"compute_units": "all"}
    chosen = {"compute_units": "cpu_only"}
    assert engines.options(coreml, 1, chosen) == chosen
    with pytest.raises(UsageError, match=r"cannot be 'gpu'\. Choose one of: all, "):
        engines.options(coreml, 1, {"compute_units": "gpu"})


# Programs of other kinds than images in and logits out.


class Mixed(torch.nn.Module):
    """Tensors of several types."""

    def forward(self, pixels, ids, count, half, real):
        return {
            "pixels": pixels + pixels,
            "ids": ids + ids,
            "count": count + count,
            "half": half + half,
            "real": real + real,
        }


DTYPES = ("uint8", "int32", "int64", "float16", "float32")
MIXED = {
    name: np.arange(1, 7).reshape(2, 3).astype(dtype)
    for name, dtype in zip(("pixels", "ids", "count", "half", "real"), DTYPES, strict=True)
}


def write_onnx(path) -> None:
    import onnx
    from onnx import helper

    kinds = {n: helper.np_dtype_to_tensor_dtype(t.dtype) for n, t in MIXED.items()}
    # The engine adds no bytes; it casts them.
    nodes = [
        helper.make_node("BitwiseAnd" if name == "pixels" else "Add", [name, name], [f"{name}2"])
        for name in MIXED
    ]
    inputs = [helper.make_tensor_value_info(n, kinds[n], (2, 3)) for n in MIXED]
    outputs = [helper.make_tensor_value_info(f"{n}2", kinds[n], (2, 3)) for n in MIXED]
    graph = helper.make_graph(nodes, "mixed", inputs, outputs)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Files of one program, by engine."""
    folder = tmp_path_factory.mktemp("mixed")
    write_onnx(folder / "m.onnx")
    examples = tuple(torch.from_numpy(t) for t in MIXED.values())
    torch.export.save(torch.export.export(Mixed(), examples), folder / "m.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mvdeploy.formats.executorch import lowering
        from mvdeploy.formats.executorch.backends import xnnpack

        with xnnpack.lowering():
            lowered = lowering.lower(torch.export.export(Mixed(), examples), xnnpack, {})
    (folder / "m.pte").write_bytes(lowered.data)
    return {
        "onnxruntime": folder / "m.onnx",
        "openvino": folder / "m.onnx",
        "pytorch": folder / "m.pt2",
        "executorch": folder / "m.pte",
    }


@pytest.mark.parametrize("engine", FORMAT)
def test_tensors_may_be_many_and_of_any_type(mixed, engine: str) -> None:
    named = tuple(f"{name}2" for name in MIXED)
    session = engines.get(engine).open_session(SessionRequest(mixed[engine], MIXED, outputs=named))
    for inputs in (MIXED, {name: np.asfortranarray(tensor) for name, tensor in MIXED.items()}):
        session.feed(inputs)
        session.infer()
        outputs = session.outputs()
        assert tuple(outputs) == named
        for name, given in MIXED.items():
            same = FORMAT[engine] == "onnx" and name == "pixels"
            assert outputs[f"{name}2"].dtype == given.dtype
            np.testing.assert_array_equal(outputs[f"{name}2"], given if same else 2 * given)


@pytest.mark.parametrize("engine", ["pytorch", "executorch"])
def test_outputs_without_names_are_numbered(mixed, engine: str) -> None:
    session = engines.get(engine).open_session(SessionRequest(mixed[engine], MIXED))
    session.infer()
    assert list(session.outputs()) == [f"output_{i}" for i in range(5)]


@pytest.mark.parametrize("engine", ["pytorch", "executorch"])
@pytest.mark.parametrize("names", [("a",), tuple("abcdef")])
def test_names_that_are_not_as_many_as_the_outputs_are_refused(mixed, engine: str, names) -> None:
    with pytest.raises(EngineError, match=f"has 5 outputs, and {len(names)} names") as caught:
        engines.get(engine).open_session(SessionRequest(mixed[engine], MIXED, outputs=names))
    assert "manifest" in caught.value.remedy


def test_reports_call_every_engine_as_its_makers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    titles = {name: engines.title(name) for name in engines.names()}
    assert titles["onnxruntime"] == "ONNX Runtime" and titles["coreml"] == "Core ML"
    assert all(title != name for name, title in titles.items())
    monkeypatch.delattr(engines.get("onnxruntime"), "TITLE")
    assert engines.title("onnxruntime") == "onnxruntime"
