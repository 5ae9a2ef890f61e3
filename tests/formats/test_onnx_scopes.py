"""Nodes of ONNX files are placed in modules by what tools left at them."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from mvdeploy.formats.onnx import scopes


@pytest.mark.parametrize("kind", ["Expand", "Reshape", "Transpose"])
def test_a_node_that_was_added_is_placed_with_its_reader(kind: str) -> None:
    nodes = [
        helper.make_node(kind, ["x"], ["wide"]),
        helper.make_node("Relu", ["wide"], ["y"], name="/layer1/act/Relu"),
        helper.make_node("Relu", ["y"], ["z"], name="/layer2/act/Relu"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xz"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    paths, info, source = scopes.modules(graph)
    assert paths == ["layer1.act", "layer1.act", "layer2.act"]
    assert set(info) == {"layer1.act", "layer2.act"}
    assert source == "the names of its nodes"
