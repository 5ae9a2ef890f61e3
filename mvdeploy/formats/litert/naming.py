"""Names for what is inside of a ``.tflite`` file: which operator of the network each tensor is of.

The result of an operator of the traced program is called after it and its module,
``layer_1.0.conv/conv2d_3``; what is computed on the way to it ``layer_1.0.conv/conv2d_3:1``, and so
on.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mvdeploy.errors import EngineError
from mvdeploy.formats import Subject
from mvdeploy.formats._serving import spread
from mvdeploy.formats.litert import schema
from mvdeploy.formats.litert.conversion import Converted, Node
from mvdeploy.formats.litert.whole_numbers import Weights, set_weights
from mvdeploy.records import Operator, TensorInfo

_WEIGHTED = {
    "FULLY_CONNECTED": ("linear", "addmm", "matmul", "mm"),
    "CONV_2D": ("conv",),
    "DEPTHWISE_CONV_2D": ("conv",),
    "TRANSPOSE_CONV": ("conv",),
}
"""What operators of a network are called that these are, whatever was folded into them."""


@dataclasses.dataclass(frozen=True)
class Named:
    """A file with names.

    Attributes:
        data: the file.
        operators: its operators in order; each is named after its first result.
    """

    data: bytes
    operators: tuple[Operator, ...]


def named(
    converted: Converted, subject: Subject, outputs: Sequence[TensorInfo], weights: Weights
) -> Named:
    """Name the tensors of a file, and store what is known of it.

    Args:
        converted: the file.
        subject: that it was made of.
        outputs: of the file, in order.
        weights: of linear layers that are given whole ones.

    Raises:
        EngineError: an operator cannot be traced to one of the network.
    """
    model = schema.unpacked(converted.data)
    schema.set_ends(model)
    if subject.halves:
        schema.halve_constants(model)
    graph = model.subgraphs[0]
    nodes = _nodes(model, graph, converted)
    set_weights(model, graph, nodes, weights)
    schema.drop_unused(model)
    _rename(graph, nodes, converted.nodes, subject.inputs, outputs)
    schema.add_facts(model, subject.facts)
    return Named(schema.packed(model), tuple(_operators(model, graph, nodes, converted.nodes)))


def _nodes(model: Any, graph: Any, converted: Converted) -> list[str]:
    """Return which operator of the network each operator of a file is of."""
    returned = dict(zip(graph.outputs, converted.returned, strict=True))
    found: list[str | None] = []
    for operator in graph.operators:
        kind = schema.kind(model, operator)
        parts = []
        for output in operator.outputs:
            parts += [returned[output]] if output in returned else []
            parts += schema.text(graph.tensors[output].name).split(";")
        known = [part for part in parts if part in converted.nodes]
        wanted = _WEIGHTED.get(kind, ())
        fitting = (n for n in known if any(w in converted.nodes[n].type for w in wanted))
        found.append(next(fitting, next(iter(known), None)))
    spread(found, ((operator.inputs, operator.outputs) for operator in graph.operators))
    for operator, name in zip(graph.operators, found, strict=True):
        if name is None:
            raise EngineError(
                f"The exported operator '{schema.kind(model, operator)}' cannot be traced to a "
                "module.",
                "Report the network that shows it.",
            )
    return [name or "" for name in found]


def _rename(
    graph: Any,
    found: list[str],
    nodes: dict[str, Node],
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
) -> None:
    left = Counter(found)
    for operator, name in zip(graph.operators, found, strict=True):
        left[name] -= 1
        module = nodes[name].module
        label = f"{module}/{name}" if module else name
        for number, output in enumerate(operator.outputs):
            parts = [label, f"{left[name]}" if left[name] else "", f"{number}" if number else ""]
            graph.tensors[output].name = ":".join(filter(None, parts)).encode()
    for tensors, infos in ((graph.inputs, inputs), (graph.outputs, outputs)):
        for tensor, info in zip(tensors, infos, strict=True):
            graph.tensors[tensor].name = info.name.encode()


def _operators(model: Any, graph: Any, found: list[str], nodes: dict[str, Node]) -> list[Operator]:
    def names(tensors: Any) -> tuple[str, ...]:
        return tuple(schema.text(graph.tensors[i].name) for i in tensors if i >= 0)

    return [
        Operator(
            name=names(operator.outputs)[0],
            type=schema.kind(model, operator),
            module=nodes[name].module,
            inputs=names(operator.inputs),
            outputs=names(operator.outputs),
        )
        for operator, name in zip(graph.operators, found, strict=True)
    ]
