"""Bicubic resizing as products with two constant matrices: ``A · x · Bᵀ``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_ATEN = torch.ops.aten
_SHARPNESS = -0.75
"""Of torch's cubic kernel."""


def bicubic(
    x: Tensor,
    size: Sequence[int] | None,
    align_corners: bool,
    factors: Sequence[float] | None,
) -> Any:
    """Resize (B, C, H, W)."""
    if align_corners or not all(isinstance(side, int) for side in x.shape[2:]):
        return NotImplemented
    lengths = list(size or (int(n * f) for n, f in zip(x.shape[2:], factors or (), strict=True)))
    steps = [1 / f for f in factors] if factors else [None, None]
    rows, columns = (
        _matrix(given, wanted, step, x.dtype)
        for given, wanted, step in zip(x.shape[2:], lengths, steps, strict=True)
    )
    wide = torch.matmul(x, columns.transpose(0, 1))
    return torch.matmul(wide.transpose(2, 3), rows.transpose(0, 1)).transpose(2, 3)


def _matrix(given: int, wanted: int, step: float | None, dtype: torch.dtype) -> Tensor:
    """Return the weight of each given pixel in each wanted one; engines compute it once."""
    step = given / wanted if step is None else step
    centre = (torch.arange(wanted, dtype=dtype) + 0.5) * step - 0.5
    first = torch.floor(centre)
    pixels = torch.arange(given, dtype=dtype)
    weights = torch.zeros((wanted, given), dtype=dtype)
    for offset in range(-1, 3):
        pixel = torch.clamp(first + float(offset), 0.0, given - 1.0)
        distance = torch.abs(centre - first - float(offset))
        share = _near(distance) if offset in (0, 1) else _far(distance)
        # 1 at the pixel, 0 at others, which are whole numbers away.
        at = torch.relu(1.0 - torch.abs(pixels - pixel.reshape(-1, 1)))
        weights = weights + share.reshape(-1, 1) * at
    return weights


def _near(distance: Tensor) -> Tensor:
    a = _SHARPNESS
    return ((a + 2) * distance - (a + 3)) * distance * distance + 1.0


def _far(distance: Tensor) -> Tensor:
    a = _SHARPNESS
    return ((distance - 5.0) * distance + 8.0) * distance * a - 4.0 * a


OPERATORS = {_ATEN.upsample_bicubic2d.vec: bicubic}
