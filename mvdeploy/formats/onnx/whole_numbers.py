"""Graphs with pairs of QuantizeLinear and DequantizeLinear, as ONNX Runtime and others take them.

`standard` writes them so that any runtime which knows such pairs fuses them: weights in the layout
of the operator that reads them, biases in 32 bits with the scale that the products have.

`fused` writes what ONNX Runtime makes of them itself, but better: convolutions with the channels
last (QLinearConv of its own domain), where it has far faster kernels; linear layers with float
results (MatMulIntegerToFloat), or with scales of what they are fed that are found in every
inference (DynamicQuantizeMatMul); what lies between in whole numbers too (QLinearAdd,
QLinearSigmoid, …); SiLU of floats as one operator (QuickGelu).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from mvdeploy.formats.onnx import CONTRIBUTED
from mvdeploy.formats.onnx._graph import Graph, allow_contributed, attribute, node
from mvdeploy.quantization import LAST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx import NodeProto

    from mvdeploy.formats.onnx._graph import Array

_ALIKE = (
    *("QuantizeLinear", "DequantizeLinear", "QuickGelu", "Relu", "Clip", "HardSwish", "Sigmoid"),
    "QLinearSigmoid",
)
"""Operators that treat every number alike: the layout does not matter to them."""
_PAIRWISE = ("Add", "Mul", "QLinearAdd", "QLinearMul")
_JOINING = ("Concat", "QLinearConcat")
_INPUTS = {
    "Add": slice(2),
    "Mul": slice(2),
    "Concat": slice(None),
    "QLinearAdd": slice(0, 4, 3),
    "QLinearMul": slice(0, 4, 3),
    "QLinearConcat": slice(2, None, 3),
}
"""Operators of several tensors → which of the inputs these are."""
_ON_NUMBERS = {
    "Add": "QLinearAdd",
    "Mul": "QLinearMul",
    "Sigmoid": "QLinearSigmoid",
    "Concat": "QLinearConcat",
}
"""Operators without weights → ONNX Runtime's own, which read and make whole numbers."""


def standard(model: onnx.ModelProto) -> None:
    """Rewrite a graph for any runtime; see above. The model is changed."""
    graph = Graph(model)
    _lay_out(graph)
    made: list[NodeProto] = []
    for own in graph.nodes:
        if own.op_type == "Conv" and _whole(graph, own) is not None:
            made += _whole_bias(graph, own)
        made.append(own)
    graph.replace(made)


def fused(model: onnx.ModelProto) -> None:
    """Rewrite a graph for ONNX Runtime; see above. The model is changed."""
    graph = Graph(model)
    _lay_out(graph)
    graph.replace(_with_products(graph))
    graph.replace(_with_gelu(graph))
    graph.replace(_Layouts(graph).rewritten())
    allow_contributed(model)


@dataclasses.dataclass(frozen=True)
class _Whole:
    """What an operator with whole numbers reads.

    Attributes:
        given: what it is fed, as floats before it is quantised.
        numbers: the same in whole numbers.
        scale: of it.
        zero: its zero point.
        weight: in whole numbers, output channels first.
        weight_scale: of each output channel.
        dynamic: the scale is found in every inference.
    """

    given: str
    numbers: str
    scale: str
    zero: str
    weight: Array
    weight_scale: Array
    dynamic: bool


def _whole(graph: Graph, own: NodeProto) -> _Whole | None:
    """Return what an operator reads if that are whole numbers."""
    fed, weight = (graph.made_by.get(name) for name in own.input[:2])
    turned = weight is not None and weight.op_type == "Transpose"
    if weight is not None and turned:
        weight = graph.made_by.get(weight.input[0])
    if fed is None or weight is None:
        return None
    if fed.op_type != "DequantizeLinear" or weight.op_type != "DequantizeLinear":
        return None
    numbers, scale = graph.constant(weight.input[0]), graph.constant(weight.input[1])
    quantised = graph.made_by.get(fed.input[0])
    if numbers is None or scale is None or quantised is None:
        return None
    if own.op_type == "MatMul" and not turned:
        numbers = numbers.T
    dynamic = graph.constant(fed.input[1]) is None
    given = quantised.input[0]
    zero = fed.input[2] if len(fed.input) > 2 else ""
    return _Whole(given, fed.input[0], fed.input[1], zero, numbers, scale, dynamic)


def _lay_out(graph: Graph) -> None:
    """Hold weights as they are read, each with zero points of its own.

    The exporter shares the zero points of weights of one size, and a weight that several operators
    read; ONNX Runtime replaces both once for each operator whose weight it makes unsigned, and
    fails at the second (1.32). So each operator has its own.
    """
    made: list[NodeProto] = []
    taken: set[str] = set()
    for own in graph.nodes:
        made += _laid_out(graph, own, taken)
    graph.replace(made)


