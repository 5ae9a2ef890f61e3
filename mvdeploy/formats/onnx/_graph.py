"""A graph of ONNX that is rewritten: who makes and reads what, constants, new nodes."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from mvdeploy.formats.onnx import CONTRIBUTED

if TYPE_CHECKING:
    from onnx import NodeProto

Array = npt.NDArray[Any]


Shape = tuple[int | str, ...]
"""A number for each dimension, or the name of one that is free."""


@dataclasses.dataclass(frozen=True)
class Linear:
    """A product with a constant matrix, and what is added to it.

    Attributes:
        product: the node.
        given: the tensor that is multiplied.
        weight: the matrix, (inputs, outputs).
        bias: the vector that is added; empty for none.
    """

    product: NodeProto
    given: str
    weight: str
    bias: str


class Graph:
    """A graph that is rewritten in place.

    Attributes:
        graph: the graph.
        made_by: the node that makes each tensor.
        read_by: the nodes that read each.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self._held = {tensor.name: tensor for tensor in self.graph.initializer}
        self._names = set(self._held)
        self.refresh()

    @property
    def nodes(self) -> list[NodeProto]:
        """The nodes, in the order they run."""
        return list(self.graph.node)

    @property
    def outputs(self) -> set[str]:
        """Names of what the graph returns."""
        return {value.name for value in self.graph.output}

    def refresh(self) -> None:
        """Take notice of what was changed."""
        values = (*self.graph.value_info, *self.graph.input, *self.graph.output)
        self._values = {value.name: value for value in values}
        self.made_by = {out: node for node in self.graph.node for out in node.output}
        self.read_by: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.graph.node:
            for name in node.input:
                self.read_by[name].append(node)

    def constant(self, name: str) -> Array | None:
        """Return the numbers of a tensor that the file holds; None for others."""
        held = self._held.get(name)
        if held is not None:
            return np.asarray(numpy_helper.to_array(held))
        node = self.made_by.get(name)
        if node is None or node.op_type != "Constant":
            return None
        return np.asarray(helper.get_attribute_value(node.attribute[0]))

    def shape(self, name: str) -> Shape | None:
        """Return the shape of a tensor, a number or a name for each dimension; None if unknown."""
        if name in self._held:
            return tuple(self._held[name].dims)
        value = self._values.get(name)
        if value is None or not value.type.tensor_type.HasField("shape"):
            return None
        dims = value.type.tensor_type.shape.dim
        return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims)

    def tell(self, name: str, like: str, width: int) -> None:
        """Say that a tensor is as another, but for its last dimension."""
        known = self._values.get(like)
        if known is not None:
            value = onnx.ValueInfoProto()
            value.CopyFrom(known)
            value.name = name
            value.type.tensor_type.shape.dim[-1].dim_value = width
            self.graph.value_info.append(value)

    def alone(self, name: str) -> NodeProto | None:
        """Return the node that reads a tensor, if no other does and it is no output."""
        readers = self.read_by[name]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def linear(self, name: str) -> Linear | None:
        """Return the linear layer that makes a tensor; None where something else does."""
        own = self.made_by.get(name)
        bias, product = "", own
        if own is not None and own.op_type == "Add":
            at = next((i for i in (0, 1) if self._is_vector(own.input[i])), None)
            if at is None or self.alone(own.input[1 - at]) is None:
                return None
            bias, product = own.input[at], self.made_by.get(own.input[1 - at])
        if product is None or product.op_type != "MatMul" or product.domain:
            return None
        weight = self.constant(product.input[1])
        if weight is None or weight.ndim != 2:
            return None
        return Linear(product, product.input[0], product.input[1], bias)

    def _is_vector(self, name: str) -> bool:
        value = self.constant(name)
        return value is not None and value.ndim == 1

    def hold(self, name: str, value: Array) -> str:
        """Add a tensor to the file; return its name, which is made unique."""
        own, count = name, 1
        while own in self._names or own in self.made_by:
            own, count = f"{name}_{count}", count + 1
        tensor = numpy_helper.from_array(np.ascontiguousarray(value), own)
        self._held[own] = tensor
        self._names.add(own)
        self.graph.initializer.append(tensor)
        return own

    def replace(self, nodes: Iterable[NodeProto]) -> None:
        """Give the graph other nodes, and drop what nobody reads."""
        kept = list(nodes)
        while True:
            read = self.outputs | {name for node in kept for name in node.input}
            left = [node for node in kept if any(out in read for out in node.output)]
            if len(left) == len(kept):
                break
            kept = left
        del self.graph.node[:]
        self.graph.node.extend(kept)
        read = {name for node in kept for name in node.input} | self.outputs
        used = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(used)
        known = {out for node in kept for out in node.output}
        values = [value for value in self.graph.value_info if value.name in known]
        del self.graph.value_info[:]
        self.graph.value_info.extend(values)
        self.refresh()


def node(
    kind: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    serves: NodeProto,
    name: str = "",
    **attributes: Any,
) -> NodeProto:
    """Return a node that counts with another.

    Args:
        kind: its operator; after the domain and a colon, if it has one.
        inputs: names of tensors; empty for what is left out.
        outputs: names of tensors.
        serves: whose notes it takes over.
        name: of the node; that of its first output if empty.
        attributes: of the operator.
    """
    domain, _, operator = kind.rpartition(":")
    made = helper.make_node(
        operator,
        list(inputs),
        list(outputs),
        name or f"node_{outputs[0]}",
        domain=domain,
        **attributes,
    )
    made.metadata_props.extend(serves.metadata_props)
    return made


def allow_contributed(model: onnx.ModelProto) -> None:
    """Say that a model has operators of ONNX Runtime's own, if it has some."""
    known = any(entry.domain == CONTRIBUTED for entry in model.opset_import)
    if not known and any(node.domain == CONTRIBUTED for node in model.graph.node):
        model.opset_import.append(helper.make_opsetid(CONTRIBUTED, 1))


def attribute(owner: NodeProto, name: str, default: Any = None) -> Any:
    """Return an attribute of a node."""
    for entry in owner.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default
