"""Half precision with weights of 256 values: a table for each, and 8 bits for every number."""

from __future__ import annotations

from mvdeploy.precisions import _weights

PRECISION = _weights.palette(8, min_snr_db=30.0)
