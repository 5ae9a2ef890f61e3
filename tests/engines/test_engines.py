from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from mvdeploy import engines
from mvdeploy.errors import UsageError

FORMAT = {"executorch": "executorch", "onnxruntime": "onnx", "pytorch": "pytorch"}


def image(seed: int) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(seed).random((1, 3, 96, 96), dtype=np.float32)}


def test_engines() -> None:
    assert set(engines.names()) == {*FORMAT, "coreml"}
    assert list(engines.get("coreml").FORMATS) == ["coreml"]
    for name, format_name in FORMAT.items():
        engine = engines.get(name)
        assert list(engine.FORMATS) == [format_name]
        assert engine.version()[0].isdigit()
        assert engines.for_format(format_name, tuple(FORMAT)) == name
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
        session = engines.get(engine).open_session(small.path, given[0], 1, None)
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
    session = engines.get(engine).open_session(small.path, image(0), 1, None)
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
            session = engines.get(engine).open_session(small.path, image(3), 1, place)
            session.infer()
            results.append(session.outputs()["logits"])
        np.testing.assert_allclose(*results, atol=1e-5, rtol=0)


def test_options_are_what_a_session_is_opened_with(exported, monkeypatch) -> None:
    ort = engines.get("onnxruntime")
    path = exported("onnx").path
    usual = ort.options(2)
    assert engines.options(ort, 2) == usual
    assert settings_of(ort.open_session(path, image(0), 2, None)) == usual
    # Not a second list beside the one that is used: what it says is what is done.
    other = {
        **usual,
        "intra_op_num_threads": 1,
        "inter_op_num_threads": 2,
        "graph_optimization_level": "ORT_ENABLE_BASIC",
        "execution_mode": "ORT_PARALLEL",
        "spinning": "off",
    }
    monkeypatch.setattr(ort, "options", lambda threads: other)
    assert settings_of(ort.open_session(path, image(0), 2, None)) == other


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
    }


def test_the_defaults_of_onnx_runtime_are_kept() -> None:
    made, plain = onnxruntime_options(1), onnxruntime.SessionOptions()
    assert made.graph_optimization_level == plain.graph_optimization_level
    assert made.execution_mode == plain.execution_mode


def onnxruntime_options(threads: int):
    ort = engines.get("onnxruntime")
    return ort._session_options(ort.options(threads))


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_runs_as_its_options_say(exported, threads: int) -> None:
    engine = engines.get("pytorch")
    told = engines.options(engine, threads)
    before = torch.get_num_threads()
    try:
        session = engine.open_session(exported("pytorch").path, image(0), threads, None)
        session.infer()
        assert told == {
            "num_threads": torch.get_num_threads(),
            "mode": "eager, inference_mode" if session._result.is_inference() else "eager",
        }
    finally:
        torch.set_num_threads(before)


def test_an_engine_need_not_have_options() -> None:
    assert engines.options(object(), 1) == {}
