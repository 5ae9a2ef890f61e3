"""Graphs as ONNX Runtime runs them fastest, with operators of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdeploy.formats.onnx import attention, rows
from mvdeploy.formats.onnx._graph import Graph, allow_contributed
from mvdeploy.formats.onnx.reading import subgraphs

if TYPE_CHECKING:
    import onnx


def rewrite(model: onnx.ModelProto) -> None:
    """Have attention in one operator, and tokens as rows. The model is changed.

    One with branches or loops stays as it is: what is read inside of these is not followed.
    """
    if any(next(subgraphs(entry), None) for node in model.graph.node for entry in node.attribute):
        return
    graph = Graph(model)
    attention.fuse(graph)
    rows.write(graph)
    allow_contributed(model)