def _laid_out(graph: Graph, own: NodeProto, taken: set[str]) -> Iterator[NodeProto]:
    """Yield what makes floats of a weight, for each operator that reads it; or else the node."""
    source = graph.made_by.get(own.input[0]) if own.op_type == "Transpose" else own
    weight = None if source is None else graph.constant(source.input[0])
    if source is None or source.op_type != "DequantizeLinear" or weight is None:
        yield own
        return
    name, axis = source.input[0], attribute(source, "axis", 1)
    zeros = np.zeros(weight.shape[axis], np.int8)
    if source is not own and weight.ndim == 2:
        weight, axis = weight.T, 1 - axis
        name = graph.hold(f"{name}_transposed", weight)
    elif source is not own:
        yield own
        return
    out = own.output[0]
    for at, reader in enumerate(graph.read_by[out]):
        floats = f"{out}_{at}" if at else out
        if name in taken:
            name = graph.hold(name, weight)
        taken.add(name)
        reader.input[list(reader.input).index(out)] = floats
        inputs = (name, source.input[1], graph.hold(f"{name}_zero_point", zeros))
        yield node("DequantizeLinear", inputs, (floats,), own, "" if at else own.name, axis=axis)


def _whole_bias(graph: Graph, own: NodeProto) -> Iterator[NodeProto]:
    """Have a convolution read its bias in whole numbers; yield what makes it floats."""
    whole = _whole(graph, own)
    bias = graph.constant(own.input[2]) if len(own.input) > 2 else None
    scale = graph.constant(whole.scale) if whole is not None else None
    if whole is None or bias is None or scale is None:
        return
    both = (np.float32(scale) * whole.weight_scale).astype(np.float32)
    numbers = graph.hold(f"{own.input[2]}_int32", _whole_sum(bias, both))
    steps = graph.hold(f"{own.input[2]}_int32_scale", both)
    out = f"{numbers}_dequantized"
    own.input[2] = out
    yield node("DequantizeLinear", (numbers, steps), (out,), own, axis=0)


def _whole_sum(bias: Array, scale: Array) -> Array:
    limits = np.iinfo(np.int32)
    exact = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
    return np.clip(exact, limits.min, limits.max).astype(np.int32)


def _with_products(graph: Graph) -> list[NodeProto]:
    """Return the nodes with ONNX Runtime's own for what is computed in whole numbers."""
    made: list[NodeProto] = []
    skipped: set[str] = set()
    for own in graph.nodes:
        if own.output and own.output[0] in skipped:
            continue
        whole = _whole(graph, own) if own.op_type in ("Conv", "MatMul", "Gemm") else None
        result = _result(graph, own) if own.op_type in (*_ON_NUMBERS, "Conv") else None
        if own.op_type == "Conv" and whole is not None and result is not None:
            made += _convolution(graph, own, whole, result)
        elif own.op_type in _ON_NUMBERS and result is not None and _is_fed_numbers(graph, own):
            made += _on_numbers(graph, own, result)
        elif own.op_type == "Conv" or whole is None:
            made.append(own)
        else:
            bias, out = _bias(graph, own)
            skipped |= {out.output[0]} - set(own.output)
            made += _product(graph, own, whole, bias, out.output[0])
    return made


@dataclasses.dataclass(frozen=True)
class _Result:
    """What an operator makes in whole numbers.

    Attributes:
        quantise: what makes them of its floats. It is in the operator then: the node stays, and
            nobody reads what it makes.
        limits: between which whole numbers a clamp in between leaves it; None without one, or where
            these are the least and the largest there are.
    """

    quantise: NodeProto
    limits: tuple[int, int] | None

    def taken_over(self) -> str:
        """Return the name of the whole numbers, which another node is to make."""
        numbers = self.quantise.output[0]
        self.quantise.output[0] = f"{numbers}_before"
        return str(numbers)


def _result(graph: Graph, own: NodeProto) -> _Result | None:
    """Return what an operator makes if whole numbers are made of it, and nothing else."""
    clamp, readers = None, graph.read_by[own.output[0]]
    if len(readers) == 1 and readers[0].op_type in ("Clip", "Relu"):
        clamp = readers[0]
        readers = graph.read_by[clamp.output[0]]
    if len(readers) != 1 or readers[0].op_type != "QuantizeLinear":
        return None
    scale, zero = map(graph.constant, readers[0].input[1:3])
    if scale is None or zero is None:
        return None
    if clamp is None:
        return _Result(readers[0], None)
    floats = [graph.constant(name) if name else None for name in clamp.input[1:]]
    low, high = [*floats, None, None][:2] if clamp.op_type == "Clip" else (np.zeros(()), None)
    ends = np.iinfo(zero.dtype)
    # As numbers are quantised in order, those that were clamped are the clamped ones' numbers.
    least, most = (
        end
        if at is None
        else int(np.clip(np.rint(np.float32(at) / scale) + zero, ends.min, ends.max))
        for at, end in ((low, ends.min), (high, ends.max))
    )
    bites = (least, most) != (ends.min, ends.max)
    return _Result(readers[0], (least, most) if bites else None)


