"""Single precision: the network's own.

How far a sound export is from the network depends on the network: each layer passes on the errors
of those before it. So an export is held to a multiple of the error that PyTorch makes itself in
single precision, both against double precision. That does not depend on the scale of the outputs.
"""

from __future__ import annotations

from mvdeploy.precisions import Precision

PRECISION = Precision(
    name="fp32",
    label="fp32",
    title="single precision",
    sure_db=110.0,
    # Of 19 networks by ONNX Runtime, 18 have 0.7 to 1.8; an operator that loses digits made it 4.8.
    max_ratio=8.0,
    # The least exact of them has 78 dB between two sound results in single precision.
    min_snr_db=66.0,
)
