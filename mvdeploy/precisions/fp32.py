"""Single precision: the network's own."""

from __future__ import annotations

from mvdeploy.precisions import Precision

PRECISION = Precision(
    name="fp32", label="fp32", title="single precision", sure_db=110.0, max_abs=1e-4
)
