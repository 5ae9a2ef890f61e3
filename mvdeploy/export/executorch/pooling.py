"""Means over a map, in the only form that delegates take: with the map's axes kept.

``mean(x, (2, 3))`` becomes ``mean(x, (2, 3), keepdim=True)`` and a change of shape, the same to the
last bit. Networks of every library end with such a mean, and a delegate would end before it.
"""

from __future__ import annotations

import torch
from torch import fx
from torch.export import ExportedProgram

_MAP = 4  # dimensions of a batch of maps


def keep_axes(program: ExportedProgram) -> int:
    """Rewrite the program in place.

    Returns:
        How many means were rewritten.
    """
    graph = program.graph_module.graph
    means = [node for node in graph.nodes if _drops_axes(node)]
    for node in means:
        whole, (x, dims) = node.meta["val"], node.args[:2]
        with graph.inserting_after(node):
            flat = graph.call_function(
                torch.ops.aten.reshape.default, (node, list(whole.shape)), name=f"{node.name}_flat"
            )
        node.replace_all_uses_with(flat, delete_user_cb=lambda user, flat=flat: user is not flat)
        node.args = (x, dims, True)
        flat.meta = dict(node.meta)
        node.meta["val"] = whole[:, :, None, None]
    program.graph_module.recompile()
    return len(means)


def _drops_axes(node: fx.Node) -> bool:
    """Whether a node is the mean over a whole map, its axes dropped."""
    if node.target is not torch.ops.aten.mean.dim or node.kwargs:
        return False
    x, dims, *keep = node.args
    shape = x.meta["val"].shape  # type: ignore[union-attr]
    if len(shape) != _MAP or any(keep) or not isinstance(dims, list | tuple):
        return False
    # The program's signature has the names of its outputs.
    gives_output = any(user.op == "output" for user in node.users)
    return {int(dim) % _MAP for dim in dims} == {2, 3} and not gives_output  # type: ignore[arg-type]