def _is_fed_numbers(graph: Graph, own: NodeProto) -> bool:
    given = [graph.made_by.get(name) for name in own.input]
    return all(g is not None and g.op_type == "DequantizeLinear" for g in given)


def _on_numbers(graph: Graph, own: NodeProto, result: _Result) -> Iterator[NodeProto]:
    """Yield an operator without weights that reads and makes whole numbers."""
    given = [name for made in map(graph.made_by.__getitem__, own.input) for name in made.input[:3]]
    wanted = list(result.quantise.input[1:3])
    axis = {"axis": attribute(own, "axis")} if own.op_type == "Concat" else {}
    inputs = wanted + given if axis else given + wanted
    kind = f"{CONTRIBUTED}:{_ON_NUMBERS[own.op_type]}"
    numbers = result.taken_over()
    out = numbers if result.limits is None else f"{numbers}_unclamped"
    yield node(kind, inputs, (out,), own, own.name, **axis)
    yield from _clamped(graph, out, numbers, own, result)


def _clamped(
    graph: Graph, given: str, out: str, serves: NodeProto, result: _Result
) -> Iterator[NodeProto]:
    if result.limits is not None:
        limits = [graph.hold(f"{out}_limit", np.array(at, np.uint8)) for at in result.limits]
        yield node("Clip", (given, *limits), (out,), serves)


def _bias(graph: Graph, own: NodeProto) -> tuple[Array | None, NodeProto]:
    """Return the bias of a product, and the node that adds it: itself where that is part of it."""
    if own.op_type == "Gemm":
        return (graph.constant(own.input[2]) if len(own.input) > 2 else None), own
    readers = graph.read_by[own.output[0]]
    if len(readers) == 1 and readers[0].op_type == "Add" and own.output[0] not in graph.outputs:
        others = [name for name in readers[0].input if name != own.output[0]]
        bias = graph.constant(others[0]) if others else None
        if bias is not None and bias.ndim == 1:
            return bias, readers[0]
    return None, own


def _product(
    graph: Graph, own: NodeProto, whole: _Whole, bias: Array | None, out: str
) -> Iterator[NodeProto]:
    base = out
    weight = graph.hold(f"{base}_weight", whole.weight.T)
    scale = graph.hold(f"{base}_weight_scale", whole.weight_scale)
    added = graph.hold(f"{base}_bias", bias) if bias is not None else ""
    if whole.dynamic:
        found = (whole.given, weight, scale, "", added)
        yield node(f"{CONTRIBUTED}:DynamicQuantizeMatMul", found, (out,), own, own.name)
        return
    inputs = (whole.numbers, weight, whole.scale, scale, whole.zero, "", added)
    yield node(f"{CONTRIBUTED}:MatMulIntegerToFloat", inputs, (out,), own, own.name)


def _convolution(
    graph: Graph, own: NodeProto, whole: _Whole, result: _Result
) -> Iterator[NodeProto]:
    """Yield a convolution with the channels last; a transposition stands before and behind it."""
    if whole.weight.ndim != 4:
        yield own
        return
    out = own.output[0]
    bias = graph.constant(own.input[2]) if len(own.input) > 2 else None
    step = np.float32(graph.constant(whole.scale)) * whole.weight_scale
    inputs = [
        f"{whole.numbers}{LAST}",
        whole.scale,
        whole.zero,
        graph.hold(f"{out}_weight", whole.weight),
        graph.hold(f"{out}_weight_scale", whole.weight_scale),
        graph.hold(f"{out}_weight_zero", np.zeros(len(whole.weight), np.int8)),
        *result.quantise.input[1:3],
    ]
    if bias is not None:
        inputs.append(graph.hold(f"{out}_bias", _whole_sum(bias, step)))
    kept = {entry.name: helper.get_attribute_value(entry) for entry in own.attribute}
    if isinstance(kept.get("auto_pad"), bytes):
        kept["auto_pad"] = kept["auto_pad"].decode()
    yield _to_last(whole.numbers, inputs[0], own)
    numbers = result.taken_over()
    made = numbers if result.limits is None else f"{numbers}_unclamped"
    kind = f"{CONTRIBUTED}:QLinearConv"
    yield node(kind, inputs, (f"{made}{LAST}",), own, own.name, channels_last=1, **kept)
    yield _to_first(f"{made}{LAST}", made, own)
    yield from _clamped(graph, made, numbers, own, result)


