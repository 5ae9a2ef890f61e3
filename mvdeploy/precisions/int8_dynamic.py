"""Linear layers in whole numbers of 8 bits, with scales that are found in every inference.

Weights have a scale for each output channel; what a layer is fed is quantised when it is there, by
its least and largest number. That takes no images beforehand, and costs little accuracy; all else
stays in single precision.
"""

from __future__ import annotations

from mvdeploy.precisions import Precision
from mvdeploy.quantization import Scheme

PRECISION = Precision(
    name="int8-dynamic",
    label="int8-dynamic",
    title="8-bit linear layers with scales found in every inference",
    sure_db=110.0,
    min_snr_db=30.0,
    scheme=Scheme(dynamic=True),
    formats=("onnx", "executorch"),
)
