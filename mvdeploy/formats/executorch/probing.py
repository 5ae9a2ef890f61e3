"""Programs that also return tensors from inside, and what weights a program holds.

A delegate shows none of its tensors, but those that a program returns are there to be compared. The
rest of such a program is the same: the same network, traced, rewritten and lowered in the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind, OutputSpec, TensorArgument

from mvdeploy.formats.executorch import reading, recording
from mvdeploy.records import Operator

_IDENTITIES = ("dropout", "alias", "contiguous", "clone", "detach", "identity", "to")
"""Operators that are gone once a program is lowered; two outputs cannot be one tensor."""


def operators(program: ExportedProgram) -> tuple[Operator, ...]:
    """Return the operators of a traced program, in the order they run."""
    return tuple(
        Operator(
            node.name,
            recording.type_of(node),
            recording.module_of(node),
            tuple(argument.name for argument in node.all_input_nodes),
            (node.name,),
        )
        for node in program.graph.nodes
        if node.op == "call_function"
    )


def return_also(program: ExportedProgram, names: Iterable[str]) -> tuple[str, ...]:
    """Make a program return tensors from inside besides its outputs.

    Args:
        program: is changed.
        names: of operators; those whose result is no tensor of floats, or is written to later, are
            left out.

    Returns:
        The names of all it returns then, in order; its own outputs by their operators.
    """
    output = program.graph.output_node()
    (returned,) = output.args
    own = [argument.name for argument in returned]
    wanted = set(names) - set(own)
    found = [n for n in program.graph.nodes if n.name in wanted and _can_be_returned(n)]
    added = [_apart(node) for node in found]
    output.args = ((*returned, *added),)
    specs = program.graph_signature.output_specs
    specs += [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(n.name), None) for n in added]
    every = tuple(torch.zeros(()) for _ in (*own, *added))
    _, form = torch.utils._pytree.tree_flatten(every)
    (entry,) = program.module_call_graph[:1]
    if entry.signature is not None:
        entry.signature.out_spec = form
        entry.signature.outputs.clear()  # names that the lowering would have to keep
    program.graph_module.recompile()
    return (*own, *(node.name for node in found))


def _apart(node: fx.Node) -> fx.Node:
    """Return a node to return: what makes floats for an operator that has whole numbers is its own.

    Its result is no tensor of the lowered program.
    """
    if not recording.type_of(node).startswith("quantized_decomposed.dequantize"):
        return node
    with node.graph.inserting_after(node):
        copied = node.graph.node_copy(node, lambda given: given)
    copied.meta = dict(node.meta)
    return copied


def _can_be_returned(node: fx.Node) -> bool:
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or not value.dtype.is_floating_point:
        return False
    if recording.type_of(node).split(".")[1:2] in ([name] for name in _IDENTITIES):
        return False
    return not any(_writes(user) for user in node.users)


def _writes(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def weights(path: Path) -> frozenset[str]:
    """Return the sha256 of every constant tensor that a program holds."""
    file = reading.parsed(path)
    stored = [buffer.storage for buffer in file.program.constant_buffer]
    if file.named_data is not None:
        stored += [getattr(data, "buffer", data) for data in file.named_data.buffers]
    return frozenset(hashlib.sha256(bytes(data)).hexdigest() for data in stored if data)
