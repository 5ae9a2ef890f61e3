"""Small numbers that are added, as tensors.

The optimiser of ONNX programs (onnxscript 0.7) takes what is within 1e-8 of 0 for 0 and drops it;
what such a number keeps from being 0 is then divided by. It leaves tensors of more dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

_ATEN = torch.ops.aten
_SMALL = 1e-6


def concerns(program: ExportedProgram) -> bool:
    """Say whether a program adds such a number."""
    return any(node.target in OPERATORS and _is_small(node.args[1]) for node in program.graph.nodes)


def _is_small(term: object) -> bool:
    return isinstance(term, float) and 0 < abs(term) <= _SMALL


def _with_tensor(operator: Any) -> Callable[..., Any]:
    def rewritten(x: Tensor, other: Any, *more: Any, **kind: Any) -> Any:
        if not _is_small(other) or not x.ndim:
            return NotImplemented
        shape = (1,) * max(2, x.ndim)
        return operator(x, torch.full(shape, other, dtype=x.dtype), *more, **kind)

    return rewritten


OPERATORS = {operator: _with_tensor(operator) for operator in (_ATEN.add.Tensor, _ATEN.sub.Tensor)}
