"""Whole numbers in arithmetic of floats as floats: else they are converted in every inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_ATEN = torch.ops.aten


def _with_float(operator: Any) -> Callable[..., Any]:
    def rewritten(x: Tensor, other: Any, *more: Any, **kind: Any) -> Any:
        if type(other) is not int or not x.is_floating_point():
            return NotImplemented
        return operator(x, float(other), *more, **kind)

    return rewritten


OPERATORS = {
    operator: _with_float(operator)
    for operator in (_ATEN.add.Tensor, _ATEN.sub.Tensor, _ATEN.mul.Tensor, _ATEN.div.Tensor)
}
