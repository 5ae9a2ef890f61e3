"""Whole numbers as coremltools writes them, and what its passes may do with them."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder, Function
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.helper import block_context_manager
from coremltools.converters.mil.mil.passes.pass_registry import register_pass

_REPLACED = "common::nullify_redundant_quantization_zero_point"
"""Leaves zero points of 0 out, and forgets the names of tensors, by which they are verified."""

_LEFT_OUT = "common::distributive_quantized_binary_op_scale_normalization"
"""Divides the scales around an addition by one of them, and rounds what comes of it to half
precision: the file would have other scales than its manifest says."""

_NAMESPACE, _NAME = "mvdeploy", "leave_out_zero_points"


@register_pass(namespace=_NAMESPACE)
class leave_out_zero_points(AbstractGraphPass):  # type: ignore[misc]  # noqa: N801
    """Leave out zero points of 0; tensors keep their names. coremltools calls it as its class."""

    def apply(self, prog: Any) -> None:
        """Change a program."""
        for function in prog.functions.values():
            _without(function)


@block_context_manager  # type: ignore[untyped-decorator]
def _without(block: Function) -> None:
    for op in list(block.operations):
        if op.op_type != "dequantize" or op.zero_point is None or np.any(op.zero_point.val):
            continue
        made = Builder.dequantize(
            input=op.input, scale=op.scale, axis=op.axis, name=op.name, before_op=op
        )
        block.replace_uses_of_var_after_op(anchor_op=op, old_var=op.outputs[0], new_var=made)
        block.remove_ops([op])


def pipeline() -> ct.PassPipeline:
    """Return the passes with which programs in whole numbers are converted."""
    made = ct.PassPipeline()
    made.insert_pass(made.passes.index(_REPLACED), f"{_NAMESPACE}::{_NAME}")
    made.remove_passes({_REPLACED, _LEFT_OUT})
    return made
