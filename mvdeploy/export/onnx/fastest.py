"""Graphs as ONNX Runtime runs them fastest, with operators of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdeploy.export.onnx import attention, rows
from mvdeploy.export.onnx._graph import Graph, allow_contributed

if TYPE_CHECKING:
    import onnx


def rewrite(model: onnx.ModelProto) -> None:
    """Have attention in one operator, and tokens as rows. The model is changed."""
    graph = Graph(model)
    attention.fuse(graph)
    rows.write(graph)
    allow_contributed(model)
