"""Weights of a converted program in fewer bits; what they are computed with stays as it is."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import coremltools.optimize.coreml as optimize

from mvdeploy.precisions import LARGE, Precision

_WEIGHTED = ("conv", "conv_transpose", "linear", "matmul")
"""Operators whose weights are a program's bulk."""


def compressed(model: ct.models.MLModel, precision: Precision) -> ct.models.MLModel:
    """Return a program with its weights as a precision holds them.

    Args:
        model: in half precision, not loaded.
        precision: weights are written by its `table`, or else as 8-bit whole numbers with a scale
            for each output channel.
    """
    if precision.table is not None:
        by_table = optimize.OpPalettizerConfig(
            mode="custom", lut_function=precision.table, weight_threshold=LARGE
        )
        return optimize.palettize_weights(model, _for_weights(by_table))
    whole = optimize.OpLinearQuantizerConfig(
        mode="linear_symmetric", granularity="per_channel", weight_threshold=LARGE
    )
    return optimize.linear_quantize_weights(model, _for_weights(whole))


def _for_weights(config: Any) -> optimize.OptimizationConfig:
    return optimize.OptimizationConfig(op_type_configs=dict.fromkeys(_WEIGHTED, config))
