"""Which module of the network each node of an ONNX file came from.

Paths are in the notes of torch's exporter (``pkg.torch.onnx.name_scopes``), in names of nodes
(``/layer1/layer1.0/conv/Conv``) and in names of weights (``layer1.0.conv.weight``), as far as the
tools that the file went through left them there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from mvdeploy.formats._reading import SIGNATURE
from mvdeploy.records import ModuleInfo

if TYPE_CHECKING:
    import onnx

_SCOPES, _CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"

_NOTES = "the exporter's notes at its nodes"
_NAMES = "the names of its nodes"
_WEIGHTS = "the names of its weights"

_WEIGHT = re.compile(r"(.+)\.(?:weight|bias|in_proj_weight|in_proj_bias)(?:_\w+)?")
_SHARE = 0.5
"""Share of the nodes whose names have to have a path in them, for paths to be read from names."""

_BEFORE = frozenset(
    {
        *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Reshape", "Transpose"),
        *("Squeeze", "Unsqueeze", "Constant", "Identity", "Shape", "Slice", "Gather", "Concat"),
        "Expand",
    }
)
_AFTER = frozenset(("Cast", "Mul", "Add"))
"""Types of nodes that tools add before and after the node that they are for."""


def modules(
    graph: onnx.GraphProto,
) -> tuple[list[str | None], dict[str, ModuleInfo], str]:
    """Return the module path of each node, the modules, and where they are known from."""
    nodes = graph.node
    named = sum("/" in node.name for node in nodes) > _SHARE * len(nodes)
    sources: tuple[tuple[str, Callable[[onnx.NodeProto], str | None]], ...] = (
        (_NOTES, _noted),
        (_NAMES, _path_in_name if named else lambda node: None),
        (_WEIGHTS, _path_of_weight),
    )
    paths: list[str | None] = [None] * len(nodes)
    used: list[str] = []
    for title, source in sources:
        found = [
            source(node) if path is None else path for path, node in zip(paths, nodes, strict=True)
        ]
        if found != paths:
            used.append(title)
        paths = found
    if not used:
        return paths, {}, SIGNATURE
    _fill(graph, paths)
    classes = _classes(graph)
    known = sorted({path for path in paths if path is not None})
    info = {path: ModuleInfo(classes.get(path, ""), None) for path in known}
    return paths, info, " and ".join(used)


def _note(node: onnx.NodeProto, key: str) -> list[str]:
    for entry in node.metadata_props:
        if entry.key == key:
            try:
                read = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError):
                return []
            return [str(item) for item in read] if isinstance(read, list) else []
    return []


def _noted(node: onnx.NodeProto) -> str | None:
    # ['', 'layer_1', 'layer_1.0', 'add']: modules from the outside in, then the operator.
    scopes = _note(node, _SCOPES)
    return (scopes[-2] if len(scopes) > 1 else "") if scopes else None


def _path_in_name(node: onnx.NodeProto) -> str | None:
    """``/layer1/layer1.0/conv/Conv`` → ``layer1.0.conv``."""
    if "/" not in node.name:
        return None
    path, last = "", ""
    for part in filter(None, node.name.split("/")[:-1]):
        if last and part.startswith(f"{last}."):  # a part of a sequence repeats its name
            path = path[: len(path) - len(last)] + part
        else:
            path = f"{path}.{part}" if path else part
        last = part
    return path


def _path_of_weight(node: onnx.NodeProto) -> str | None:
    for name in node.input:
        match = _WEIGHT.fullmatch(name)
        if match:
            return match[1]
    return None


def _fill(graph: onnx.GraphProto, paths: list[str | None]) -> None:
    """Place nodes that a tool added with the node that they are for: its readers, or its makers."""
    maker = {out: i for i, node in enumerate(graph.node) for out in node.output if out}

    def backwards(types: frozenset[str]) -> None:
        for i, node in reversed(list(enumerate(graph.node))):
            for j in (maker[name] for name in node.input if name in maker):
                if paths[j] is None and graph.node[j].op_type in types:
                    paths[j] = paths[i]

    backwards(_BEFORE)
    for i, node in enumerate(graph.node):
        if paths[i] is None and node.op_type in _BEFORE | _AFTER:
            before = (paths[maker[name]] for name in node.input if name in maker)
            paths[i] = next((path for path in before if path is not None), None)
    backwards(_BEFORE | _AFTER)


def _classes(graph: onnx.GraphProto) -> dict[str, str]:
    """Return the class of each module path that the exporter noted."""
    classes: dict[str, str] = {}
    for node in graph.node:
        scopes, hierarchy = _note(node, _SCOPES), _note(node, _CLASSES)
        if len(scopes) == len(hierarchy):
            for path, class_name in zip(scopes[:-1], hierarchy[:-1], strict=True):
                classes[path] = class_name.rpartition(".")[2]
    return classes
