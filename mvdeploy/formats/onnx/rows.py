"""Tokens as rows of a matrix, wherever a graph treats each token by itself.

Linear layers of (batch, tokens, channels) are products that ONNX Runtime makes matrices of, with a
change of shape before and behind each. Here what lies between them is computed of the same rows:
norms, activations, residual sums.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import onnx

from mvdeploy.formats.onnx._graph import Graph, attribute, node

if TYPE_CHECKING:
    from onnx import NodeProto

    from mvdeploy.formats.onnx._graph import Linear, Shape

ROWS = "_rows"
"""Ends the name of the rows of a tensor."""

_EACH = ("Sigmoid", "Relu", "Tanh", "Erf", "Gelu", "HardSwish", "HardSigmoid", "Clip")
"""Operators that treat every number alike."""

_PAIRWISE = ("Add", "Sub", "Mul", "Div")


def write(graph: Graph) -> None:
    """Compute rows where tokens are treated one by one. The graph is changed."""
    graph.replace(_Rows(graph).rewritten())


class _Rows:
    """Goes through the nodes in order, and keeps of which tensors there are rows.

    A tensor in its own shape is made of its rows once it is read as such.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._layers = _layers(graph)
        self._wanted = _wanted(graph, self._layers.values())
        self._rows: dict[str, str] = {}
        self._pending: dict[str, NodeProto] = {}  # what would give a tensor its own shape
        self._shapes: dict[tuple[int, ...], str] = {}
        self._made: list[NodeProto] = []

    def rewritten(self) -> list[NodeProto]:
        """Return the nodes."""
        inside = {layer.product.output[0] for layer in self._layers.values()} - self._layers.keys()
        for own in self._graph.nodes:
            out = own.output[0]
            if out in self._layers:
                self._product(own, self._layers[out])
            elif own.op_type == "Reshape":
                self._reshaped(own)
            elif self._is_by_rows(own):
                self._turned(own)
            elif out not in inside:
                self._as_it_is(own)
        self._whole(self._graph.outputs)
        return self._made

    def _as_it_is(self, own: NodeProto) -> None:
        self._whole(own.input)
        self._made.append(own)

    def _product(self, own: NodeProto, layer: Linear) -> None:
        bias = [layer.bias] if layer.bias else []
        given = [self._rows_of(layer.given, layer.product), layer.weight, *bias]
        kind = "Gemm" if bias else "MatMul"
        out = self._later(own)
        self._made.append(node(kind, given, (out,), layer.product, layer.product.name))

    def _reshaped(self, own: NodeProto) -> None:
        """Make rows at once where they are read as rows, and take rows where there are some."""
        wanted = self._graph.constant(own.input[1])
        if wanted is None or (wanted == 0).any():
            self._as_it_is(own)
            return
        given = self._rows.get(own.input[0], own.input[0])
        if own.output[0] in self._wanted:
            rows = self._shape_of_rows(own.output[0])
            self._made.append(node("Reshape", (given, rows), (self._later(own),), own, own.name))
        else:
            self._made.append(_copy(own, {0: given}))

    def _is_by_rows(self, own: NodeProto) -> bool:
        """Say whether a node treats each row by itself, and is fed rows."""
        shape = self._graph.shape(own.output[0])
        if shape is None or self._rows.keys().isdisjoint(own.input) or not _gives_back(shape):
            return False
        if own.op_type in _PAIRWISE:
            return all(self._fits(name, shape) for name in own.input)
        return own.input[0] in self._rows and (own.op_type in _EACH or _is_norm(own, shape))

    def _fits(self, name: str, shape: Shape) -> bool:
        """Say whether a tensor can be used with rows: it can be rows, or is the same for each."""
        value = self._graph.constant(name)
        return value.ndim <= 1 if value is not None else self._graph.shape(name) == shape

    def _turned(self, own: NodeProto) -> None:
        places = range(2) if own.op_type in _PAIRWISE else range(1)
        given = {
            at: self._rows_of(own.input[at], own)
            for at in places
            if self._graph.constant(own.input[at]) is None
        }
        copy = _copy(own, given)
        copy.output[0] = self._later(own)
        for entry in copy.attribute:
            if entry.name == "axis":
                entry.i = -1
        self._made.append(copy)

    def _rows_of(self, name: str, serves: NodeProto) -> str:
        """Return the rows of a tensor, which are made where there are none."""
        if name not in self._rows:
            shape = self._shape_of_rows(name)
            self._rows[name] = f"{name}{ROWS}"
            self._made.append(node("Reshape", (name, shape), (self._rows[name],), serves))
        return self._rows[name]

    def _later(self, own: NodeProto) -> str:
        """Return the name of the rows that are made of a node's output, which may be wanted too."""
        out = str(own.output[0])
        self._rows[out] = f"{out}{ROWS}"
        sizes = [n if isinstance(n, int) else -1 for n in self._graph.shape(out) or ()]
        shape = self._held(tuple(sizes))
        name = f"{own.name}_whole"
        self._pending[out] = node("Reshape", (self._rows[out], shape), (out,), own, name)
        return self._rows[out]

    def _whole(self, names: Iterable[str]) -> None:
        """Have tensors made in their own shapes, where they are not there."""
        self._made += [self._pending.pop(name) for name in names if name in self._pending]

    def _shape_of_rows(self, name: str) -> str:
        width = (self._graph.shape(name) or ())[-1]
        return self._held((-1, int(width)))

    def _held(self, sizes: tuple[int, ...]) -> str:
        if sizes not in self._shapes:
            name = "x".join(str(n) for n in sizes).replace("-1", "any")
            self._shapes[sizes] = self._graph.hold(f"shape_{name}", np.array(sizes))
        return self._shapes[sizes]


def _layers(graph: Graph) -> dict[str, Linear]:
    """Return the linear layers of what is not rows already, by what they make."""
    found: dict[str, Linear] = {}
    for own in graph.nodes:
        layer = graph.linear(own.output[0])
        if layer is None:
            continue
        shapes = graph.shape(layer.given), graph.shape(own.output[0])
        if all(shape is not None and _gives_back(shape) for shape in shapes):
            found[own.output[0]] = layer
    # A product whose bias is added behind it is part of that layer.
    parts = {layer.product.output[0] for layer in found.values() if layer.bias}
    return {out: layer for out, layer in found.items() if out not in parts}


def _wanted(graph: Graph, layers: Iterable[Linear]) -> set[str]:
    """Return the tensors of which rows are made: what layers are given, and norms before them."""
    wanted = {layer.given for layer in layers}
    for own in graph.nodes:
        if own.output[0] in wanted and _is_norm(own, graph.shape(own.output[0])):
            wanted.add(own.input[0])
    return wanted


def _gives_back(shape: Shape) -> bool:
    """Say whether a shape is one of more than rows, and known where it is made of them again."""
    free = sum(not isinstance(size, int) for size in shape)
    return len(shape) > 2 and free <= 1 and isinstance(shape[-1], int) and 0 not in shape


def _is_norm(own: NodeProto, shape: Shape | None) -> bool:
    if own.op_type != "LayerNormalization" or shape is None or not _gives_back(shape):
        return False
    return len(own.output) == 1 and attribute(own, "axis", -1) in (-1, len(shape) - 1)


def _copy(own: NodeProto, inputs: dict[int, str]) -> NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(own)
    for at, name in inputs.items():
        copy.input[at] = name
    return copy
