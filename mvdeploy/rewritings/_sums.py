"""Sums over the last dimension as linear layers of one output."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_LONG = 1024
"""Terms that are added one after another in float32 without losing digits that matter."""


def weighted(x: Tensor, weight: float) -> Tensor:
    """Return the sum of (…, d) times a weight, as (…, 1)."""
    width = x.shape[-1]
    inner = next(n for n in range(math.isqrt(width), 0, -1) if width % n == 0)
    if width > _LONG and inner > 1:
        parts = _sum(x.reshape(*x.shape[:-1], inner, width // inner), 1.0)
        x = parts.reshape(*x.shape[:-1], inner)
    return _sum(x, weight)


def _sum(x: Tensor, weight: float) -> Tensor:
    return F.linear(x, torch.full((1, x.shape[-1]), weight, dtype=x.dtype))
