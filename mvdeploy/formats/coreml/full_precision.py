"""Which operators of Core ML stay float32 in a package of half precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coremltools.converters.mil.mil.scope import ScopeSource

from mvdeploy.formats import _float32_regions

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node


def halved(node: Node) -> bool:
    """Say whether an operator of a traced program is computed in half precision."""
    return not _float32_regions.marked(node)


def selector(program: ExportedProgram) -> Callable[[Any], bool]:
    """Return which operators of Core ML are converted to half precision.

    Args:
        program: what coremltools is given. Its nodes are numbered as its debugging utilities number
            them.
    """
    kept = {number for number, node in enumerate(program.graph.nodes, 1) if not halved(node)}

    def chosen(op: Any) -> bool:
        numbers = op.scopes.get(ScopeSource.EXIR_DEBUG_HANDLE) or ()
        return kept.isdisjoint(numbers[-1:])

    return chosen
