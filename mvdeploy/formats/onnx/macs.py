"""Multiply-accumulates of an ONNX graph, by the true rule of docs/models.md."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mvdeploy.formats._reading import Counted
from mvdeploy.records import TensorInfo

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]


class _Unknown(Exception):
    """A shape that a rule needs is not known."""


def count(model: onnx.ModelProto, inputs: Sequence[TensorInfo]) -> Counted:
    """Count the multiply-accumulates of one inference.

    Args:
        model: its weights may be in other files.
        inputs: with fixed shapes.

    Returns:
        The sum, and what is not in it: types of operators that multiply and have no rule, or whose
        shapes cannot be inferred.
    """
    graph = _Graph(_inferred(model, inputs))
    total, uncounted = 0, dict[str, None]()
    for node in graph.nodes:
        rule = _RULES.get(node.op_type)
        if rule is None:
            if _multiplies(node):
                uncounted.setdefault(node.op_type)
            continue
        try:
            total += rule(graph, node)
        except (_Unknown, IndexError):
            uncounted.setdefault(node.op_type)
    return Counted(total, tuple(uncounted))


def _inferred(model: onnx.ModelProto, inputs: Sequence[TensorInfo]) -> onnx.ModelProto:
    """Return the model with the shapes of its tensors, as far as they can be inferred."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.ir_version = max(fixed.ir_version, 4)  # before, only weights among the inputs are known
    for node in fixed.graph.node:
        _plain(node)
    shapes = {tensor.name: tensor.shape for tensor in inputs}
    for value in fixed.graph.input:
        for dim, size in zip(
            value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False
        ):
            dim.Clear()
            dim.dim_value = int(size)
    if any(isinstance(_dim(d), str) for v in model.graph.input for d in _dims(v)):
        # What was inferred for any inputs would stand in the way.
        del fixed.graph.value_info[:]
    try:
        return onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    except Exception:  # what it says of a graph that it does not understand
        return fixed


