"""Variants of operators that PyTorch's converter does not write, as MIL documents them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mvdeploy.engines import SessionRequest
from mvdeploy.errors import EngineError
from mvdeploy.quiet import quiet
from mvdeploy.verify import mil

with quiet(errors=True):
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813

SHAPE = (2, 3, 5, 6)
WEIGHT = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
ROW = np.linspace(0.5, 2, 6, dtype=np.float32)
PLANES = np.array([0.5, 1.0, 2.0], dtype=np.float32)


def _layer_norm(x, axes, eps):
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axes, keepdims=True) + eps)


def _conv(x, margins):
    padded = F.pad(torch.from_numpy(x), margins)
    return F.conv2d(padded, torch.from_numpy(WEIGHT), stride=2).numpy()


def _grid(x, rows, columns):
    """Sample x at fractional rows and columns by definition, value by value."""
    result = np.empty((*x.shape[:2], len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            top, left = min(int(row), x.shape[2] - 2), min(int(column), x.shape[3] - 2)
            down, right = row - top, column - left
            corner = x[:, :, top : top + 2, left : left + 2].astype(np.float64)
            weights = np.outer([1 - down, down], [1 - right, right])
            result[:, :, i, j] = (corner * weights).sum((2, 3))
    return result


def _resized(mode):
    return lambda x: mb.resize_bilinear(
        x=x, target_size_height=10, target_size_width=9, sampling_mode=mode
    )


def _sampled(rows, columns):
    def limited(places, size):
        return np.clip(places, 0, size - 1)

    return lambda x: _grid(x, limited(rows, 5), limited(columns, 6))


_TENS, _NINES = np.arange(10), np.arange(9)
_CORNERS = _sampled(_TENS * 4 / 9, _NINES * 5 / 8)
_LEGACY = _sampled(_TENS * 0.5, _NINES * 6 / 9)
_HALVES = _sampled((_TENS + 0.5) * 0.5 - 0.5, (_NINES + 0.5) * 6 / 9 - 0.5)
_ERF = np.vectorize(math.erf)

VARIANTS = {
    "gelu_tanh": (
        lambda x: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
        lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    ),
    "gelu_sigmoid": (
        lambda x: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"),
        lambda x: x / (1 + np.exp(-1.702 * x)),
    ),
    "gelu_exact": (lambda x: mb.gelu(x=x), lambda x: x * (1 + _ERF(x / np.sqrt(2))) / 2),
    "clamped_relu": (
        lambda x: mb.clamped_relu(x=x, alpha=0.5, beta=1.0),
        lambda x: np.minimum(np.where(x >= 0, x, 0.5 * x), 1),
    ),
    "sigmoid_hard": (
        lambda x: mb.sigmoid_hard(x=x, alpha=0.3, beta=0.4),
        lambda x: np.clip(0.3 * x + 0.4, 0, 1),
    ),
    "threshold": (lambda x: mb.threshold(x=x, alpha=0.3), lambda x: np.maximum(x, 0.3)),
    "thresholded_relu": (
        lambda x: mb.thresholded_relu(x=x, alpha=0.3),
        lambda x: np.where(x >= 0.3, x, 0),
    ),
    "softsign": (lambda x: mb.softsign(x=x), lambda x: x / (1 + np.abs(x))),
    "inverse": (
        lambda x: mb.inverse(x=mb.abs(x=x), epsilon=0.5),
        lambda x: 1 / (np.abs(x) + 0.5),
    ),
    "inverse_default": (
        lambda x: mb.inverse(x=mb.add(x=mb.abs(x=x), y=0.5)),
        lambda x: 1 / (np.abs(x) + 0.5 + 1e-4),
    ),
    "log": (lambda x: mb.log(x=mb.abs(x=x), epsilon=0.5), lambda x: np.log(np.abs(x) + 0.5)),
    "rsqrt": (
        lambda x: mb.rsqrt(x=mb.abs(x=x), epsilon=0.5),
        lambda x: 1 / np.sqrt(np.abs(x) + 0.5),
    ),
    "exp2": (lambda x: mb.exp2(x=x), np.exp2),
    "mod": (lambda x: mb.mod(x=x, y=0.7), lambda x: np.mod(x, np.float32(0.7))),
    "floor_div": (lambda x: mb.floor_div(x=x, y=0.7), lambda x: x // np.float32(0.7)),
    "select": (
        lambda x: mb.select(cond=mb.logical_not(x=mb.less(x=x, y=0.1)), a=x, b=ROW),
        lambda x: np.where(x < 0.1, ROW, x),
    ),
    "truncate": (
        lambda x: mb.cast(x=mb.cast(x=mb.mul(x=x, y=3.0), dtype="int32"), dtype="fp32"),
        lambda x: np.trunc(x * 3),
    ),
    "halves": (
        lambda x: mb.cast(x=mb.cast(x=x, dtype="fp16"), dtype="fp32"),
        lambda x: x.astype(np.float16).astype(np.float32),
    ),
    "l1": (
        lambda x: mb.reduce_l1_norm(x=x, axes=[1, -1], keep_dims=True),
        lambda x: np.abs(x).sum((1, 3), keepdims=True),
    ),
    "l2": (
        lambda x: mb.reduce_l2_norm(x=x, axes=[1]),
        lambda x: np.sqrt((x.astype(np.float64) ** 2).sum(1)),
    ),
    "sum_square": (
        lambda x: mb.reduce_sum_square(x=x, axes=[2]),
        lambda x: (x.astype(np.float64) ** 2).sum(2),
    ),
    "mean_of_all": (lambda x: mb.reduce_mean(x=x, keep_dims=True), lambda x: x.mean(keepdims=True)),
    "argmin": (
        lambda x: mb.cast(x=mb.reduce_argmin(x=x, axis=1, keep_dims=True), dtype="fp32"),
        lambda x: x.argmin(1, keepdims=True),
    ),
    "conv_same": (
        lambda x: mb.conv(x=x, weight=WEIGHT, strides=[2, 2], pad_type="same"),
        lambda x: _conv(x, (0, 1, 1, 1)),
    ),
    "conv_same_lower": (
        lambda x: mb.conv(x=x, weight=WEIGHT, strides=[2, 2], pad_type="same_lower"),
        lambda x: _conv(x, (1, 0, 1, 1)),
    ),
    "conv_custom": (
        lambda x: mb.conv(x=x, weight=WEIGHT, strides=[2, 2], pad_type="custom", pad=[2, 0, 1, 3]),
        lambda x: _conv(x, (1, 3, 2, 0)),
    ),
    "matmul_x": (
        lambda x: mb.matmul(x=x, y=x, transpose_x=True),
        lambda x: x.swapaxes(2, 3) @ x,
    ),
    "matmul_y": (
        lambda x: mb.matmul(x=x, y=x, transpose_y=True),
        lambda x: x @ x.swapaxes(2, 3),
    ),
    "batch_norm": (
        lambda x: mb.batch_norm(x=x, mean=PLANES, variance=PLANES, epsilon=0.1),
        lambda x: (x - PLANES.reshape(3, 1, 1)) / np.sqrt(PLANES.reshape(3, 1, 1) + 0.1),
    ),
    "instance_norm": (
        lambda x: mb.instance_norm(x=x, gamma=PLANES, beta=-PLANES, epsilon=0.1),
        lambda x: (_layer_norm(x, (2, 3), 0.1) - 1) * PLANES.reshape(3, 1, 1),
    ),
    "norm_of_channels": (
        lambda x: mb.layer_norm(x=x, axes=[1], gamma=PLANES, beta=-PLANES, epsilon=0.1),
        lambda x: (_layer_norm(x, (1,), 0.1) - 1) * PLANES.reshape(3, 1, 1),
    ),
    "norm_of_planes": (
        lambda x: mb.layer_norm(
            x=x, axes=[-3, -1], gamma=np.outer(PLANES, ROW).astype(np.float32), epsilon=0.1
        ),
        lambda x: _layer_norm(x, (1, 3), 0.1) * np.outer(PLANES, ROW)[:, None],
    ),
    "masked_attention": (
        lambda x: mb.matmul(x=mb.softmax(x=mb.add(x=x, y=ROW), axis=2), y=x, transpose_y=True),
        lambda x: (np.exp(x + ROW) / np.exp(x + ROW).sum(2, keepdims=True)) @ x.swapaxes(2, 3),
    ),
    "interleaved": (
        lambda x: mb.concat(values=[x, mb.relu(x=x)], axis=1, interleave=True),
        lambda x: np.stack([x, np.maximum(x, 0)], 2).reshape(2, 6, 5, 6),
    ),
    "expand_dims": (
        lambda x: mb.expand_dims(x=mb.squeeze(x=mb.reduce_max(x=x, axes=[0, 1])), axes=[-1, 0]),
        lambda x: x.max((0, 1))[None, :, :, None],
    ),
    "reshape": (
        lambda x: mb.reshape(x=x, shape=[0, -1, 3, 0]),
        lambda x: x.reshape(2, 5, 3, 6),
    ),
    "slices": (
        lambda x: mb.slice_by_index(
            x=x,
            begin=[1, -1, 4, 1],
            end=[0, 0, 0, -1],
            stride=[1, 1, -2, 2],
            begin_mask=[True, False, False, False],
            end_mask=[True, False, True, False],
            squeeze_mask=[False, True, False, False],
        ),
        lambda x: x[:, -1, 4::-2, 1:-1:2],
    ),
    "slice_by_size": (
        lambda x: mb.slice_by_size(x=x, begin=[0, 1, 2, 0], size=[2, 1, -1, 4]),
        lambda x: x[:, 1:2, 2:, :4],
    ),
    "gather": (
        lambda x: mb.gather(x=x, indices=np.array([[-1, 0], [2, 2]], np.int32), axis=1),
        lambda x: x[:, [[2, 0], [2, 2]]],
    ),
    "gather_along_axis": (
        lambda x: mb.gather_along_axis(x=x, indices=np.full((2, 1, 5, 6), -1, np.int32), axis=1),
        lambda x: x[:, 2:],
    ),
    "last_padded": (
        lambda x: mb.pad(x=x, pad=[1, 0, 2, 3], mode="constant", constant_val=2.0),
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 0), (2, 3)), constant_values=2),
    ),
    "mirrored": (
        lambda x: mb.pad(x=x, pad=[1, 2, 3, 0], mode="reflect"),
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (3, 0)), mode="reflect"),
    ),
    "reversed": (lambda x: mb.reverse(x=x, axes=[1, 3]), lambda x: x[:, ::-1, :, ::-1]),
    "flat": (lambda x: mb.flatten2d(x=x, axis=-2), lambda x: x.reshape(6, 30)),
    "filled": (
        lambda x: mb.add(x=mb.fill(shape=mb.shape(x=x), value=0.25), y=x),
        lambda x: x + 0.25,
    ),
    "half_split": (lambda x: mb.split(x=x, num_splits=2, axis=3)[1], lambda x: x[..., 3:]),
    "identity": (
        lambda x: mb.identity(x=mb.tile(x=x, reps=[1, 2, 1, 1])),
        lambda x: np.tile(x, (1, 2, 1, 1)),
    ),
    "align": (
        lambda x: mb.upsample_bilinear(
            x=x, scale_factor_height=2.0, scale_factor_width=1.5, align_corners=True
        ),
        _CORNERS,
    ),
    "half_pixels": (
        lambda x: mb.upsample_bilinear(
            x=x, scale_factor_height=2.0, scale_factor_width=1.5, align_corners=False
        ),
        _HALVES,
    ),
    "legacy": (
        lambda x: mb.upsample_bilinear(
            x=x,
            scale_factor_height=2.0,
            scale_factor_width=1.5,
            align_corners=False,
            half_pixel_centers=False,
        ),
        _LEGACY,
    ),
    "strict": (_resized("STRICT_ALIGN_CORNERS"), _CORNERS),
    "aligned": (_resized("ALIGN_CORNERS"), _CORNERS),
    "unaligned": (_resized("UNALIGN_CORNERS"), _HALVES),
    "default": (_resized("DEFAULT"), _LEGACY),
    "offset": (
        _resized("OFFSET_CORNERS"),
        _sampled((_TENS + 0.5) * 4 / 10, (_NINES + 0.5) * 5 / 9),
    ),
    "middle": (
        lambda x: mb.resize_bilinear(
            x=x, target_size_height=1, target_size_width=1, sampling_mode="ALIGN_CORNERS"
        ),
        _sampled(np.array([2.0]), np.array([2.5])),
    ),
    "corner": (
        lambda x: mb.resize_bilinear(
            x=x, target_size_height=1, target_size_width=1, sampling_mode="STRICT_ALIGN_CORNERS"
        ),
        lambda x: x[:, :, :1, :1],
    ),
    "resize": (
        lambda x: mb.resize(
            x=x, shape=[10, 9], resized_dims=np.uint32(2), sampling_mode="UNALIGN_CORNERS"
        ),
        _HALVES,
    ),
    "resize_one": (
        lambda x: mb.resize(
            x=x, shape=[10, 0], resized_dims=np.uint32(2), sampling_mode="STRICT_ALIGN_CORNERS"
        ),
        _sampled(_TENS * 4 / 9, np.arange(6)),
    ),
    "nearest": (
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=3, scale_factor_width=2),
        lambda x: x.repeat(3, 2).repeat(2, 3),
    ),
}


def _built(save, outputs):
    """Save a program of one input with the operators that `outputs` gives for it."""

    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)
    def program(x):
        results = {name: write(x) for name, write in outputs.items()}
        return [mb.identity(x=result, name=f"out_{name}") for name, result in results.items()]

    with quiet(errors=True):
        model = ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32,
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
        )
    return save(model)


def _x():
    return np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


@pytest.fixture(scope="module")
def results(save):
    """Return what a program with all variants gives; its outputs keep the order of `VARIANTS`."""
    path = _built(save, {name: write for name, (write, _) in VARIANTS.items()})
    return mil.read_tensors(SessionRequest(path, {"x": _x()}), [f"out_{name}" for name in VARIANTS])


@pytest.mark.parametrize("name", VARIANTS)
def test_variant(name, results):
    _, wanted = VARIANTS[name]
    np.testing.assert_allclose(results[f"out_{name}"], wanted(_x()), rtol=2e-6, atol=4e-6)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (
            lambda x: mb.resize(
                x=x, shape=[10, 9], resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR"
            ),
            "the interpolation mode 'NEAREST_NEIGHBOR' is not supported",
        ),
        (
            lambda x: mb.max_pool(x=x, kernel_sizes=[2, 2], pad_type="valid", ceil_mode=True),
            "ceil_mode is not supported",
        ),
        (
            lambda x: mb.upsample_bilinear(x=x, align_corners=True, half_pixel_centers=True),
            "align_corners with half_pixel_centers is not supported",
        ),
        (
            lambda x: mb.gather(x=x, indices=np.zeros((2, 1), np.int32), axis=1, batch_dims=1),
            "batch_dims 1 is not supported",
        ),
    ],
)
def test_a_variant_that_is_missing_is_named(write, said, save):
    session = mil.open_session(SessionRequest(_built(save, {"it": write}), {"x": _x()}))
    with pytest.raises(EngineError, match=said):
        session.infer()
