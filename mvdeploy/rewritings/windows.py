"""Sliding windows as convolutions.

``unfold`` (im2col) is a grouped convolution with the unit matrix, to the last bit. An average pool
with padding, which no delegate takes, is a depthwise convolution with equal weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_ATEN = torch.ops.aten


def im2col(
    x: Tensor,
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Tensor:
    """Return the windows of (B, C, H, W) as (B, C·k·k, windows)."""
    channels, size = x.shape[1], math.prod(kernel)
    unit = torch.eye(size, dtype=x.dtype).reshape(size, 1, *kernel)
    weight = unit.repeat(channels, 1, 1, 1)
    found = F.conv2d(x, weight, None, list(stride), list(padding), list(dilation), channels)
    return found.reshape(x.shape[0], channels * size, -1)


def avg_pool2d(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Average windows of (B, C, H, W)."""
    padded = any(padding)
    if ceil_mode or divisor_override or not padded:
        return NotImplemented
    kernel, padding = (list(v) * 2 if len(v) == 1 else list(v) for v in (kernel, padding))
    steps = list(stride) or kernel
    channels = x.shape[1]
    weight = torch.full((channels, 1, *kernel), 1 / math.prod(kernel), dtype=x.dtype)
    pooled = F.conv2d(x, weight, None, steps, padding, 1, channels)
    if count_include_pad:
        return pooled
    inside = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype)
    return pooled / F.conv2d(inside, weight[:1], None, steps, padding)


OPERATORS = {_ATEN.im2col.default: im2col, _ATEN.avg_pool2d.default: avg_pool2d}
