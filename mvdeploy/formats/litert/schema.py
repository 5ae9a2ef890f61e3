"""The flatbuffer of a ``.tflite`` file, as objects."""

from __future__ import annotations

import copy
import functools
import hashlib
from typing import Any

import numpy as np

IDENTIFIER = b"TFL3"
"""Stands in a file behind the first offset."""

_OFFSET = 4
"""Bytes in a file that lead to a tensor or an operator."""

_VERSION = 3
"""Of the operators QUANTIZE and DEQUANTIZE, which take and make half precision too."""


def unpacked(data: bytes) -> Any:
    """Return a file as objects (``ModelT``).

    Raises:
        ValueError: it names more than it can hold; what else is damaged ends in errors of any kind.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data)
    named = 0
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        named += 1 + graph.TensorsLength() + graph.OperatorsLength()
        # The same table may stand in many places, which would be as many objects.
        if named * _OFFSET > len(data):
            raise ValueError("it names more tensors and operators than there is room for")
    return schema.ModelT.InitFromObj(model)


def packed(model: Any) -> bytes:
    """Return objects as a file."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def held(data: bytes) -> frozenset[str]:
    """Return the sha256 of every tensor of real numbers that a file holds."""
    model = unpacked(data)
    graph = model.subgraphs[0]
    buffers = {tensor.buffer for tensor in graph.tensors if is_real(tensor)}
    stored = (model.buffers[number].data for number in buffers)
    return frozenset(hashlib.sha256(bytes(data)).hexdigest() for data in stored if data is not None)


def is_real(tensor: Any) -> bool:
    """Say whether a tensor is of real numbers, or of whole ones that stand for these."""
    if type_of(tensor) in ("FLOAT32", "FLOAT16", "FLOAT64"):
        return True
    scale = tensor.quantization.scale if tensor.quantization is not None else None
    return scale is not None and len(scale) > 0


def add_facts(model: Any, facts: dict[str, str]) -> None:
    """Store strings in a file, each under a name."""
    from ai_edge_litert import schema_py_generated as schema

    for name, fact in facts.items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(fact.encode(), np.uint8)
        entry.name, entry.buffer = name.encode(), len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or []), entry]


def constant(model: Any, tensor: Any) -> np.ndarray[Any, Any] | None:
    """Return the numbers of a tensor that a file holds; None for one that is computed."""
    from ai_edge_litert import schema_py_generated as schema

    data = model.buffers[tensor.buffer].data
    types = {schema.TensorType.FLOAT32: np.float32}
    if data is None or len(data) == 0 or tensor.type not in types:
        return None
    return np.frombuffer(bytes(data), types[tensor.type]).reshape(tensor.shape)


def buffer(numbers: np.ndarray[Any, Any]) -> Any:
    """Return what holds numbers in a file."""
    from ai_edge_litert import schema_py_generated as schema

    made = schema.BufferT()
    made.data = np.frombuffer(np.ascontiguousarray(numbers).tobytes(), np.uint8)
    return made


def add_whole(
    model: Any, like: int, numbers: np.ndarray[Any, Any], scale: np.ndarray[Any, Any]
) -> int:
    """Add whole numbers to a file, in the place of floats; return the number of the tensor.

    Args:
        model: the file.
        like: number of the tensor of floats.
        numbers: of 8 bits.
        scale: for each index of their first axis.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    tensor, described = copy.copy(graph.tensors[like]), schema.QuantizationParametersT()
    described.scale = scale.astype(np.float32)
    described.zeroPoint = np.zeros(len(scale), np.int64)
    described.quantizedDimension = 0
    tensor.name = text(tensor.name).encode() + b";whole"
    tensor.type, tensor.buffer = schema.TensorType.INT8, len(model.buffers)
    tensor.quantization = described
    model.buffers.append(buffer(numbers))
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def set_ends(model: Any) -> None:
    """Have a file take and return floats, each a tensor of its own.

    The converter has a program in whole numbers take and return these, and gives two results that
    are the same one tensor, which LiteRT then fails to run.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph, builtin = model.subgraphs[0], schema.BuiltinOperator
    whole = (schema.TensorType.INT8, schema.TensorType.UINT8)
    inputs, outputs = list(graph.inputs), list(graph.outputs)
    for place, old in enumerate(inputs):
        if graph.tensors[old].type in whole:
            inputs[place] = _add_floats(graph, old)
            graph.operators.insert(0, _operator(model, builtin.QUANTIZE, [inputs[place]], old))
            _reassign(model.signatureDefs[0].inputs, old, inputs[place])
    for place, old in enumerate(outputs):
        given, kind = [old], builtin.DEQUANTIZE
        if graph.tensors[old].type not in whole:
            if old not in outputs[:place]:
                continue
            given, kind = [old, _add_shape(model, graph.tensors[old].shape)], builtin.RESHAPE
        outputs[place] = _add_floats(graph, old)
        graph.operators.append(_operator(model, kind, given, outputs[place]))
        _reassign(model.signatureDefs[0].outputs, old, outputs[place])
    graph.inputs, graph.outputs = inputs, outputs