_LIKE: dict[str, tuple[str, slice]] = {
    **dict.fromkeys(
        ("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"), ("Identity", slice(1))
    ),
    "QLinearAdd": ("Add", slice(0, 4, 3)),
    "QLinearMul": ("Mul", slice(0, 4, 3)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", slice(1)),
    "QLinearAveragePool": ("AveragePool", slice(1)),
    "QLinearConcat": ("Concat", slice(2, None, 3)),
    "QGemm": ("Gemm", slice(0, 7, 3)),
    **dict.fromkeys(
        ("Gelu", "FastGelu", "QuickGelu", "BiasGelu", "SkipLayerNormalization"),
        ("Identity", slice(1)),
    ),
    "FusedConv": ("Conv", slice(3)),
    "FusedGemm": ("Gemm", slice(3)),
}
"""ONNX Runtime's own operators → what has the same shapes, and which of the inputs that takes."""


def _plain(node: onnx.NodeProto) -> None:
    """Make an operator of ONNX Runtime's own one that shapes can be inferred for."""
    if node.op_type in _LIKE and node.domain == "com.microsoft":
        kind, taken = _LIKE[node.op_type]
        inputs = node.input[taken]
        del node.input[:]
        node.input.extend(inputs)
        del node.output[1:]
        node.op_type, node.domain = kind, ""


def _dims(value: onnx.ValueInfoProto) -> Any:
    return value.type.tensor_type.shape.dim


def _dim(dim: Any) -> int | str:
    return int(dim.dim_value) if dim.dim_value > 0 else str(dim.dim_param or "?")


class _Graph:
    """The nodes of a graph and the shapes of its tensors."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.nodes = list(graph.node)
        self._shapes: dict[str, Shape] = {}
        for value in (*graph.value_info, *graph.input, *graph.output):
            if value.type.tensor_type.HasField("shape"):
                sizes = [_dim(dim) for dim in _dims(value)]
                if all(isinstance(size, int) for size in sizes):
                    self._shapes[value.name] = tuple(int(size) for size in sizes)
        self._weights = {tensor.name for tensor in graph.initializer}
        for tensor in graph.initializer:
            self._shapes[tensor.name] = tuple(tensor.dims)
        self._readers = Counter(name for node in self.nodes for name in node.input if name)
        self._reader = {name: node for node in self.nodes for name in node.input if name}
        self._maker = {name: node for node in self.nodes for name in node.output if name}

    def shape(self, name: str) -> Shape:
        """Return the shape of a tensor."""
        if name not in self._shapes:
            raise _Unknown(name)
        return self._shapes[name]

    def is_weight(self, name: str) -> bool:
        """Say whether a tensor is a constant, also one that is made from it by dequantising."""
        made = self._maker.get(name)
        while made is not None and made.op_type in _THROUGH and made.input:
            name = made.input[0]
            made = self._maker.get(name)
        return name in self._weights or (made is not None and made.op_type == "Constant")

    def has_bias(self, node: onnx.NodeProto) -> bool:
        """Say whether the only reader of a product adds a vector of constants to it."""
        out = node.output[0]
        reader = self._reader.get(out)
        if self._readers[out] != 1 or reader is None or reader.op_type != "Add":
            return False
        others = [name for name in reader.input if name != out]
        return len(others) == 1 and self.is_weight(others[0]) and len(self.shape(others[0])) == 1


_THROUGH = ("DequantizeLinear", "Identity", "Cast", "Transpose", "Reshape")

Rule = Callable[[_Graph, Any], int]


def _convolution(weight: int) -> Rule:
    def macs(graph: _Graph, node: Any) -> int:
        # The weight is (c_out, c_in / groups, *kernel).
        return math.prod(graph.shape(node.output[0])) * math.prod(
            graph.shape(node.input[weight])[1:]
        )

    return macs


def _transposed(graph: _Graph, node: Any) -> int:
    # The weight is (c_in, c_out / groups, *kernel).
    return math.prod(graph.shape(node.input[0])) * math.prod(graph.shape(node.input[1])[1:])


def _product(right: int, bias: int | None = None) -> Rule:
    def macs(graph: _Graph, node: Any) -> int:
        left, out = graph.shape(node.input[0]), math.prod(graph.shape(node.output[0]))
        inner = left[-1] if left else 1
        own = bias is not None and len(node.input) > bias and bool(node.input[bias])
        linear = graph.is_weight(node.input[right])
        return out * (inner + (own or (linear and graph.has_bias(node))))

    return macs


def _gemm(graph: _Graph, node: Any) -> int:
    a = graph.shape(node.input[0])
    flipped = any(at.name == "transA" and at.i for at in node.attribute)
    inner = a[0] if flipped else a[-1]
    has_bias = len(node.input) > 2 and bool(node.input[2])
    vector = has_bias and len(graph.shape(node.input[2])) == 1
    return math.prod(graph.shape(node.output[0])) * (inner + vector)


def _attention(graph: _Graph, node: Any) -> int:
    """Two products of the standard operator, which takes (batch, heads, tokens, width)."""
    query, key, value = (graph.shape(name) for name in node.input[:3])
    if not len(query) == len(key) == len(value) == 4:
        raise _Unknown(node.output[0])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _joined_heads(graph: _Graph, node: Any) -> int:
    """Two products of ONNX Runtime's operator, which takes (batch, tokens, heads · width)."""
    query, key, value = (graph.shape(name) for name in node.input[:3])
    if not len(query) == len(key) == len(value) == 3:
        raise _Unknown(node.output[0])
    return query[0] * query[1] * key[1] * (query[2] + value[2])


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("Conv", "ConvInteger", "NhwcConv"), _convolution(1)),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed,
    **dict.fromkeys(
        ("MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat"), _product(1)
    ),
    "DynamicQuantizeMatMul": _product(1),
    "QLinearMatMul": _product(3),
    "Gemm": _gemm,
    "Attention": _attention,
    "MultiHeadAttention": _joined_heads,
}
"""Operators whose work is counted."""

_MULTIPLY = {
    *("Einsum", "LSTM", "GRU", "RNN", "DeformConv", "QAttention"),
    *("GroupQueryAttention", "PackedAttention", "PackedMultiHeadAttention"),
    *("DecoderMaskedMultiHeadAttention", "MatMulNBits", "MatMulBnb4", "DynamicQuantizeLSTM"),
    *("DFT", "STFT", "SequenceMap", "LongformerAttention", "QOrderedMatMul"),
    *("QOrderedAttention", "MoE", "QLinearConvTranspose"),
}
"""Operators that multiply and have no rule."""


def _multiplies(node: Any) -> bool:
    """Say whether an operator without a rule multiplies, or one inside it does."""
    from mvdeploy.formats.onnx.reading import subgraphs

    inner = (n for attribute in node.attribute for g in subgraphs(attribute) for n in g.node)
    return node.op_type in _MULTIPLY or any(n.op_type in _RULES or _multiplies(n) for n in inner)
