"""Whole numbers of 8 bits with scales.

In Core ML, weights alone, with a scale for each output channel; what they are computed with is in
half. In ONNX and ExecuTorch, convolutions and linear layers with all that goes in and out of them.
Files that others quantised are read in any format, whatever they quantised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mvdeploy.precisions import Precision, _weights, fp16
from mvdeploy.quantization import Scheme

if TYPE_CHECKING:
    import numpy.typing as npt

_MOST = 127


def scaled(weight: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """Return a weight as its whole numbers and scales stand for it, in its own type.

    The largest number of a channel becomes 127; the arithmetic is coremltools' (linear, symmetric).

    Args:
        weight: of two dimensions or more.
        axis: of the output channels.
    """
    import numpy as np

    rest = tuple(at for at in range(weight.ndim) if at != axis)
    largest = np.abs(weight).max(axis=rest, keepdims=True)
    scale = ((largest + largest) / (2 * _MOST)).astype(weight.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):  # a channel of zeros
        numbers = np.nan_to_num(np.clip(np.round(weight / scale), -_MOST, _MOST)).astype(np.int8)
    exact = numbers.astype(np.float32) * scale.astype(np.float32)
    return np.asarray(exact.astype(weight.dtype))


_stored = _weights.stored(scaled)

PRECISION = Precision(
    name="int8",
    label="int8",
    title="8-bit whole numbers",
    sure_db=fp16.PRECISION.sure_db,
    min_snr_db=30.0,
    rounding=fp16.halved(_stored),
    stored=_stored,
    compresses=True,
    scheme=Scheme(),
    # What is lost depends on the scales, which tools choose. This tells a broken file, not an
    # accurate one: a third of the outputs may be noise.
    foreign=Precision("int8", "int8", "8-bit whole numbers", sure_db=15.0, min_snr_db=10.0),
    formats=("coreml", "onnx", "executorch"),
)
