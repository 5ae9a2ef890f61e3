"""Attention as ONNX Runtime's own operator, MultiHeadAttention.

A graph says attention with two products, a softmax between them, and whatever its network moves
around before and behind: packed projections that are split, reshaped and transposed in one order or
another. What the products are given is followed back to tensors of (batch, tokens, channels); which
channels of these they are is found by moving their numbers, so that no order has to be known.
Attention that is anything else stays as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from mvdeploy.formats.onnx import CONTRIBUTED
from mvdeploy.formats.onnx._graph import Graph, Shape, attribute, node

if TYPE_CHECKING:
    from onnx import NodeProto

    from mvdeploy.formats.onnx._graph import Array

_MOVING = ("Transpose", "Reshape", "Split", "Gather", "Squeeze", "Unsqueeze", "Slice", "Identity")
"""Operators that move numbers and change none; the first input is what is moved."""

_BY_CHANNEL = {"MatMulIntegerToFloat": (1, 3, 6), "DynamicQuantizeMatMul": (1, 2, 4)}
"""ONNX Runtime's linear layers in whole numbers → inputs with the output channels last."""

_QUERIES = _VALUES = (0, 2, 1, 3)
_KEYS = (0, 3, 1, 2)
"""Which axes of what is multiplied are (batch, tokens, heads, width)."""


@dataclasses.dataclass(frozen=True)
class _Operand:
    """Queries, keys or values.

    Attributes:
        tensor: (batch, tokens, channels).
        columns: which of the channels, head by head; None for all in their order.
        scale: what they are multiplied by on the way to the product.
    """

    tensor: str
    columns: Array | None
    scale: float


@dataclasses.dataclass(frozen=True)
class _Scores:
    """What softmax is taken of: ``scale * product + bias``; no bias where it is empty."""

    product: NodeProto
    scale: float
    bias: str


@dataclasses.dataclass(frozen=True)
class _Attention:
    """What a graph computes as attention.

    Attributes:
        operands: queries, keys and values.
        scores: of queries and keys.
        softmax: what makes probabilities of them.
        heads: how many there are.
        end: the last node, which has changed the result to (batch, tokens, channels), or has
            separated the channels of each head yet.
    """

    operands: tuple[_Operand, ...]
    scores: _Scores
    softmax: NodeProto
    heads: int
    end: NodeProto


def fuse(graph: Graph) -> None:
    """Put the operator where a graph attends, with a linear layer for each of its operands.

    The graph is changed.
    """
    made: list[NodeProto] = []
    for own in graph.nodes:
        found = _found(graph, own)
        if found is not None:
            made += _fused(graph, found)
        made.append(own)
    graph.replace(made)


def _found(graph: Graph, product: NodeProto) -> _Attention | None:
    """Return the attention whose second product a node is."""
    softmax = graph.made_by.get(product.input[0]) if product.op_type == "MatMul" else None
    if softmax is None or softmax.op_type != "Softmax" or not graph.alone(softmax.output[0]):
        return None
    shape, scores = graph.shape(product.output[0]), _scores(graph, softmax)
    end = _end(graph, product.output[0])
    if shape is None or len(shape) != 4 or scores is None or end is None:
        return None
    if attribute(softmax, "axis", -1) not in (-1, 3):
        return None
    names = (*scores.product.input, product.input[1])
    layouts = (_QUERIES, _KEYS, _VALUES)
    operands = [_operand(graph, *each) for each in zip(names, layouts, strict=True)]
    given = tuple(operand for operand in operands if operand is not None)
    # A scale of the values would have to be one of the result.
    if len(given) < len(names) or given[2].scale != 1.0:
        return None
    return _Attention(given, scores, softmax, int(shape[1]), end)


def _scores(graph: Graph, softmax: NodeProto) -> _Scores | None:
    name, scale, bias = softmax.input[0], 1.0, ""
    while graph.alone(name) and (own := graph.made_by.get(name)) is not None:
        factor = _factor(graph, own)
        if own.op_type == "MatMul":
            return _Scores(own, scale, bias)
        if factor is not None:
            name, scale = factor[0], scale * factor[1]
        elif own.op_type == "Add" and not bias and scale == 1.0:
            name, bias = _added(graph, own)
        else:
            return None
    return None


def _added(graph: Graph, own: NodeProto) -> tuple[str, str]:
    """Return what an addition is given, that of four known dimensions which it spreads second."""
    for name, other in (own.input, reversed(own.input)):
        maker = graph.made_by.get(name)
        of_product = maker is not None and (maker.op_type == "MatMul" or _factor(graph, maker))
        if of_product and _spreads(graph.shape(other), graph.shape(name)):
            return str(name), str(other)
    return "", ""


def _spreads(bias: Shape | None, scores: Shape | None) -> bool:
    """Say whether the operator takes a bias: one for all images or heads, or one for each."""
    if bias is None or scores is None or not len(bias) == len(scores) == 4:
        return False
    ones = all(size in (1, over) for size, over in zip(bias[:2], scores[:2], strict=True))
    return ones and bias[2:] == scores[2:]


def _factor(graph: Graph, own: NodeProto) -> tuple[str, float] | None:
    """Return what a node multiplies by a constant number, and the number."""
    for at in {"Mul": (0, 1), "Div": (0,)}.get(own.op_type, ()):
        number = graph.constant(own.input[1 - at])
        if number is not None and number.size == 1:
            by = float(number.ravel()[0])
            return own.input[at], by if own.op_type == "Mul" else 1 / by
    return None


