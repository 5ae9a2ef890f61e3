"""Find out what the nodes of a graph that an engine has rewritten stand for.

Nodes are placed by what they compute: each node of the rewritten graph is anchored to an exported
operator, by its name or by a tensor that both graphs have, and then takes in the exported operators
around it that no other node stands for.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from mvdeploy.records import Category, Operator, TraceEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

_INSERTED = re.compile(r"^(Inserted(PrecisionFree)?Cast_)+")
"""What ONNX Runtime puts before the names of tensors that it casts for kernels without halves."""


class Place(NamedTuple):
    """Where a node came from.

    Attributes:
        modules: their paths, the one that it is counted under first; empty when that is not known.
        placed_by: how they are known.
        category: of the operator that it is counted under, where that has one of its own.
    """

    modules: tuple[str, ...] = ()
    placed_by: str = ""
    category: Category | None = None


class Placement:
    """Finds the exported operators that each node of the rewritten graph stands for.

    Nodes have to be placed in topological order: what a tensor of the rewritten graph holds is
    known from the node that makes it.
    """

    def __init__(self, operators: tuple[Operator, ...], nodes: Sequence[onnx.NodeProto]) -> None:
        self._by_name = {op.name: op for op in operators}
        self._maker = {out: op for op in operators for out in op.outputs}
        self._users: dict[str, list[Operator]] = defaultdict(list)
        for op in operators:
            for name in op.inputs:
                self._users[name].append(op)
        self._holds: dict[str, str] = {}  # tensor of the rewritten graph → exported tensor
        self._taken: set[str] = set()  # exported operators that a node stands for
        self._nodes = nodes
        anchors = (self._anchor(node)[0] for node in nodes)
        self._anchors = {op.name for op in anchors if op is not None}

    def place(self, node: onnx.NodeProto) -> Place:
        """Return what is known of where a node came from."""
        anchor, placed_by = self._anchor(node)
        reads = {self._held(name) for name in node.input if name}
        region = self._region(anchor, reads) if anchor else self._absorbed(node)
        if not region:
            # A change of layout alone: the tensor holds the same values.
            if node.input and node.output:
                self._holds[node.output[0]] = self._held(node.input[0])
            return Place()
        self._taken.update(op.name for op in region)
        for out, result in zip(node.output, region[-1].outputs, strict=False):
            self._holds[out] = result
        # A convolution that took in its activation bears the activation's name.
        kind = node.op_type.removeprefix("Fused").removeprefix("Skip")
        first = next((op for op in region if op.type == kind), anchor or region[0])
        modules = dict.fromkeys([first.module, *(op.module for op in region)])
        return Place(tuple(modules), placed_by or "tensor", first.category)

    def fill(self, events: list[TraceEvent]) -> list[TraceEvent]:
        """Place what has no anchor with its neighbours: the node that reads it, else that feeds it.

        Such nodes are changes of shape or layout that the engine added for a neighbour's sake.
        """
        places = {event.name: (event.modules[:1], event.category) for event in events}
        nowhere: tuple[tuple[str, ...], Category | None] = ((), None)
        maker = {out: n.name for n in self._nodes for out in n.output}
        readers: dict[str, list[str]] = defaultdict(list)
        for node in self._nodes:
            for name in node.input:
                if name in maker:
                    readers[maker[name]].append(node.name)
        inputs = {n.name: [maker[i] for i in n.input if i in maker] for n in self._nodes}
        for around in (readers, inputs):
            # From the last node on, so that a chain of added nodes finds its end.
            for event in reversed(events):
                if not places[event.name][0]:
                    neighbours = (places.get(name, nowhere) for name in around[event.name])
                    places[event.name] = next((place for place in neighbours if place[0]), nowhere)
        return [
            event
            if event.modules or not places[event.name][0]
            else dataclasses.replace(
                event,
                modules=places[event.name][0],
                placed_by="neighbour",
                category=places[event.name][1],
            )
            for event in events
        ]

    def _held(self, tensor: str) -> str:
        return self._holds.get(tensor, _INSERTED.sub("", tensor))

    def _anchor(self, node: onnx.NodeProto) -> tuple[Operator | None, str]:
        if node.op_type == "Cast" and _INSERTED.match(node.name):
            return None, ""
        name = re.sub(r"(_token_\d+)+$", "", _INSERTED.sub("", node.name))
        name = name.split("/")[0].removesuffix("_nchwc")
        operator = self._by_name.get(name) or self._maker.get(name)
        if operator is not None:
            return operator, "name"
        for out in node.output:
            if _INSERTED.sub("", out) in self._maker:
                return self._maker[_INSERTED.sub("", out)], "output"
        return None, ""

    def _absorbed(self, node: onnx.NodeProto) -> list[Operator]:
        """Return the exported operators that a node without an anchor does on the way.

        The engine drops a transposition before a change of layout and does both at once: the
        operator that reads the tensor is then no node's anchor.
        """
        region: list[Operator] = []
        tensor = self._held(node.input[0]) if node.input else ""
        while True:
            users = self._users[tensor]
            if len(users) != 1 or users[0].name in self._anchors:
                return region
            others = [name for name in users[0].inputs if name in self._maker and name != tensor]
            if others:
                return region
            region.append(users[0])
            tensor = users[0].outputs[0]

    def _region(self, anchor: Operator, reads: set[str]) -> list[Operator]:
        """Return the exported operators between what a node reads and what it makes, in order.

        Backwards from the anchor as far as the tensors that the node reads; then forwards, as long
        as the result goes to one operator alone whose other inputs the node has.
        """
        region = self._backwards(anchor, reads)
        inside = {out for op in region for out in op.outputs}
        result = region[-1]
        while True:
            users = self._users[result.outputs[0]]
            if len(users) != 1 or not self._completes(users[0], reads, inside):
                return region
            result = users[0]
            region.append(result)
            inside.update(result.outputs)

    def _backwards(self, anchor: Operator, reads: set[str]) -> list[Operator]:
        region, pending = [anchor], [anchor]
        while pending:
            for name in pending.pop().inputs:
                maker = self._maker.get(name)
                if name in reads or maker is None or maker in region or maker.name in self._taken:
                    continue
                region.insert(0, maker)
                pending.append(maker)
        return region

    def _completes(self, op: Operator, reads: set[str], inside: set[str]) -> bool:
        """Whether a node that reads a second tensor does so in order to compute `op` as well."""
        others = [name for name in op.inputs if name in self._maker and name not in inside]
        return bool(others) and all(name in reads for name in others)
