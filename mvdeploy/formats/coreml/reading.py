"""Core ML packages of others: what they take and give, and their operators.

A package does not keep the modules that its operators came from.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mvdeploy.errors import UsageError
from mvdeploy.formats._reading import Counted, FileFacts
from mvdeploy.records import Operator, TensorInfo
from mvdeploy.records.artifact import UNPLACED
from mvdeploy.verify import mil

_TYPES = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}


def read(path: Path) -> FileFacts:
    """Read an ``.mlpackage`` with an ML program.

    Raises:
        UsageError: it is none, or takes or gives what is no tensor.
        EngineError: it is damaged, or has operators that are not known.
    """
    program = mil.load(path)
    operations = program.operations()
    results = {out.name: out for op in operations for out in op.outputs}
    results |= {value.name: value for value in program.inputs}
    shapes = {w.name: w.shape for op in operations for w in op.weights.values()}
    half = any(out.dtype == "fp16" for op in operations for out in op.outputs)
    return FileFacts(
        inputs=tuple(
            _image(value) if value.name in program.images else _tensor(value, "input", path)
            for value in program.inputs
        ),
        outputs=tuple(_tensor(results[name], "output", path) for name in program.outputs),
        operators=tuple(_operator(op) for op in operations),
        precision="fp16" if half else "fp32",
        parameters=sum(_size(shape) for shape in shapes.values()),
        count=functools.partial(_count, operations),
    )


def held_weights(path: Path) -> frozenset[str]:
    """Return the sha256 of every constant tensor that operators of a package take, decompressed.

    Raises:
        UsageError: it has no ML program.
        EngineError: it is damaged, or has operators that are not known.
    """
    program = mil.load(path)
    taken = {value.name for op in program.operations() for value in op.weights.values()}
    constants = (program.constants[name] for name in taken)
    return frozenset(
        hashlib.sha256(np.ascontiguousarray(constant).tobytes()).hexdigest()
        for constant in constants
        if isinstance(constant, np.ndarray) and constant.dtype.kind == "f"
    )


def _image(value: mil.Value) -> TensorInfo:
    return TensorInfo(value.name, _shape(value), "uint8", "NCHW")


def _tensor(value: mil.Value, what: str, path: Path) -> TensorInfo:
    dtype = _TYPES.get(value.dtype, value.dtype)
    if dtype.startswith(("dict", "list", "str")) and what == "input":
        raise UsageError(
            f"The {what} '{value.name}' of {path} is no tensor ({value.dtype}).",
            "Export a program that takes tensors or images alone.",
        )
    return TensorInfo(value.name, _shape(value), "string" if dtype[:3] in ("str", "dic") else dtype)


def _shape(value: mil.Value) -> tuple[int | str, ...]:
    return tuple(f"dim{i}" if n is None else n for i, n in enumerate(value.shape))


def _size(shape: Sequence[int | None]) -> int:
    return math.prod(n or 1 for n in shape)


def _operator(op: mil.Operation) -> Operator:
    inputs = tuple(dict.fromkeys(value.name for value in op.inputs))
    return Operator(op.name, op.type, UNPLACED, inputs, tuple(out.name for out in op.outputs))


def _count(operations: Sequence[mil.Operation], inputs: Sequence[TensorInfo]) -> Counted:
    """Count the multiply-accumulates of a program, by the true rule of docs/models.md."""
    total, uncounted = 0, dict[str, None]()
    for op in operations:
        rule = _RULES.get(op.type)
        free = any(None in value.shape for value in (*op.inputs, *op.outputs))
        if op.type in _MULTIPLY or (rule is not None and free):
            uncounted.setdefault(op.type)
        elif rule is not None:
            total += rule(op)
    return Counted(total, tuple(uncounted))


def _weight(op: mil.Operation, parameter: str) -> mil.Value:
    """Return a weight, or what is computed in its place."""
    return op.weights[parameter] if parameter in op.weights else op.inputs[1]


def _conv(op: mil.Operation) -> int:
    return _size(op.outputs[0].shape) * _size(_weight(op, "weight").shape[1:])


def _transposed(op: mil.Operation) -> int:
    return _size(op.inputs[0].shape) * _size(_weight(op, "weight").shape[1:])


def _linear(op: mil.Operation) -> int:
    inner = _weight(op, "weight").shape[-1] or 1
    return _size(op.outputs[0].shape) * (inner + ("bias" in op.weights))


def _matmul(op: mil.Operation) -> int:
    left = op.weights["x"] if "x" in op.weights else op.inputs[0]
    inner = left.shape[-2] if op.attributes.get("transpose_x") else left.shape[-1]
    return _size(op.outputs[0].shape) * (inner or 1)


def _attention(op: mil.Operation) -> int:
    query, key, value = (given.shape for given in op.inputs[:3])
    return _size(query[:-1]) * (key[-2] or 1) * ((query[-1] or 1) + (value[-1] or 1))


_RULES: dict[str, Callable[[mil.Operation], int]] = {
    "conv": _conv,
    "conv_transpose": _transposed,
    "linear": _linear,
    "matmul": _matmul,
    "scaled_dot_product_attention": _attention,
}
_MULTIPLY = ("einsum", "lstm", "gru", "rnn")
