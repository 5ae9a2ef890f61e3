"""LiteRT programs of others: what they take and give, their operators, and modules they tell of.

Names of tensors tell of modules in files of mvdeploy, and in those of litert-torch, whose scopes
are classes with the names of modules behind them: ``net.Net/torch.nn.modules.conv.Conv2d_stem;1``.
Nothing of a file is run, and no native code follows what is written in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvdeploy.errors import UsageError
from mvdeploy.files import reading
from mvdeploy.formats._reading import SIGNATURE, Counted, FileFacts
from mvdeploy.formats.litert import schema
from mvdeploy.records import ModuleInfo, Operator, TensorInfo
from mvdeploy.records.artifact import UNPLACED
from mvdeploy.records.tensor import Quantization

_TYPES = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "FLOAT64": "float64",
    "COMPLEX64": "complex64",
    "COMPLEX128": "complex128",
    "STRING": "string",
    "BOOL": "bool",
    **{f"{sign}INT{n}": f"{sign.lower()}int{n}" for sign in ("", "U") for n in (8, 16, 32, 64)},
}
_OWN = "mvdeploy.model"
"""A fact that files of mvdeploy hold."""

_SCOPE = re.compile(r"(?:[\w<>]+\.)+(_*[^\W_]\w*?)_(\w+)$")
"""A class with its module, and the name under which another module has it."""

_ROOT = re.compile(r"(?:[\w<>]+\.)+(\w+)$")
_SUMS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")
"""Operators that multiply and add."""

_OTHER_SUMS = ("TRANSPOSE_CONV", "CONV_3D", "UNIDIRECTIONAL_SEQUENCE_LSTM", "LSTM", "RNN", "SVDF")


def read(path: Path) -> FileFacts:
    """Read a ``.tflite`` file.

    Raises:
        UsageError: it is none, is damaged, or has no signature of tensors.
    """
    try:
        data = reading.contents(path, limit=reading.WEIGHTS, what="a program")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).", "Check the path.") from error
    if data[4:8] != schema.IDENTIFIER:
        raise UsageError(
            f"{path} is {'no LiteRT program' if data else 'empty'}.",
            "Give a .tflite file; 'mvdeploy export --format litert' makes one.",
        )
    try:
        return _facts(schema.unpacked(data))
    except Exception as error:  # whatever offsets that lead nowhere end in
        raise damaged(path) from error


def damaged(path: Path) -> UsageError:
    """Word the error for a file that cannot be followed."""
    return UsageError(
        f"{path} is damaged, or of a version of LiteRT that is not known here.",
        "Export the model again, or fetch the file again.",
    )


def _facts(model: Any) -> FileFacts:
    graph = model.subgraphs[0]
    metadata = {schema.text(entry.name) for entry in model.metadata or []}
    operators, modules = _placed(model, graph, own=_OWN in metadata)
    told = "names of its tensors" if modules else SIGNATURE
    counted = _counted(model, graph)  # here, where what is damaged is caught
    weights = [graph.tensors[i] for i in sorted(_weights(model, graph))]
    return FileFacts(
        inputs=tuple(_ends(model, graph, "inputs")),
        outputs=tuple(_ends(model, graph, "outputs")),
        operators=operators,
        modules=modules,
        read_from=told,
        precision=_precision(weights),
        parameters=sum(int(np.prod(tensor.shape)) for tensor in weights),
        versions={"schema": str(model.version), "made by": schema.text(model.description)},
        count=lambda inputs: counted,
    )


def _ends(model: Any, graph: Any, end: str) -> Iterator[TensorInfo]:
    """Yield what a program takes or gives, as its first signature names them."""
    signatures = model.signatureDefs or []
    entries = getattr(signatures[0], end) if signatures else []
    names = {int(entry.tensorIndex): schema.text(entry.name) for entry in entries}
    for i in map(int, getattr(graph, end)):
        tensor = graph.tensors[i]
        signed = tensor.shapeSignature
        shape = tensor.shape if signed is None or len(signed) == 0 else signed
        yield TensorInfo(
            names.get(i) or schema.text(tensor.name),
            tuple(_size(axis, int(size)) for axis, size in enumerate(shape)),
            _TYPES.get(kind := schema.type_of(tensor), kind.lower()),
            quantization=_quantization(tensor),
        )


def _size(axis: int, size: int) -> int | str:
    if size >= 0:
        return size
    return "batch" if axis == 0 else f"dim{axis}"


def _quantization(tensor: Any) -> Quantization | None:
    said = tensor.quantization
    if said is None or said.scale is None or len(said.scale) == 0:
        return None
    scales, zeros = tuple(map(float, said.scale)), tuple(map(int, said.zeroPoint))
    return Quantization(scales, zeros, said.quantizedDimension if len(scales) > 1 else None)


def _placed(
    model: Any, graph: Any, *, own: bool
) -> tuple[tuple[Operator, ...], dict[str, ModuleInfo]]:
    """Return the operators, and what the names of their results tell of modules."""
    modules: dict[str, ModuleInfo] = {}
    operators = []
    for number, operator in enumerate(graph.operators):
        outputs = tuple(schema.text(graph.tensors[i].name) for i in operator.outputs)
        told = _own_module(outputs[0]) if own else _scoped(outputs[0])
        if told is not None:
            modules |= {path: ModuleInfo(kind, None) for path, kind in told.items()}
        operators.append(
            Operator(
                name=outputs[0] or str(number),
                type=schema.kind(model, operator),
                module=UNPLACED if told is None else next(reversed(told), ""),
                inputs=tuple(schema.text(graph.tensors[i].name) for i in operator.inputs if i >= 0),
                outputs=outputs,
            )
        )
    return tuple(operators), modules


def _own_module(name: str) -> dict[str, str] | None:
    """Return the module that a name in a file of mvdeploy tells, with those that it lies in."""
    module, slash, _ = name.rpartition("/")
    if not slash:
        return None
    parts = module.split(".")
    return {".".join(parts[: i + 1]): "" for i in range(len(parts))}


def _scoped(name: str) -> dict[str, str] | None:
    """Return the modules that a name of litert-torch tells, outermost first, with their classes."""
    root, *scopes = name.split(";")[0].split("/")
    found = _ROOT.match(root)
    if found is None:
        return None
    modules, path = {"": found[1]}, []
    for scope in scopes:
        inner = _SCOPE.match(scope)
        if inner is None:
            return None
        path.append(inner[2])
        modules[".".join(path)] = inner[1]
    return modules


def _weights(model: Any, graph: Any) -> set[int]:
    """Return the numbers of the tensors of real numbers that a file holds."""
    read = {int(i) for operator in graph.operators for i in operator.inputs if i >= 0}
    return {
        i for i in read if schema.is_real(graph.tensors[i]) and _is_held(model, graph.tensors[i])
    }


def _is_held(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _precision(weights: Sequence[Any]) -> str:
    kinds = [schema.type_of(tensor) for tensor in weights]
    if {"INT8", "UINT8", "INT4"} & set(kinds):
        return "int8"
    return "fp16" if kinds.count("FLOAT16") > kinds.count("FLOAT32") else "fp32"


def _counted(model: Any, graph: Any) -> Counted:
    """Count multiply-accumulates: of each number of a result, one for each that goes into it."""
    macs, uncounted = 0, []
    for operator in graph.operators:
        kind = schema.kind(model, operator)
        if kind in _OTHER_SUMS:
            uncounted.append(kind)
        if kind not in _SUMS:
            continue
        made = int(np.prod(graph.tensors[operator.outputs[0]].shape))
        first, second = (graph.tensors[i].shape for i in operator.inputs[:2])
        each = {
            "CONV_2D": np.prod(second[1:]),
            "DEPTHWISE_CONV_2D": np.prod(second[1:3]),
            "FULLY_CONNECTED": second[-1],
        }.get(kind, first[-1])
        macs += made * int(each)
    return Counted(macs, tuple(dict.fromkeys(uncounted)))
