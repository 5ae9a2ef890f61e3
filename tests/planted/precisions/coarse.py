"""A planted precision: weights of ONNX files with few bits."""

from __future__ import annotations

from mvdeploy.precisions import Precision


def rewrite(graph, format_name, calibration):
    """Round the weights to eight binary places."""
    import numpy as np
    from onnx import numpy_helper

    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            rounded = (np.round(values * 256) / 256).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    assert calibration, "the inputs that scales may be chosen by"
    return graph


PRECISION = Precision(
    name="coarse",
    label="coarse",
    title="weights with eight binary places",
    sure_db=0.0,
    min_snr_db=10.0,
    rewrite=rewrite,
    formats=("onnx",),
)
