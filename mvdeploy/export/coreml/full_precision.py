"""What stays float32 in a program of half precision, because the network says so.

A network keeps sums that overflow half precision, or divisors that vanish in it, out of PyTorch's
mixed precision: ``with torch.autocast(..., enabled=False)``. torch.export traces such a region as a
graph of its own (``wrap_with_autocast``), and forgets what it was when it inlines that.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coremltools.converters.mil.mil.scope import ScopeSource

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

_MARK = "mvdeploy.float32"


def mark(program: ExportedProgram) -> None:
    """Inline the regions of a traced program for which autocast is disabled, and mark them.

    The marks last through decompositions; see `selector`.
    """
    import torch

    module = program.graph_module
    for node in list(module.graph.nodes):
        if node.target is torch.ops.higher_order.wrap_with_autocast and not node.args[2]:
            _inline(module, node)
    module.recompile()


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


def selector(program: ExportedProgram) -> Callable[[Any], bool]:
    """Return which operators of Core ML are converted to half precision.

    Args:
        program: what coremltools is given. Its nodes are numbered as its debugging utilities number
            them.
    """
    kept = {
        number
        for number, node in enumerate(program.graph.nodes, 1)
        if _MARK in (node.meta.get("custom") or {})
    }

    def halved(op: Any) -> bool:
        numbers = op.scopes.get(ScopeSource.EXIR_DEBUG_HANDLE) or ()
        return kept.isdisjoint(numbers[-1:])

    return halved
