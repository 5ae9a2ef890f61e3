"""Half precision with weights of 64 values: a table for each, and 6 bits for every number."""

from __future__ import annotations

from mvdeploy.precisions import _weights

PRECISION = _weights.palette(6, min_snr_db=15.0)
