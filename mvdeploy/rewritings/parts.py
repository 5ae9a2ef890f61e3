"""Parts of a tensor as slices, changes of shape as such: what delegates take.

``x[i]``, ``x[::2]``, ``unbind``, ``split`` and ``chunk`` become slices of step 1; ``squeeze`` and
``unsqueeze`` become ``reshape``; ``expand`` is a product with ones, or nothing where the shape
stays.
"""

from __future__ import annotations

import itertools
import math
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


def strided(
    x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    """Return every so many-th place of a dimension: one slice of rows of as many places."""
    length = x.shape[dim := dim % x.ndim]
    first, last, _ = slice(start, end).indices(length)
    count = -(-(last - first) // step)
    if step == 1 or count < 1 or first + count * step > length + first % step:
        return NotImplemented
    inner = math.prod(x.shape[dim + 1 :])
    # The places of a row of `step` lie behind one another; the first is at `first % step` of it.
    offset = first - first % step
    whole = _ATEN.slice.Tensor(x, dim, offset, offset + count * step)
    rows = whole.reshape(-1, step * inner)
    place = first % step * inner
    part = _ATEN.slice.Tensor(rows, 1, place, place + inner)
    return part.reshape(*x.shape[:dim], count, *x.shape[dim + 1 :])


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
    _ATEN.slice.Tensor: strided,
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
