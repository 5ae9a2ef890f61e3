"""Matrix products of three dimensions and more as ``bmm``, without copies that torch would add."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_BATCHED = 3


def matmul(a: Tensor, b: Tensor) -> Any:
    """Multiply (…, N, K) and (…, K, M), or (…, N, K) and (K, M)."""
    if a.ndim >= _BATCHED and a.shape[:-2] == b.shape[:-2]:
        product = torch.bmm(a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:]))
        return product.reshape(*a.shape[:-2], *product.shape[-2:])
    if a.ndim >= _BATCHED and b.ndim == 2:
        product = torch.mm(a.reshape(-1, a.shape[-1]), b)
        return product.reshape(*a.shape[:-1], b.shape[-1])
    return NotImplemented


OPERATORS = {torch.ops.aten.matmul.default: matmul}
