"""SiLU by its definition: in half precision torch writes it with changes of type to float32."""

from __future__ import annotations

import torch
from torch import Tensor

_ATEN = torch.ops.aten


def silu(x: Tensor) -> Tensor:
    """Return x · sigmoid(x)."""
    return x * torch.sigmoid(x)


OPERATORS = {_ATEN.silu.default: silu}
