"""Resizing of the last two dimensions.

Which places of the input a mode samples is written as coremltools 9.0 documents it for
``upsample_bilinear`` and ``resize_bilinear`` (``ops/defs/iOS15/image_resizing.py``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from mvdeploy.verify.mil.operators.movement import integers

if TYPE_CHECKING:
    from mvdeploy.verify.mil.operators import Function


def _places(size: int, new_size: int, mode: str) -> torch.Tensor:
    """Return where along a dimension of `size` elements the `new_size` new ones lie (float64)."""
    steps = torch.arange(new_size, dtype=torch.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if new_size == 1:
            middle = (size - 1) / 2 if mode == "ALIGN_CORNERS" else 0.0
            return torch.full((1,), middle, dtype=torch.float64)
        places = steps * ((size - 1) / (new_size - 1))
    elif mode == "DEFAULT":
        places = steps * (size / new_size)
    elif mode == "OFFSET_CORNERS":
        places = (steps + 0.5) * (max(1, size - 1) / new_size)
    elif mode == "UNALIGN_CORNERS":
        places = (steps + 0.5) * (size / new_size) - 0.5
    else:
        raise ValueError(f"the sampling mode '{mode}' is not supported")
    return places.clamp(0, size - 1)


def _linear(x: torch.Tensor, axis: int, new_size: int, mode: str) -> torch.Tensor:
    size = x.shape[axis]
    places = _places(size, new_size, mode)
    lower = places.floor().long()
    upper = (lower + 1).clamp(max=size - 1)
    shape = [1] * x.ndim
    shape[axis] = new_size
    weight = (places - lower).to(torch.float32).reshape(shape)
    return x.index_select(axis, lower) * (1 - weight) + x.index_select(axis, upper) * weight


def _bilinear(x: torch.Tensor, height: int, width: int, mode: str) -> torch.Tensor:
    return _linear(_linear(x, x.ndim - 2, height, mode), x.ndim - 1, width, mode)


def _scaled(size: int, factor: float) -> int:
    # In single precision, as MIL infers the shape: 6 × 1.3333334 is 8.
    return math.floor(np.float32(size) * np.float32(factor))


def _upsample_bilinear(
    x: torch.Tensor,
    scale_factor_height: float,
    scale_factor_width: float,
    align_corners: bool,
    half_pixel_centers: bool | None = None,
) -> torch.Tensor:
    halves = half_pixel_centers if half_pixel_centers is not None else not align_corners
    if align_corners and halves:
        raise ValueError("align_corners with half_pixel_centers is not supported")
    mode = "UNALIGN_CORNERS" if halves else "DEFAULT"
    if align_corners:
        mode = "STRICT_ALIGN_CORNERS"
    height = _scaled(x.shape[-2], scale_factor_height)
    return _bilinear(x, height, _scaled(x.shape[-1], scale_factor_width), mode)


def _upsample_nearest(
    x: torch.Tensor, scale_factor_height: float, scale_factor_width: float
) -> torch.Tensor:
    for axis, factor in ((-2, scale_factor_height), (-1, scale_factor_width)):
        size = x.shape[axis]
        new_size = _scaled(size, factor)
        places = torch.arange(new_size) * size // new_size
        x = x.index_select(axis, places)
    return x


def _resize_bilinear(
    x: torch.Tensor, target_size_height: int, target_size_width: int, sampling_mode: str
) -> torch.Tensor:
    return _bilinear(x, target_size_height, target_size_width, sampling_mode)


def _resize(
    x: torch.Tensor,
    shape: torch.Tensor,
    resized_dims: int,
    interpolation_mode: str,
    sampling_mode: str,
) -> torch.Tensor:
    if interpolation_mode != "LINEAR":
        raise ValueError(f"the interpolation mode '{interpolation_mode}' is not supported")
    for axis, new_size in zip(
        range(-resized_dims, 0), integers(shape)[-resized_dims:], strict=True
    ):
        if new_size:  # 0 leaves a dimension as it is
            x = _linear(x, x.ndim + axis, new_size, sampling_mode)
    return x


OPERATORS: dict[str, Function] = {
    "resize": _resize,
    "resize_bilinear": _resize_bilinear,
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": _upsample_nearest,
}
"""By MIL type."""
