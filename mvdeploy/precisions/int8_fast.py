"""Whatever an engine has in whole numbers of 8 bits, in the form that is fastest in it.

Norms, softmax and products of two computed tensors stay floats: in single precision, in Core ML in
half.
"""

from __future__ import annotations

from mvdeploy.precisions import Precision
from mvdeploy.quantization import Scheme

PRECISION = Precision(
    name="int8-fast",
    label="int8-fast",
    title="8-bit whole numbers wherever the engine has them",
    sure_db=110.0,
    min_snr_db=30.0,
    scheme=Scheme(everything=True),
    formats=("coreml", "onnx", "executorch"),
)
