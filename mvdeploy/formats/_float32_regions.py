"""What stays float32 in a program of half precision, because the network says so.

A network keeps sums that overflow half precision, or divisors that vanish in it, out of PyTorch's
mixed precision: ``with torch.autocast(..., enabled=False)``. torch.export traces such a region as a
graph of its own (``wrap_with_autocast``), and forgets what it was when it inlines that.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

_MARK = "mvdeploy.float32"


def mark(program: ExportedProgram) -> None:
    """Inline the regions of a traced program for which autocast is disabled, and mark them.

    The marks last through decompositions; see `marked`.
    """
    module = program.graph_module
    for node in regions(program):
        _inline(module, node)
    module.recompile()


def regions(program: ExportedProgram) -> list[Node]:
    """Return the regions of a program for which autocast is disabled that are not inlined."""
    import torch

    region = torch.ops.higher_order.wrap_with_autocast
    return [n for n in program.graph.nodes if n.target is region and not n.args[2]]


def keep(node: Node) -> None:
    """Mark an operator as one that stays float32."""
    node.meta["custom"] = {**(node.meta.get("custom") or {}), _MARK: True}


def marked(node: Node) -> bool:
    """Say whether an operator stays float32."""
    return _MARK in (node.meta.get("custom") or {})


def _inline(module: GraphModule, call: Node) -> None:
    graph = module.graph
    _device, _dtype, _enabled, _cache, body, *args = call.args
    inner = getattr(module, body.target).graph  # type: ignore[union-attr, arg-type]
    if inner.find_nodes(op="get_attr"):
        return  # regions within regions stay as they are
    copies = dict(zip(inner.find_nodes(op="placeholder"), args, strict=True))
    with graph.inserting_before(call):
        results = graph.graph_copy(inner, copies)
    for node in inner.nodes:
        if node.op == "call_function":
            copies[node].meta["custom"] = {_MARK: True}
    for user in list(call.users):
        if user.target is operator.getitem:
            user.replace_all_uses_with(results[user.args[1]])  # type: ignore[index, arg-type]
            graph.erase_node(user)
    graph.erase_node(call)
    graph.erase_node(body)  # type: ignore[arg-type]