def _reassign(entries: Any, old: int, new: int) -> None:
    """Have the last entry of a signature that is a tensor be another one."""
    for entry in reversed(entries):
        if entry.tensorIndex == old:
            entry.tensorIndex = new
            return


def halve_constants(model: Any) -> None:
    """Have a file hold its floats in half precision; operators read them as what they were."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    added = []
    for old in range(len(graph.tensors)):
        tensor = graph.tensors[old]
        floats = constant(model, tensor)
        if floats is None or floats.size < 2:
            continue
        new = _add_floats(graph, old)
        tensor.type, tensor.buffer = schema.TensorType.FLOAT16, len(model.buffers)
        tensor.name = text(tensor.name).encode() + b";half"
        model.buffers.append(buffer(floats.astype(np.float16)))
        for operator in graph.operators:
            operator.inputs = [new if i == old else i for i in operator.inputs]
        added.append(_operator(model, schema.BuiltinOperator.DEQUANTIZE, [old], new))
    graph.operators = [*added, *graph.operators]


def _add_floats(graph: Any, like: int) -> int:
    """Add a tensor of floats like another; return its number."""
    from ai_edge_litert import schema_py_generated as schema

    tensor = copy.copy(graph.tensors[like])
    tensor.type, tensor.buffer, tensor.quantization = schema.TensorType.FLOAT32, 0, None
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _add_shape(model: Any, shape: Any) -> int:
    """Add a constant that is a shape; return its number."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    tensor = schema.TensorT()
    tensor.name, tensor.shape = b"shape", [len(shape)]
    tensor.type, tensor.buffer = schema.TensorType.INT32, len(model.buffers)
    model.buffers.append(buffer(np.asarray(shape, np.int32)))
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _operator(model: Any, builtin: int, given: list[int], made: int) -> Any:
    """Return an operator that makes one tensor."""
    from ai_edge_litert import schema_py_generated as schema

    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    if builtin not in codes:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 1 if builtin == schema.BuiltinOperator.RESHAPE else _VERSION
        model.operatorCodes.append(code)
        codes.append(builtin)
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = codes.index(builtin), given, [made]
    return operator


def drop_unused(model: Any) -> None:
    """Leave the numbers that nothing reads any more out of a file."""
    held = {entry.buffer for entry in model.metadata or []}
    for graph in model.subgraphs:
        used = {*graph.inputs, *graph.outputs}
        used.update(i for op in graph.operators for i in (*op.inputs, *op.outputs))
        for number, tensor in enumerate(graph.tensors):
            tensor.buffer = tensor.buffer if number in used else 0
            held.add(tensor.buffer)
    for number, unused in enumerate(model.buffers):
        if number not in held:
            unused.data = None


def kind(model: Any, operator: Any) -> str:
    """Return what an operator computes, such as ``CONV_2D``."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.customCode:
        return text(code.customCode)
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return _kinds().get(number, str(number))


def type_of(tensor: Any) -> str:
    """Return the element type of a tensor, such as ``FLOAT32``."""
    return _types().get(tensor.type, str(tensor.type))


def text(raw: bytes | str | None) -> str:
    """Return a name in a file."""
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw or ""


@functools.cache
def _kinds() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    members = vars(schema.BuiltinOperator).items()
    return {value: name for name, value in members if isinstance(value, int)}


@functools.cache
def _types() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    members = vars(schema.TensorType).items()
    return {value: name for name, value in members if isinstance(value, int)}
