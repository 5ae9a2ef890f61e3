"""Casts that ONNX Runtime inserts around kernels that it has in float32 alone."""

from __future__ import annotations

from onnx import helper

from mvdeploy.attribute.onnx import Placement
from mvdeploy.records import Operator

OPERATORS = (
    Operator("node_conv", "Conv", "conv", ("image",), ("conv",)),
    Operator("node_relu", "Relu", "act", ("conv",), ("relu",)),
    Operator("node_mean", "ReduceMean", "", ("relu",), ("mean",)),
)


def test_operators_between_them_are_placed() -> None:
    name = "InsertedPrecisionFreeCast_relu"
    nodes = [
        helper.make_node("Conv", ["image"], ["reorder_token_5"], f"{name}_nchwc"),
        helper.make_node("ReorderOutput", ["reorder_token_5"], [name], "ReorderOutput"),
        helper.make_node("Cast", [name], ["InsertedCast_relu"], "InsertedCast_relu"),
        helper.make_node("ReduceMean", ["InsertedCast_relu"], ["mean"], "node_mean"),
    ]
    placement = Placement(OPERATORS, nodes)
    places = [placement.place(node) for node in nodes]
    assert places[0].modules == ("conv", "act")
    assert places[2].modules == ()  # with its neighbours
    assert places[3].modules == ("",)
