"""Squares and norms of vectors as products, which delegates take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_ATEN = torch.ops.aten
_SQUARE = 2


def power(x: Tensor, exponent: float) -> Any:
    """Square."""
    return x * x if exponent == _SQUARE else NotImplemented


def vector_norm(
    x: Tensor,
    order: float = 2,
    dims: Sequence[int] | None = None,
    keepdim: bool = False,
    **kind: Any,
) -> Any:
    """Return the lengths of vectors."""
    if order != _SQUARE or any(kind.values()):
        return NotImplemented
    chosen = list(range(x.ndim)) if dims is None else list(dims)
    return torch.sqrt(torch.sum(x * x, chosen, keepdim))


OPERATORS = {
    _ATEN.pow.Tensor_Scalar: power,
    _ATEN.linalg_vector_norm.default: vector_norm,
    _ATEN.norm.ScalarOpt_dim: lambda x, p, dim, keepdim=False: vector_norm(
        x, 2 if p is None else p, dim, keepdim
    ),
}
