"""Parts of a tensor as slices, changes of shape as such: what delegates take.

``x[i]``, ``unbind``, ``split`` and ``chunk`` become slices of step 1; ``squeeze`` and ``unsqueeze``
become ``reshape``; ``expand`` is a product with ones, or nothing where the shape stays.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_ATEN = torch.ops.aten


def select(x: Tensor, dim: int, index: int) -> Tensor:
    """Return one place of a dimension, without the dimension."""
    dim, index = dim % x.ndim, index % x.shape[dim]
    part: Tensor = _ATEN.slice.Tensor(x, dim, index, index + 1)
    return part.reshape(*x.shape[:dim], *x.shape[dim + 1 :])


def unbind(x: Tensor, dim: int = 0) -> list[Tensor]:
    """Return every place of a dimension."""
    return [select(x, dim, index) for index in range(x.shape[dim])]


def split_with_sizes(x: Tensor, sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
    """Return parts of a dimension."""
    ends = list(itertools.accumulate(sizes))
    return [
        _ATEN.slice.Tensor(x, dim, end - size, end) for size, end in zip(sizes, ends, strict=True)
    ]


def split(x: Tensor, size: int, dim: int = 0) -> list[Tensor]:
    """Return parts of one size; the last may be smaller."""
    length = x.shape[dim]
    return split_with_sizes(x, [min(size, length - i) for i in range(0, length, size)], dim)


def chunk(x: Tensor, chunks: int, dim: int = 0) -> list[Tensor]:
    """Return so many parts of a dimension."""
    return split(x, -(-x.shape[dim] // chunks), dim)


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """Add a dimension of 1."""
    dim %= x.ndim + 1
    return x.reshape(*x.shape[:dim], 1, *x.shape[dim:])


def squeeze(x: Tensor, dims: int | Sequence[int]) -> Tensor:
    """Remove dimensions where they are 1."""
    chosen = {d % x.ndim for d in ([dims] if isinstance(dims, int) else dims)}
    return x.reshape([n for i, n in enumerate(x.shape) if i not in chosen or n != 1])


def expand(x: Tensor, shape: Sequence[int], *, implicit: bool = False) -> Any:
    """Repeat dimensions of 1."""
    lead = len(shape) - x.ndim
    whole = [x.shape[i - lead] if n == -1 else n for i, n in enumerate(shape)]
    if list(x.shape) == whole:
        return x.reshape(whole)
    if not x.is_floating_point():
        return NotImplemented
    return x * torch.ones(whole, dtype=x.dtype)


def roll(x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Any:
    """Shift along dimensions; what leaves at one end comes in at the other."""
    if not dims:
        return NotImplemented
    for shift, dim in zip(shifts, dims, strict=True):
        cut = -shift % x.shape[dim]
        if cut:
            ends = (
                _ATEN.slice.Tensor(x, dim, cut, x.shape[dim]),
                _ATEN.slice.Tensor(x, dim, 0, cut),
            )
            x = torch.cat(ends, dim)
    return x.reshape(x.shape)


OPERATORS = {
    _ATEN.roll.default: roll,
    _ATEN.select.int: select,
    _ATEN.unbind.int: unbind,
    _ATEN.split_with_sizes.default: split_with_sizes,
    _ATEN.split.Tensor: split,
    _ATEN.chunk.default: chunk,
    _ATEN.unsqueeze.default: unsqueeze,
    _ATEN.squeeze.dim: squeeze,
    _ATEN.squeeze.dims: squeeze,
    _ATEN.expand.default: expand,
}
