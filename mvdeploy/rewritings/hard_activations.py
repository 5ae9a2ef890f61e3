"""Hard sigmoid by its definition; hard swish stays, as engines have it.

torch writes it out with changes of type that change nothing here, and that no delegate takes.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ATEN = torch.ops.aten


def hardsigmoid(x: Tensor) -> Tensor:
    """Return max(0, min(6, x + 3)) / 6."""
    return torch.clamp(x + 3.0, 0.0, 6.0) * (1 / 6)


OPERATORS = {_ATEN.hardsigmoid.default: hardsigmoid}
