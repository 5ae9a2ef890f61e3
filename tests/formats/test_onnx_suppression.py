"""Detections as operators of ONNX: ONNX Runtime against the task's own decoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from mvdeploy import formats, models
from mvdeploy.errors import UsageError
from mvdeploy.formats.onnx import suppression
from mvdeploy.pipeline.export import Builder
from mvdeploy.tasks import detect

SPEC = models.make_spec("mobilevit_xxs", task="detect", image_size=(160, 128), num_classes=4)


@pytest.mark.parametrize("spread", [0.01, 0.1, 1.5], ids=["nothing", "some", "too many"])
def test_onnx_runtime_chooses_the_same(spread: float) -> None:
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, tensor.shape)
        for tensor in detect.outputs(SPEC)
        for name in (f"{tensor.name}_in", tensor.name)
    ]
    nodes = [helper.make_node("Identity", [f"{n}_in"], [n]) for n in ("boxes", "scores")]
    graph = helper.make_graph(nodes, "detector", tensors[::2], tensors[1::2])
    suppression.add(graph, SPEC.image_size)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    assert "NonMaxSuppression" in {node.op_type for node in model.graph.node}
    generator = np.random.default_rng(0)
    own = {
        tensor.name: generator.normal(0, spread, tensor.shape).astype(np.float32)
        for tensor in detect.outputs(SPEC)
    }
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {f"{name}_in": values for name, values in own.items()})
    boxes, scores, classes = found
    wanted = detect.answers(own, SPEC)
    assert (len(wanted) == 0) == (spread == 0.01)
    assert (len(wanted) == detect.MOST) == (spread == 1.5)
    count = len(wanted)
    assert classes.tolist() == [answer.number for answer in wanted] + [0] * (200 - count)
    np.testing.assert_allclose(scores[:count], [a.value for a in wanted], rtol=1e-5)
    np.testing.assert_allclose(boxes[:count], [a.box for a in wanted] or boxes[:0], rtol=1e-3)
    assert not scores[count:].any() and not boxes[count:].any()


def test_networks_and_batches_that_it_is_not_for(tmp_path: Path) -> None:
    own = formats.options("onnx", {"with_nms": True})
    builder = Builder(models.make_spec("yardstick"))
    with pytest.raises(UsageError, match="this one returns logits"):
        builder.export("onnx", tmp_path / "net.onnx", own)
    assert list(tmp_path.iterdir()) == []
