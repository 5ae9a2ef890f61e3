"""Convolutions, matrix products, norms, attention, pooling and the classifier's end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812

from mvdeploy.verify.mil.operators.movement import integers

if TYPE_CHECKING:
    from mvdeploy.verify.mil.operators import Function


def _margins(
    sizes: list[int], spans: list[int], strides: list[int], pad_type: str, pad: list[int]
) -> list[int]:
    """Return what to add around the spatial dimensions, in the order of PyTorch's `F.pad`.

    Args:
        sizes: the spatial dimensions.
        spans: how much of each a kernel covers.
        strides: of the kernel.
        pad_type: "valid", "custom", or "same" and "same_lower", which give as many results as
            there are strides in a dimension; the odd one goes behind or before it.
        pad: before and after each dimension, for "custom".
    """
    pairs: list[tuple[int, int]] = []
    for i, (size, span, stride) in enumerate(zip(sizes, spans, strides, strict=True)):
        if pad_type == "valid":
            pairs.append((0, 0))
        elif pad_type == "custom":
            pairs.append((pad[2 * i], pad[2 * i + 1]))
        elif pad_type in ("same", "same_lower"):
            total = max((math.ceil(size / stride) - 1) * stride + span - size, 0)
            small, large = total // 2, total - total // 2
            pairs.append((small, large) if pad_type == "same" else (large, small))
        else:
            raise ValueError(f"pad_type '{pad_type}' is not supported")
    return [n for pair in reversed(pairs) for n in pair]


def _conv(
    x: torch.Tensor,
    weight: torch.Tensor,
    strides: torch.Tensor,
    pad_type: str,
    pad: torch.Tensor,
    dilations: torch.Tensor,
    groups: int,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    steps, gaps = integers(strides), integers(dilations)
    kernel = weight.shape[2:]
    spans = [gap * (n - 1) + 1 for n, gap in zip(kernel, gaps, strict=True)]
    margins = _margins(list(x.shape[2:]), spans, steps, pad_type, integers(pad))
    run: Function = (F.conv1d, F.conv2d, F.conv3d)[len(kernel) - 1]
    result: torch.Tensor = run(
        F.pad(x, margins), weight, bias, stride=steps, dilation=gaps, groups=groups
    )
    return result


def _conv_transpose(
    x: torch.Tensor,
    weight: torch.Tensor,
    strides: torch.Tensor,
    pad_type: str,
    pad: torch.Tensor,
    dilations: torch.Tensor,
    groups: int,
    bias: torch.Tensor | None = None,
    output_shape: torch.Tensor | None = None,
) -> torch.Tensor:
    if pad_type not in ("valid", "custom"):
        raise ValueError(f"pad_type '{pad_type}' is not supported")
    kernel = weight.shape[2:]
    run: Function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(kernel) - 1]
    steps, gaps = integers(strides), integers(dilations)
    result: torch.Tensor = run(x, weight, None, stride=steps, dilation=gaps, groups=groups)
    cut = integers(pad) if pad_type == "custom" else [0] * 2 * len(kernel)
    for i, size in enumerate(result.shape[2:]):
        length = size - cut[2 * i] - cut[2 * i + 1]
        if output_shape is not None:
            length = integers(output_shape)[-len(kernel) + i]
        result = result.narrow(2 + i, cut[2 * i], min(length, size - cut[2 * i]))
        missing = length - result.shape[2 + i]  # what was asked for beyond the last window
        ends = [0, 0] * (len(kernel) - 1 - i) + [0, missing]
        result = F.pad(result, ends)
    return result if bias is None else result + _per_channel(bias, result.ndim)


def _crop(x: torch.Tensor, crop_height: torch.Tensor, crop_width: torch.Tensor) -> torch.Tensor:
    (top, bottom), (left, right) = integers(crop_height), integers(crop_width)
    height, width = x.shape[-2:]
    return x[..., top : height - bottom, left : width - right]


def _pooled(
    x: torch.Tensor,
    functions: tuple[Function, Function, Function],
    fill: float,
    *,
    kernel_sizes: torch.Tensor,
    strides: torch.Tensor,
    pad_type: str,
    pad: torch.Tensor,
    ceil_mode: bool,
) -> torch.Tensor:
    if ceil_mode:
        raise ValueError("ceil_mode is not supported")
    spans, steps = integers(kernel_sizes), integers(strides)
    margins = _margins(list(x.shape[2:]), spans, steps, pad_type, integers(pad))
    result: torch.Tensor = functions[len(spans) - 1](F.pad(x, margins, value=fill), spans, steps)
    return result


def _max_pool(x: torch.Tensor, **window: Any) -> torch.Tensor:
    return _pooled(x, (F.max_pool1d, F.max_pool2d, F.max_pool3d), -math.inf, **window)


def _avg_pool(x: torch.Tensor, exclude_padding_from_average: bool, **window: Any) -> torch.Tensor:
    functions = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
    result = _pooled(x, functions, 0.0, **window)
    if exclude_padding_from_average:
        result = result / _pooled(torch.ones_like(x), functions, 0.0, **window)
    return result


def _matmul(x: torch.Tensor, y: torch.Tensor, transpose_x: bool, transpose_y: bool) -> torch.Tensor:
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


def _per_channel(vector: torch.Tensor, rank: int) -> torch.Tensor:
    return vector.reshape(-1, *[1] * (rank - 2))


def _batch_norm(
    x: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    epsilon: float,
    gamma: torch.Tensor | None = None,
    beta: torch.Tensor | None = None,
) -> torch.Tensor:
    scale = torch.rsqrt(variance + epsilon)
    if gamma is not None:
        scale = scale * gamma
    shift = -mean * scale
    if beta is not None:
        shift = shift + beta
    return x * _per_channel(scale, x.ndim) + _per_channel(shift, x.ndim)


def _normalised(x: torch.Tensor, axes: list[int], epsilon: float) -> torch.Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + epsilon)


def _instance_norm(
    x: torch.Tensor,
    epsilon: float,
    gamma: torch.Tensor | None = None,
    beta: torch.Tensor | None = None,
) -> torch.Tensor:
    result = _normalised(x, list(range(2, x.ndim)), epsilon)
    if gamma is not None:
        result = result * _per_channel(gamma, x.ndim)
    return result if beta is None else result + _per_channel(beta, x.ndim)


def _layer_norm(
    x: torch.Tensor,
    axes: torch.Tensor,
    epsilon: float,
    gamma: torch.Tensor | None = None,
    beta: torch.Tensor | None = None,
) -> torch.Tensor:
    over = sorted(axis % x.ndim for axis in integers(axes))
    shape = [size if axis in over else 1 for axis, size in enumerate(x.shape)]
    result = _normalised(x, over, epsilon)
    if gamma is not None:
        result = result * gamma.reshape(shape)
    return result if beta is None else result + beta.reshape(shape)


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1) @ value


def _classify(probabilities: torch.Tensor, classes: list[Any]) -> tuple[Any, torch.Tensor]:
    flat = probabilities.reshape(-1)
    return classes[int(flat.argmax())], flat


OPERATORS: dict[str, Function] = {
    "avg_pool": _avg_pool,
    "batch_norm": _batch_norm,
    "classify": _classify,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "crop": _crop,
    "einsum": lambda values, equation: torch.einsum(equation, values),
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "linear": lambda x, weight, bias=None: F.linear(x, weight, bias),
    "matmul": _matmul,
    "max_pool": _max_pool,
    "scaled_dot_product_attention": _attention,
    "softmax": lambda x, axis: x.softmax(axis),
}
"""By MIL type."""
