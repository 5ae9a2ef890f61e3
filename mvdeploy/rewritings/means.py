"""Means and sums in the forms that delegates take.

Over a whole map, with the map's axes kept; over anything else as a linear layer of one output, its
weights all 1/n (or 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mvdeploy.rewritings._sums import weighted

_MAP = {2, 3}


def mean(x: Tensor, dims: Sequence[int] | None, keepdim: bool = False, **kind: Any) -> Any:
    """Average over dimensions."""
    chosen = {d % x.ndim for d in (dims or range(x.ndim))}
    if any(kind.values()):
        return NotImplemented
    if x.ndim == len(_MAP) + 2 and chosen == _MAP:
        if keepdim:
            return NotImplemented
        return torch.mean(x, (2, 3), keepdim=True).reshape(x.shape[:2])
    return _weighted(x, chosen, keepdim, mean=True)


def total(x: Tensor, dims: Sequence[int] | None, keepdim: bool = False, **kind: Any) -> Any:
    """Add over dimensions."""
    if any(kind.values()) or not x.is_floating_point():
        return NotImplemented
    return _weighted(x, {d % x.ndim for d in (dims or range(x.ndim))}, keepdim, mean=False)


def _weighted(x: Tensor, chosen: set[int], keepdim: bool, *, mean: bool) -> Tensor:
    left = [d for d in range(x.ndim) if d not in chosen]
    rows = x.permute(*left, *sorted(chosen)) if left + sorted(chosen) != list(range(x.ndim)) else x
    rows = rows.reshape(*(x.shape[d] for d in left), -1)
    shape = [1 if d in chosen else n for d, n in enumerate(x.shape) if keepdim or d not in chosen]
    return weighted(rows, 1 / rows.shape[-1] if mean else 1.0).reshape(shape)


OPERATORS = {torch.ops.aten.mean.dim: mean, torch.ops.aten.sum.dim_IntList: total}
