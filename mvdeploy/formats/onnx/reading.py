"""ONNX files of others: what they take and give, and what is in them."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mvdeploy import engines
from mvdeploy.errors import UsageError, reason
from mvdeploy.formats._reading import FileFacts
from mvdeploy.formats.onnx import scopes
from mvdeploy.quiet import quiet
from mvdeploy.records import Operator, TensorInfo
from mvdeploy.records.artifact import UNPLACED
from mvdeploy.records.tensor import ANY_SHAPE

if TYPE_CHECKING:
    import onnx

_QUANTISED = re.compile(r"Q(Linear|Gemm|Attention)\w*|(MatMul|Conv)Integer\w*|\w*QuantizeLinear")

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training")
_OF_ORT = (
    *("com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental"),
    *("com.ms.internal.nhwc", "org.pytorch.aten"),
)
"""Domains whose operators ONNX Runtime has."""


def read(path: Path) -> FileFacts:
    """Read an ONNX file, or one in ONNX Runtime's own format (``.ort``).

    Raises:
        UsageError: it is none, is damaged or incomplete, or takes or gives what is no tensor.
        EngineError: ONNX Runtime cannot load a file in its own format.
    """
    return _read_ort(path) if path.suffix.lower() == ".ort" else _read_onnx(path)


def _read_onnx(path: Path) -> FileFacts:
    model = _load(path)
    data = tuple(_data_files(path, model))
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    weights |= {tensor.values.name: tensor.values for tensor in graph.sparse_initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    outputs = tuple(_tensor(value, "output", path) for value in graph.output)
    if any(tensor.shape == ANY_SHAPE for tensor in outputs):
        known = {value.name: value for value in _inferred(model).graph.output}
        outputs = tuple(
            _tensor(known[value.name], "output", path) if value.name in known else tensor
            for value, tensor in zip(graph.output, outputs, strict=True)
        )
    modules, info, read_from = scopes.modules(graph)
    from mvdeploy.formats.onnx import macs

    return FileFacts(
        inputs=tuple(_tensor(value, "input", path) for value in inputs),
        outputs=outputs,
        operators=_operators(graph, modules),
        modules=info,
        read_from=read_from,
        precision=_precision(graph),
        parameters=sum(_size(tensor) for tensor in weights.values()),
        versions=_versions(model),
        data=data,
        runs_on=_needs(model),
        count=functools.partial(macs.count, model),
    )


def _load(path: Path) -> onnx.ModelProto:
    import onnx

    if not path.stat().st_size:
        raise UsageError(f"{path} is empty.", "Export the model again.")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # whatever protobuf says of what it cannot read
        raise _no_onnx(path) from error
    if not model.ir_version or not model.graph.output:
        raise _no_onnx(path)
    if not _is_text(model):
        raise UsageError(
            f"{path} is damaged: a name in it is no text.", "Copy it again, or export it again."
        )
    if model.functions:
        from onnx import inliner

        model = inliner.inline_local_functions(model)
    return model


def _is_text(message: Any) -> bool:
    """Say whether all texts in a message are UTF-8: protobuf gives the bytes of those that are not.

    What is no text, such as weights, is not touched.
    """
    for field in message.DESCRIPTOR.fields:
        if field.type not in (field.TYPE_STRING, field.TYPE_MESSAGE):
            continue
        value = getattr(message, field.name)
        if hasattr(value, "extend"):
            values = value
        else:
            values = (value,) if message.HasField(field.name) else ()
        for one in values:
            if isinstance(one, bytes) or not (isinstance(one, str) or _is_text(one)):
                return False
    return True


def _no_onnx(path: Path) -> UsageError:
    if path.is_file() and _starts(path, b"version https://git-lfs"):
        return UsageError(
            f"{path} is a pointer of Git LFS, not the file itself.", "Get it with 'git lfs pull'."
        )
    return UsageError(
        f"{path} is no ONNX file, or is damaged.", "Check the file, or export the model again."
    )


def _starts(path: Path, words: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(words)) == words


def _data_files(path: Path, model: onnx.ModelProto) -> Iterator[Path]:
    """Yield the files beside it that hold its weights.

    Raises:
        UsageError: one of them is not there, or is cut.
    """
    import onnx

    ends: dict[str, int] = {}
    for tensor in _all_tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            where = {entry.key: entry.value for entry in tensor.external_data}
            location = where.get("location", "")
            try:
                end = int(where.get("offset") or 0) + int(where.get("length") or 0)
            except ValueError as error:
                raise _no_onnx(path) from error
            ends[location] = max(end, ends.get(location, 0))
    for location, end in ends.items():
        file = path.parent / location
        if not _inside(location) or not file.is_file():
            raise UsageError(
                f"{path} has weights in the file {location or '(without a name)'}, "
                "which is not beside it.",
                "Put the two files into one folder, under the names they had.",
            )
        if file.stat().st_size < end:
            raise UsageError(
                f"{file} ends too early: it has {file.stat().st_size} bytes, and the weights of "
                f"{path.name} in it take {end}.",
                "Copy the file again, or export the model again.",
            )
        yield file


def _inside(location: str) -> bool:
    """Say whether a place is in the folder of the model, where alone it is looked for."""
    path = PurePosixPath(location)
    return bool(location) and not path.is_absolute() and ".." not in path.parts


def _all_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else ())
            yield from attribute.tensors
            for inner in subgraphs(attribute):
                yield from _all_tensors(inner)


def subgraphs(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs that an attribute holds, as those of loops and branches do."""
    yield from ([attribute.g] if attribute.HasField("g") else ())
    yield from attribute.graphs


