"""Floats to whole numbers of 8 bits, and back.

As coremltools documents them: ``clip(round(x / scale) + zero point)``, halves rounded to even, and
``scale · (number − zero point)``, with one scale for the whole tensor or one for each index of an
axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from mvdeploy.verify.mil.operators import Function

_TYPES = {"int8": torch.int8, "uint8": torch.uint8}


def _along(values: torch.Tensor | float, axis: int | None, rank: int) -> torch.Tensor | float:
    """Return numbers as they are multiplied with a tensor: one, or one for each index of an axis.

    Raises:
        ValueError: there are several, and no axis.
    """
    if not isinstance(values, torch.Tensor) or values.ndim == 0:
        return values
    if axis is None:
        raise ValueError("several scales have no axis")
    shape = [1] * rank
    shape[axis] = -1
    return values.float().reshape(shape)


def _quantize(
    input: torch.Tensor,
    scale: torch.Tensor | float,
    output_dtype: str,
    zero_point: torch.Tensor | int = 0,
    axis: int | None = None,
) -> torch.Tensor:
    if output_dtype not in _TYPES:
        raise ValueError(f"output_dtype '{output_dtype}' is not supported")
    limits = torch.iinfo(_TYPES[output_dtype])
    steps = torch.round(input / _along(scale, axis, input.ndim))
    moved = steps + _along(zero_point, axis, input.ndim)
    return moved.clamp(limits.min, limits.max).to(_TYPES[output_dtype])


def _dequantize(
    input: torch.Tensor,
    scale: torch.Tensor | float,
    zero_point: torch.Tensor | int = 0,
    axis: int | None = None,
) -> torch.Tensor:
    steps = input.float() - _along(zero_point, axis, input.ndim)
    return steps * _along(scale, axis, input.ndim)


OPERATORS: dict[str, Function] = {"dequantize": _dequantize, "quantize": _quantize}
"""By MIL type."""
