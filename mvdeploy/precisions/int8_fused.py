"""Whole numbers of 8 bits, with activations in the layers before them, as OpenVINO computes them.

As ``int8``, but what convolutions and linear layers make is not quantised before SiLU or GELU,
only behind: an engine that computes both at once rounds once where it would twice.
"""

from __future__ import annotations

from mvdeploy.precisions import Precision
from mvdeploy.quantization import Scheme

PRECISION = Precision(
    name="int8-fused",
    label="int8-fused",
    title="8-bit whole numbers, activations in the layers before them",
    sure_db=110.0,
    min_snr_db=30.0,
    scheme=Scheme(),
    formats=("onnx",),
)
