"""Softmax in three dimensions, over the last.

XNNPACK (ExecuTorch 1.3) takes a softmax of four dimensions, and computes it along another axis
where a convolution laid its input out with channels last: wrong, without a word.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_RIGHT = 3
"""Dimensions in which it is computed right."""


def softmax(x: Tensor, dim: int, *_: object) -> Any:
    """Compute softmax over any dimension of a tensor of four and more."""
    dim %= x.ndim
    if x.ndim <= _RIGHT and dim == x.ndim - 1:
        return NotImplemented
    last = x.transpose(dim, -1)
    result = torch.softmax(last.reshape(1, -1, last.shape[-1]), dim=-1)
    return result.reshape(last.shape).transpose(dim, -1)


OPERATORS = {torch.ops.aten.softmax.int: softmax, torch.ops.aten._softmax.default: softmax}
