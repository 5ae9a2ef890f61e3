"""Bfloat16: the range of single precision with 8 bits of it, which some processors compute in.

A file in it is the one in single precision, and an engine computes it so (see ``for_precision`` in
`mvdeploy.engines`): it rounds the weights when it loads them, and what its kernels make.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdeploy.precisions import Precision, fp16

if TYPE_CHECKING:
    from torch import Tensor

_LESS_DB = 18
"""Three bits less than half precision has."""


def _rounded(weight: Tensor, axis: int) -> Tensor:
    return weight.bfloat16()


PRECISION = Precision(
    name="bf16",
    label="bf16",
    title="bfloat16",
    sure_db=fp16.PRECISION.sure_db - _LESS_DB,
    min_snr_db=fp16.PRECISION.min_snr_db - _LESS_DB,
    rounding=fp16.halved(_rounded, "bfloat16"),
    by_engine=True,
    formats=("onnx",),
)
