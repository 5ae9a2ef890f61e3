"""Whole numbers whose activations are in the layers before them, by two engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mvdeploy import engines, formats, models
from mvdeploy.engines import SessionRequest
from mvdeploy.pipeline import calibration
from mvdeploy.pipeline.export import Builder
from mvdeploy.pipeline.verify import Verifier
from tests.verify.mutations import small


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Verifier:
    path = tmp_path_factory.mktemp("fused") / "a.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "ANSWERS", 2)
        spec = models.make_spec(f"{small.__file__}:make")
        options = formats.Options("int8-fused")
        Builder(spec, wish=calibration.Wish(2)).export("onnx", path, options)
    return Verifier(path)


def by_openvino(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> Verifier:
    monkeypatch.setattr(verifier, "_engine", "openvino")
    return verifier


def test_nothing_is_quantised_between_a_layer_and_its_activation(verifier: Verifier) -> None:
    graph = onnx.load(verifier._path).graph
    made = {out: node for node in graph.node for out in node.output}
    gates = [node for node in graph.node if node.op_type == "Sigmoid"]
    assert len(gates) == 3
    assert {made[gate.input[0]].op_type for gate in gates} == {"Conv"}
    products = [node for node in graph.node if gates[0].output[0] in node.input]
    readers = [node for node in graph.node if products[0].output[0] in node.input]
    assert "QuantizeLinear" in {node.op_type for node in readers} | {
        reader.op_type
        for node in readers
        for reader in graph.node
        if node.output[0] in reader.input
    }


def test_openvino_computes_it_as_pytorch_does(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    parity = by_openvino(verifier, monkeypatch).check()
    assert parity.passed
    assert parity.engine.startswith("openvino")
    assert len(parity.modules) > 10


def test_openvino_computes_activations_in_the_layers(verifier: Verifier, tmp_path: Path) -> None:
    engine = engines.get("openvino")
    feed = {"image": np.zeros(verifier.artifact.inputs[0].shape, np.float32)}
    session = engine.open_session(SessionRequest(verifier._path, feed, profile_to=tmp_path))
    session.infer()
    profile = session.end_profile()
    assert profile is not None
    events = engine.read_profile(verifier.artifact, profile, 1).events
    layers = [event.modules for event in events if event.type == "Convolution"]
    for number in range(3):
        assert (f"blocks.{number}.conv", f"blocks.{number}.act") in [m[:2] for m in layers]


def test_a_wrong_scale_is_found_in_it(
    verifier: Verifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(verifier._path)
    name = next(n.input[1] for n in model.graph.node if "blocks.1.conv.weight" in n.input[0])
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.1), name))
    onnx.save(model, tmp_path / "a.onnx")
    parity = by_openvino(verifier, monkeypatch)._check(tmp_path / "a.onnx")
    assert not parity.passed
    assert parity.first_diverging is not None
    assert parity.first_diverging.module in ("blocks.1.conv", "blocks.1.act")
