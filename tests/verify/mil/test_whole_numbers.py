"""Floats to whole numbers and back, against values that were computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mvdeploy.engines import SessionRequest
from mvdeploy.quiet import quiet
from mvdeploy.verify import mil
from mvdeploy.verify.mil.operators.whole_numbers import OPERATORS

with quiet(errors=True):
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813

quantize, dequantize = OPERATORS["quantize"], OPERATORS["dequantize"]


def given(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def test_halves_are_rounded_to_even() -> None:
    made = quantize(given(0.25, 0.75, 1.25, -0.25, -0.75), 0.5, "int8")
    assert made.dtype == torch.int8
    assert made.tolist() == [0, 2, 2, 0, -2]


@pytest.mark.parametrize(
    ("kind", "zero", "numbers"),
    [
        ("int8", 0, [-128, -128, -2, 0, 2, 127, 127]),
        ("int8", 10, [-128, -118, 8, 10, 12, 127, 127]),
        ("uint8", 0, [0, 0, 0, 0, 2, 128, 255]),
        ("uint8", 128, [0, 0, 126, 128, 130, 255, 255]),
    ],
)
def test_what_does_not_fit_is_the_last_that_does(kind: str, zero: int, numbers: list[int]) -> None:
    made = quantize(given(-1e9, -64.0, -1.0, 0.0, 1.0, 64.0, 1e9), 0.5, kind, zero)
    assert made.tolist() == numbers


def test_zero_points_are_taken_off_before_numbers_are_multiplied() -> None:
    numbers = torch.tensor([0, 100, 255], dtype=torch.uint8)
    assert dequantize(numbers, 0.5, 100).tolist() == [-50.0, 0.0, 77.5]
    assert dequantize(torch.tensor([-128, 127], dtype=torch.int8), 0.25).tolist() == [-32.0, 31.75]


def test_each_index_of_an_axis_has_its_own_scale_and_zero_point() -> None:
    values = torch.tensor([[[1.0, 2.0], [10.0, 20.0]]])
    scales, zeros = given(0.5, 4.0), torch.tensor([1, -1], dtype=torch.int8)
    numbers = quantize(values, scales, "int8", zeros, axis=1)
    assert numbers.tolist() == [[[3, 5], [1, 4]]]  # 2.5 becomes 2
    assert dequantize(numbers, scales, zeros, axis=-2).tolist() == [[[1.0, 2.0], [8.0, 20.0]]]


def test_several_scales_need_an_axis() -> None:
    with pytest.raises(ValueError, match="several scales have no axis"):
        quantize(torch.zeros(2, 2), given(1.0, 2.0), "int8")


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="output_dtype 'int4' is not supported"):
        quantize(given(1.0), 1.0, "int4")


def test_a_package_is_executed(save: Callable[..., Path]) -> None:
    @mb.program(
        input_specs=[mb.TensorSpec((1, 2, 3))], opset_version=ct.target.iOS17
    )  # fmt: skip
    def program(x: Any) -> Any:
        one = mb.quantize(
            input=x, scale=np.float32(0.5), zero_point=np.uint8(100), output_dtype="uint8"
        )
        floats = mb.dequantize(
            input=one, scale=np.float32(0.5), zero_point=np.uint8(100), name="floats"
        )
        each = mb.quantize(
            input=floats, scale=np.array([1.0, 3.0], np.float32), axis=1, output_dtype="int8"
        )
        return mb.dequantize(
            input=each, scale=np.array([1.0, 3.0], np.float32), axis=1, name="channels"
        )

    with quiet(errors=True):
        model = ct.convert(
            program,
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
    x = np.array([[[-100, 0.75, 2.5], [1.4, 5.0, 100]]], np.float32)
    found = mil.read_tensors(SessionRequest(save(model), {"x": x}), ("floats", "channels"))
    assert found["floats"].tolist() == [[[-50, 1, 2.5], [1.5, 5, 77.5]]]
    assert found["channels"].tolist() == [[[-50, 1, 2], [0, 6, 78]]]
