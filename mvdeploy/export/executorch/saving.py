"""Work of ExecuTorch's lowering that changes nothing, left out. The program stays the same.

Two of XNNPACK's passes trace example networks to have patterns to search for, and print the whole
graph for a log that nobody keeps. One pattern is a single operator that the pass then leaves as it
is; the other is attention with its mask, which always holds `_MASKED`.

Every pass copies for every node the history of the copies before it. The histories are never
changed, so that sharing them is enough.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from mvdeploy.errors import EngineError

if TYPE_CHECKING:
    from torch import fx

_MASKED = "aten.any.dim"
"""Operator of the pattern of masked attention; see the module's docstring."""


@contextmanager
def saved() -> Iterator[None]:
    """Leave out what changes nothing, until the end of the context.

    Raises:
        EngineError: this ExecuTorch or torch has not what is left out.
    """
    try:
        from executorch.backends.xnnpack._passes import convert_to_sdpa as attention
        from executorch.backends.xnnpack._passes import convert_to_upsample_bilinear2d as resize
        from torch.fx import traceback

        replaced: list[tuple[Any, str, Any]] = [
            (traceback, "copy", SimpleNamespace(copy=copy.copy, deepcopy=list)),
            (resize.ConvertToUpsampleBilinear2d, "call", _nothing),
            (attention.ConvertToSDPAPass, "call", _unless_masked(attention.ConvertToSDPAPass)),
        ]
    except (ImportError, AttributeError) as error:
        raise EngineError(
            f"This version of ExecuTorch lowers differently ({error}).",
            "Install the version of executorch that mvdeploy asks for.",
        ) from error
    with ExitStack() as restore:
        for owner, name, value in replaced:
            restore.enter_context(mock.patch.object(owner, name, value))
        yield


def _nothing(step: Any, graph: fx.GraphModule) -> Any:
    """What a pass does that finds none of its patterns."""
    from torch.fx.passes.infra.pass_base import PassResult

    return PassResult(graph, False)


def _unless_masked(kind: Any) -> Callable[[Any, fx.GraphModule], Any]:
    real = kind.call

    def call(step: Any, graph: fx.GraphModule) -> Any:
        targets = {getattr(node.target, "__name__", "") for node in graph.graph.nodes}
        return real(step, graph) if _MASKED in targets else _nothing(step, graph)

    return call