def _with_gelu(graph: Graph) -> list[NodeProto]:
    """Return the nodes with x·sigmoid(x) as one."""
    made = []
    for own in graph.nodes:
        gate = next(
            (
                n
                for n in map(graph.made_by.get, own.input)
                if n is not None and n.op_type == "Sigmoid" and n.input[0] in own.input
            ),
            None,
        )
        if own.op_type != "Mul" or gate is None or gate.output[0] == gate.input[0]:
            made.append(own)
            continue
        kind = f"{CONTRIBUTED}:QuickGelu"
        made.append(node(kind, gate.input, own.output, own, own.name, alpha=1.0))
    return made


class _Layouts:
    """Has what lies between convolutions with the channels last stay so.

    Going through the nodes in order, it keeps of each tensor in which layouts it is there; one that
    is needed and is not there is made by a transposition.

    Args:
        graph: with a transposition before and behind each such convolution.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._last: dict[str, str] = {}
        self._pending: dict[str, NodeProto] = {}  # what would make it with the channels second
        self._made: list[NodeProto] = []

    def rewritten(self) -> list[NodeProto]:
        """Return the nodes."""
        for own in self._graph.nodes:
            if own.op_type == "Transpose" and own.output[0].endswith(LAST):
                self._last.setdefault(own.input[0], self._made_last(own))
            elif own.op_type == "Transpose" and own.input[0].endswith(LAST):
                self._later(own.output[0], own.input[0], own)
            elif self._indifferent(own):
                self._turned(own)
            else:
                for name in own.input:
                    self._first(name)
                self._made.append(own)
        for name in self._graph.outputs:
            self._first(name)
        return self._made

    def _made_last(self, own: NodeProto) -> str:
        """Return a tensor with the channels last; it is made where it is not there."""
        source = own.input[0]
        if source not in self._last:
            self._first(source)
            self._made.append(own)
            return str(own.output[0])
        return self._last[source]

    def _later(self, name: str, last: str, own: NodeProto) -> None:
        self._last[name] = last
        self._pending[name] = own

    def _first(self, name: str) -> None:
        """Have a tensor made with the channels second, if it is not there."""
        if name in self._pending:
            self._made.append(self._pending.pop(name))

    def _indifferent(self, own: NodeProto) -> bool:
        """Say whether an operator can be computed with the channels last, and is fed so."""
        if own.op_type in _ALIKE:
            scale = self._graph.constant(own.input[1]) if len(own.input) > 1 else None
            return own.input[0] in self._last and (scale is None or scale.size == 1)
        joins = own.op_type in _JOINING and attribute(own, "axis") == 1
        if not joins and own.op_type not in _PAIRWISE:
            return False
        return all(own.input[at] in self._last for at in _tensors(own))

    def _turned(self, own: NodeProto) -> None:
        out = own.output[0]
        copy = onnx.NodeProto()
        copy.CopyFrom(own)
        for at in _tensors(own):
            copy.input[at] = self._last[own.input[at]]
        copy.output[0] = f"{out}{LAST}"
        if own.op_type in _JOINING:
            copy.attribute[0].i = 3
        self._made.append(copy)
        self._later(out, copy.output[0], _to_first(copy.output[0], out, own))


def _tensors(own: NodeProto) -> range:
    """Return which inputs of an operator are tensors; others are their scales and zero points."""
    return range(len(own.input))[_INPUTS.get(own.op_type, slice(1))]


def _to_last(name: str, last: str, serves: NodeProto) -> NodeProto:
    return node("Transpose", (name,), (last,), serves, f"{name}/last", perm=(0, 2, 3, 1))


def _to_first(last: str, name: str, serves: NodeProto) -> NodeProto:
    return node("Transpose", (last,), (name,), serves, f"{name}/first", perm=(0, 3, 1, 2))


def found_scales() -> dict[Any, Any]:
    """Return what the exporter writes for operators that it has not: scales that are found."""
    import torch
    from onnxscript import opset18 as op

    from mvdeploy.quantization import rewriting  # noqa: F401  registers them

    decomposed = torch.ops.quantized_decomposed

    def choose(x: Any, least: int, most: int, eps: float, dtype: int) -> Any:
        _, scale, zero = op.DynamicQuantizeLinear(x)
        return scale, zero

    def quantize(x: Any, scale: Any, zero: Any, least: int, most: int, dtype: int) -> Any:
        return op.QuantizeLinear(x, scale, zero)

    def dequantize(x: Any, scale: Any, zero: Any, least: int, most: int, dtype: int) -> Any:
        return op.DequantizeLinear(x, scale, zero)

    return {
        decomposed.choose_qparams.tensor: choose,
        decomposed.quantize_per_tensor.tensor: quantize,
        decomposed.dequantize_per_tensor.tensor: dequantize,
    }
