"""Whole numbers of 8 bits with scales: files that others quantised. mvdeploy writes none."""

from __future__ import annotations

from mvdeploy.precisions import Precision

# What is lost depends on the scales, which tools choose. This tells a broken file, not an accurate
# one: a third of the outputs may be noise.
PRECISION = Precision(
    name="int8", label="int8", title="8-bit whole numbers", sure_db=15.0, min_snr_db=10.0
)