def _tensor(value: onnx.ValueInfoProto, what: str, path: Path) -> TensorInfo:
    """Return an input or output.

    Raises:
        UsageError: it is no tensor of numbers.
    """
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        words = (kind or "nothing that it tells").removesuffix("_type").replace("_", " ")
        raise _no_tensor(path, what, value.name, words)
    tensor = value.type.tensor_type
    if tensor.elem_type in (0, onnx.TensorProto.STRING):
        words = "tensor of texts" if tensor.elem_type else "tensor of no known type"
        raise _no_tensor(path, what, value.name, words)
    dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
    if not tensor.HasField("shape"):
        return TensorInfo(value.name, ANY_SHAPE, dtype)
    shape = tuple(_size_of(dim, i) for i, dim in enumerate(tensor.shape.dim))
    return TensorInfo(value.name, shape, dtype)


def _size_of(dim: Any, index: int) -> int | str:
    if dim.dim_value > 0 or (dim.HasField("dim_value") and not dim.dim_value):
        return int(dim.dim_value)
    return str(dim.dim_param) or f"dim{index}"


def _no_tensor(path: Path, what: str, name: str, kind: str) -> UsageError:
    return UsageError(
        f"The {what} '{name}' of {path} is a {kind}; only tensors of numbers can be fed and read.",
        "Cut the model where tensors come in and go out, with onnx.utils.extract_model.",
    )


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model)
    except Exception:  # what it says of a graph that it does not understand
        return model


def _size(tensor: onnx.TensorProto) -> int:
    """Return how many numbers a weight has; 0 for one of whole numbers that are shapes and such."""
    import math

    import onnx

    kinds = onnx.TensorProto
    counted = (kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE, kinds.INT8, kinds.UINT8)
    return math.prod(tensor.dims) if tensor.data_type in counted else 0


def _precision(graph: onnx.GraphProto) -> str:
    import onnx

    if any(_QUANTISED.fullmatch(node.op_type) for node in graph.node):
        return "int8"
    sizes: Counter[int] = Counter()
    for tensor in graph.initializer:
        sizes[tensor.data_type] += _size(tensor)
    half, single = sizes[onnx.TensorProto.FLOAT16], sizes[onnx.TensorProto.FLOAT]
    return "fp16" if half > single else "fp32"


def _versions(model: onnx.ModelProto) -> dict[str, str]:
    made_by = f"{model.producer_name} {model.producer_version}".strip()
    opsets = {f"opset {o.domain}".strip(): str(o.version) for o in model.opset_import}
    return {"producer": made_by or "unknown", "ONNX IR": str(model.ir_version), **opsets}


def _needs(model: onnx.ModelProto) -> str:
    """Return what it takes to run a model, beside ONNX Runtime; empty for nothing."""
    strange: dict[str, str] = {}
    for node in _all_nodes(model.graph):
        if node.domain not in (*_DOMAINS, *_OF_ORT):
            strange.setdefault(node.domain, node.op_type)
    named = ", ".join(f"'{domain}' ({kind})" for domain, kind in strange.items())
    return f"an ONNX Runtime with the operators of the domain {named}" if named else ""


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in subgraphs(attribute):
                yield from _all_nodes(inner)


def _operators(graph: onnx.GraphProto, modules: list[str | None]) -> tuple[Operator, ...]:
    times = Counter(node.name for node in graph.node)
    # A name that several have would place them all where the last of them is.
    names = [
        node.name if node.name and times[node.name] == 1 else next(iter(node.output), "")
        for node in graph.node
    ]
    return tuple(
        Operator(
            name=name,
            type=node.op_type,
            module=UNPLACED if module is None else module,
            inputs=tuple(filter(None, node.input)),
            outputs=tuple(filter(None, node.output)),
        )
        for name, node, module in zip(names, graph.node, modules, strict=True)
    )


# ONNX Runtime's own format


_TYPE = re.compile(r"tensor\((\w+)\)")


def _read_ort(path: Path) -> FileFacts:
    """Read what ONNX Runtime tells of a file in its own format: what goes in and comes out."""
    engine = engines.get("onnxruntime")
    engine.start()
    import onnxruntime as ort  # only now: the engine's file says how it is imported

    quiet_options = ort.SessionOptions()
    quiet_options.log_severity_level = 4
    try:
        with quiet():
            session = ort.InferenceSession(
                str(path), quiet_options, providers=["CPUExecutionProvider"]
            )
    except Exception as error:
        raise UsageError(
            f"{path} is no file that ONNX Runtime {engine.version()} loads ({reason(error)}).",
            "Convert the ONNX file again with this version of onnxruntime.",
        ) from error
    return FileFacts(
        inputs=tuple(_ort_tensor(value, "input", path) for value in session.get_inputs()),
        outputs=tuple(_ort_tensor(value, "output", path) for value in session.get_outputs()),
        versions={"producer": session.get_modelmeta().producer_name or "unknown"},
    )


def _ort_tensor(value: Any, what: str, path: Path) -> TensorInfo:
    match = _TYPE.fullmatch(value.type)
    if match is None or match[1] == "string":
        raise _no_tensor(path, what, value.name, str(value.type))
    dtype = {"float": "float32", "double": "float64"}.get(match[1], match[1])
    shape = tuple(
        n if isinstance(n, int) else str(n or f"dim{i}") for i, n in enumerate(value.shape)
    )
    return TensorInfo(value.name, shape, dtype)
