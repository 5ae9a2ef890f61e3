"""Half precision with weights of 16 values: a table for each, and 4 bits for every number."""

from __future__ import annotations

from mvdeploy.precisions import _weights

PRECISION = _weights.palette(4, min_snr_db=6.0)