def _end(graph: Graph, out: str) -> NodeProto | None:
    """Return the node that gives a result (batch, heads, tokens, width) back to its tokens."""
    turned = graph.alone(out)
    perm = (0, 2, 1, 3)
    if turned is None or turned.op_type != "Transpose" or tuple(attribute(turned, "perm")) != perm:
        return None
    joined = graph.alone(turned.output[0])
    if joined is not None and joined.op_type == "Reshape":
        before, after = graph.shape(turned.output[0]), graph.shape(joined.output[0])
        if before and after and after[:-1] == before[:2]:
            return joined
    return turned


def _operand(graph: Graph, name: str, layout: tuple[int, ...]) -> _Operand | None:
    """Return the first tensor that an operand is made of by moving and multiplying alone.

    Args:
        graph: that it is in.
        name: of what is multiplied.
        layout: which axes of it are (batch, tokens, heads, width).
    """
    shape = graph.shape(name)
    if shape is None or len(shape) != 4:
        return None
    found, scale = None, 1.0
    way: list[tuple[NodeProto, int]] = []
    while (own := graph.made_by.get(name)) is not None:
        factor = _factor(graph, own)
        if factor is not None:
            name, scale = factor[0], scale * factor[1]
        elif own.op_type in _MOVING:
            way.insert(0, (own, list(own.output).index(name)))
            name = own.input[0]
        else:
            break
        before = graph.shape(name)
        if before is not None and before[:-1] == (shape[layout[0]], shape[layout[1]]):
            columns = _columns(graph, way, before, layout)
            if columns is not None and np.array_equal(columns, np.arange(int(before[2]))):
                found = _Operand(name, None, scale)
            elif columns is not None and _is_layer(graph, name):
                found = _Operand(name, columns, scale)
    return found


def _columns(
    graph: Graph, way: Sequence[tuple[NodeProto, int]], shape: Shape, layout: tuple[int, ...]
) -> Array | None:
    """Return which channels of a tensor an operand is; None if its tokens are not those of it."""
    if not all(isinstance(size, int) for size in shape):
        return None
    numbers = np.arange(np.prod([int(size) for size in shape])).reshape([int(n) for n in shape])
    moved = numbers
    for own, place in way:
        others = {name: graph.constant(name) for name in own.input[1:] if name}
        if any(value is None for value in others.values()):
            return None
        given: dict[str, Any] = {own.input[0]: moved, **others}
        made: list[Array] = ReferenceEvaluator(own).run(None, given)  # type: ignore[assignment]
        moved = made[place]
    tokens = moved.transpose(layout).reshape(*numbers.shape[:2], -1)
    columns: Array = tokens[0, 0]
    return columns if np.array_equal(tokens, numbers[:, :, :1] + columns) else None


def _is_layer(graph: Graph, name: str) -> bool:
    own = graph.made_by.get(name)
    return graph.linear(name) is not None or (own is not None and own.op_type in _BY_CHANNEL)


def _fused(graph: Graph, found: _Attention) -> Iterator[NodeProto]:
    """Yield the operator with what it is given, and have it make what the last node made."""
    names = []
    for operand, what in zip(found.operands, ("queries", "keys", "values"), strict=True):
        names.append(operand.tensor)
        if operand.columns is not None:
            names[-1] = f"{operand.tensor}_{what}"
            graph.tell(names[-1], operand.tensor, len(operand.columns))
            yield from _layer(graph, operand.tensor, operand.columns, names[-1])
    scale = found.scores.scale * found.operands[0].scale * found.operands[1].scale
    out, name = found.end.output[0], found.end.name
    found.end.output[0], found.end.name = f"{out}_by_parts", f"{name}_by_parts"
    joined = out if found.end.op_type == "Reshape" else f"{out}_joined"
    given = [*names, "", "", found.scores.bias] if found.scores.bias else names
    own = f"{CONTRIBUTED}:MultiHeadAttention"
    settings: dict[str, Any] = {"num_heads": found.heads, "scale": scale}
    yield node(own, given, (joined,), found.softmax, found.softmax.name, **settings)
    if joined != out:
        shape = graph.hold(f"{out}_shape", np.array([0, 0, found.heads, -1]))
        yield node("Reshape", (joined, shape), (out,), found.end, name)


def _layer(graph: Graph, name: str, columns: Array, out: str) -> Iterator[NodeProto]:
    """Yield a linear layer with some of the outputs of another."""
    linear, own = graph.linear(name), graph.made_by[name]
    if linear is None:
        copy = onnx.NodeProto()
        copy.CopyFrom(own)
        copy.name, copy.output[0] = f"node_{out}", out
        for at in _BY_CHANNEL[own.op_type]:
            value = graph.constant(own.input[at]) if at < len(own.input) else None
            if value is not None and value.size > 1:
                copy.input[at] = graph.hold(f"{out}_{at}", value[..., columns])
        yield copy
        return
    weight, bias = graph.constant(linear.weight), graph.constant(linear.bias)
    held = graph.hold(f"{out}_weight", np.asarray(weight)[:, columns])
    product = f"{out}_product" if bias is not None else out
    graph.tell(product, name, len(columns))
    yield node("MatMul", (linear.given, held), (product,), linear.product)
    if bias is not None:
        added = graph.hold(f"{out}_bias", bias[columns])
        yield node("Add", (product, added), (out,), linear.product)
