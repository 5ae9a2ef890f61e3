"""Operators that return what they are given: left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_ATEN = torch.ops.aten


def same(x: Tensor, *_: object, **__: object) -> Tensor:
    """Return the tensor itself."""
    return x


def to_type(x: Tensor, dtype: torch.dtype, *_: object, **__: object) -> Any:
    """Leave out a change to the type that there is."""
    return x if x.dtype == dtype else NotImplemented


def copied(x: Tensor, *, dtype: torch.dtype | None = None, **_: object) -> Any:
    """Leave out a copy of the same type."""
    return x if dtype in (None, x.dtype) else NotImplemented


def joined(tensors: Sequence[Tensor], *_: object) -> Any:
    """Leave out a concatenation of one tensor, which XNNPACK does not take."""
    return tensors[0] if len(tensors) == 1 else NotImplemented


OPERATORS = {
    _ATEN.alias.default: same,
    _ATEN.cat.default: joined,
    _ATEN.to.dtype: to_type,
    _ATEN._to_copy.default: copied,
}
