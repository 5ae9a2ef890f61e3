"""Operators that move elements and compute nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mvdeploy.verify.mil.operators import Function


def integers(value: torch.Tensor) -> list[int]:
    """Return a vector or a scalar as a list."""
    return [int(item) for item in value.reshape(-1).tolist()]


def _reshape(x: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    # A 0 takes over the dimension at its place.
    sizes = [size or x.shape[i] for i, size in enumerate(integers(shape))]
    return x.reshape(sizes)


def _squeeze(x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(integers(axes)))


def _expand_dims(x: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    # Axes count in the result.
    rank = x.ndim + axes.numel()
    for axis in sorted(axis % rank for axis in integers(axes)):
        x = x.unsqueeze(axis)
    return x


def _split(
    x: torch.Tensor,
    axis: int,
    num_splits: int | None = None,
    split_sizes: torch.Tensor | None = None,
) -> Sequence[torch.Tensor]:
    if split_sizes is not None:
        return torch.split(x, integers(split_sizes), axis)
    if not num_splits:
        raise ValueError("it has neither num_splits nor split_sizes")
    return torch.split(x, x.shape[axis] // num_splits, axis)


def _concat(values: list[torch.Tensor], axis: int, interleave: bool = False) -> torch.Tensor:
    if not interleave:
        return torch.cat(values, axis)
    axis %= values[0].ndim
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


def _slice_by_index(
    x: torch.Tensor,
    begin: torch.Tensor,
    end: torch.Tensor,
    stride: torch.Tensor | None = None,
    begin_mask: torch.Tensor | None = None,
    end_mask: torch.Tensor | None = None,
    squeeze_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    steps = integers(stride) if stride is not None else [1] * x.ndim
    open_begin = _flags(begin_mask, x.ndim)
    open_end = _flags(end_mask, x.ndim)
    single = _flags(squeeze_mask, x.ndim)
    begins, ends = integers(begin), integers(end)
    for axis in range(x.ndim):
        first = begins[axis]
        if single[axis]:
            picked = range(x.shape[axis])[first : first + 1 or None]
        else:
            cut = slice(
                None if open_begin[axis] else first,
                None if open_end[axis] else ends[axis],
                steps[axis],
            )
            picked = range(x.shape[axis])[cut]
        x = x.index_select(axis, torch.tensor(picked, dtype=torch.long))
    return x.squeeze(tuple(axis for axis in range(x.ndim) if single[axis]))


def _flags(mask: torch.Tensor | None, rank: int) -> list[bool]:
    return [False] * rank if mask is None else [bool(item) for item in mask.tolist()]


def _slice_by_size(x: torch.Tensor, begin: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    for axis, (first, count) in enumerate(zip(integers(begin), integers(size), strict=True)):
        first %= x.shape[axis]
        # -1 is all that is left.
        x = x.narrow(axis, first, count if count >= 0 else x.shape[axis] - first)
    return x


def _gather(
    x: torch.Tensor,
    indices: torch.Tensor,
    axis: int,
    batch_dims: int = 0,
    validate_indices: bool = False,
) -> torch.Tensor:
    if batch_dims:
        raise ValueError(f"batch_dims {batch_dims} is not supported")
    axis %= x.ndim
    picked = x.index_select(axis, indices.reshape(-1).long() % x.shape[axis])
    return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _gather_along_axis(
    x: torch.Tensor, indices: torch.Tensor, axis: int, validate_indices: bool = False
) -> torch.Tensor:
    return torch.gather(x, axis, indices.long() % x.shape[axis])


def _pad(x: torch.Tensor, pad: torch.Tensor, mode: str, constant_val: float) -> torch.Tensor:
    pairs = integers(pad)
    # MIL counts from the first dimension that is padded, PyTorch from the last.
    turned = [n for i in range(len(pairs) - 2, -1, -2) for n in pairs[i : i + 2]]
    if mode == "constant":
        return F.pad(x, turned, value=constant_val)
    axis = x.ndim - len(pairs) // 2
    for i in range(0, len(pairs), 2):
        x = _mirrored(x, axis + i // 2, pairs[i], pairs[i + 1], mode)
    return x


def _mirrored(x: torch.Tensor, axis: int, before: int, after: int, mode: str) -> torch.Tensor:
    last = x.shape[axis] - 1
    places = torch.arange(-before, last + 1 + after)
    if mode == "reflect":
        places = last - (last - places.abs()).abs()
    return x.index_select(axis, places.clamp(0, last))


def _flatten2d(x: torch.Tensor, axis: int) -> torch.Tensor:
    rows = 1
    for size in x.shape[: axis % x.ndim if axis < 0 else axis]:
        rows *= size
    return x.reshape(rows, -1)


def _reverse(x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
    return x.flip(list(range(x.ndim)) if axes is None else integers(axes))


def _fill(shape: torch.Tensor, value: Any) -> torch.Tensor:
    return torch.full(integers(shape), value)


OPERATORS: dict[str, Function] = {
    "concat": _concat,
    "expand_dims": _expand_dims,
    "fill": _fill,
    "flatten2d": _flatten2d,
    "gather": _gather,
    "gather_along_axis": _gather_along_axis,
    "pad": _pad,
    "pixel_shuffle": lambda x, upscale_factor: F.pixel_shuffle(x, upscale_factor),
    "pixel_unshuffle": lambda x, downscale_factor: F.pixel_unshuffle(x, downscale_factor),
    "reshape": _reshape,
    "reverse": _reverse,
    "shape": lambda x: torch.tensor(x.shape),
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "split": _split,
    "squeeze": _squeeze,
    "stack": lambda values, axis: torch.stack(values, axis),
    "tile": lambda x, reps: x.repeat(integers(reps)),
    "transpose": lambda x, perm: x.permute(integers(perm)),
}
"""By MIL type."""
