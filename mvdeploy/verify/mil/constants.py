"""Constants of a MIL program, among them compressed ones, as arrays.

Compressed weights are decompressed by the formulas in coremltools' documentation of the
``constexpr_*`` operators (iOS16 and iOS18), in float32, rounded once to the type of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def _spread(blocks: Array, shape: tuple[int, ...]) -> Array:
    """Repeat each block's value over the elements of the block."""
    places = (np.arange(n) // (n // b) for n, b in zip(shape, blocks.shape, strict=True))
    return np.asarray(blocks[np.ix_(*places)])


def _unpacked(packed: Array, bits: int, count: int) -> Array:
    """Return `count` unsigned numbers of `bits` bits each, the lowest bit first."""
    lines = np.unpackbits(packed.reshape(-1).view(np.uint8), bitorder="little")
    used = lines[: count * bits].reshape(count, bits)
    return np.asarray(used @ (1 << np.arange(bits)))


def _along(vector: Array, axis: int, rank: int) -> Array:
    if vector.ndim == 0:
        return vector
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


def _affine_dequantize(
    quantized_data: Array, zero_point: Array, scale: Array, axis: Array
) -> Array:
    rank, at = quantized_data.ndim, int(axis)
    offset = _along(zero_point.astype(np.float32), at, rank)
    factor = _along(scale.astype(np.float32), at, rank)
    centred = quantized_data.astype(np.float32) - offset
    return np.asarray((centred * factor).astype(scale.dtype))


def _shift_scale(data: Array, scale: Array, offset: Array | None = None) -> Array:
    values = data.astype(np.float32)
    if offset is not None:
        values = values - _spread(offset.astype(np.float32), data.shape)
    return np.asarray((values * _spread(scale.astype(np.float32), data.shape)).astype(scale.dtype))


def _lut_to_dense(
    lut: Array, indices: Array, shape: Array | None = None, vector_axis: Array | None = None
) -> Array:
    if shape is not None:  # iOS16: one table, packed indices
        sizes = tuple(int(n) for n in shape)
        bits = int(lut.size).bit_length() - 1
        return np.asarray(lut[_unpacked(indices, bits, int(np.prod(sizes)))].reshape(sizes))
    groups = zip(indices.shape, lut.shape[:-2], strict=True)
    blocks = np.ix_(*(np.arange(n) // (n // g) for n, g in groups))
    vectors = lut[(*blocks, indices.astype(np.intp))]
    if vector_axis is None or lut.shape[-1] == 1:
        return np.asarray(vectors.reshape(*indices.shape, -1)[..., 0])
    axis = int(vector_axis) % indices.ndim
    grown = list(indices.shape)
    grown[axis] *= lut.shape[-1]
    return np.asarray(np.moveaxis(vectors, -1, axis + 1).reshape(grown))


def _sparse_to_dense(nonzero_data: Array, mask: Array, shape: Array | None = None) -> Array:
    if shape is not None:  # iOS16: a packed mask
        sizes = tuple(int(n) for n in shape)
        mask = _unpacked(mask, 1, int(np.prod(sizes))).reshape(sizes)
    dense = np.zeros(mask.shape, nonzero_data.dtype)
    dense[mask != 0] = nonzero_data
    return dense


def _lut_to_sparse(
    indices_mask: Array,
    indices_nonzero_data: Array,
    lut: Array,
    vector_axis: Array | None = None,
) -> tuple[Array, Array]:
    dense = _lut_to_dense(
        lut, _sparse_to_dense(indices_nonzero_data, indices_mask), vector_axis=vector_axis
    )
    mask = indices_mask
    if vector_axis is not None:
        mask = np.repeat(mask, lut.shape[-1], int(vector_axis))
    return mask, dense[mask != 0]


def _sparse_shift_scale(
    data_mask: Array, nonzero_data: Array, scale: Array, offset: Array | None = None
) -> tuple[Array, Array]:
    dense = _shift_scale(_sparse_to_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask != 0]


DECOMPRESSIONS: dict[str, Callable[..., Any]] = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _shift_scale,
    "constexpr_cast": lambda source_val, output_dtype: source_val.astype(np.float32),
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_lut_to_sparse": _lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": _sparse_shift_scale,
    "constexpr_sparse_to_dense": _sparse_to_dense,
}
"""What each compressed constant stands for, by MIL type."""

TYPES = frozenset({"const", *DECOMPRESSIONS})
"""MIL types of all operators that make a constant."""


def values_of(operation: Any, known: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the outputs of an operator that makes a constant.

    Args:
        operation: an operator as coremltools loads it, of one of `TYPES`.
        known: the constants before it in the program, by name.

    Returns:
        One value for each output: an array, a NumPy scalar, a string or a list.
    """
    if operation.op_type == "const":
        return (operation.outputs[0].val,)
    inputs = {
        name: known[variable.name]
        for name, variable in operation.inputs.items()
        if variable is not None
    }
    arrays = {k: v if isinstance(v, str) else np.asarray(v) for k, v in inputs.items()}
    outputs = DECOMPRESSIONS[operation.op_type](**arrays)
    return outputs if isinstance(outputs, tuple) else (outputs,)
