"""What XNNPACK calls the operators that a network's become, and what they compute."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence

from mvdeploy.records import Finding, Level, OperatorKind

# A convolution of 1 by 1 is a matrix product of the pixels; a product with itself is a square;
# _to_copy is a change of layout that ExecuTorch inserts. XNNPACK has no name for a sigmoid in whole
# numbers, which is a table.
_NAMES = """
linear: Fully Connected, Dynamic Fully Connected
mm addmm: Fully Connected
bmm: Batch Matrix Multiply
convolution: Convolution, Fully Connected, Deconvolution
_softmax: Softmax
sigmoid: Sigmoid, Invalid Unary Op
tanh: TanH
gelu: GELU, ApproxGELU
elu: ELU
hardswish: HardSwish
leaky_relu: LeakyReLU
prelu: PReLU
relu hardtanh clamp: Clamp
_to_copy permute_copy: Transpose
view_copy squeeze_copy: Static Reshape
unsqueeze_copy: Static Reshape, Static Expand Dims
slice_copy: Slice
cat clone: Copy
constant_pad_nd: Constant Pad
add: Add
sub: Subtract
mul: Multiply, Square
div: Divide
maximum: Maximum
minimum: Minimum
pow: Square
sqrt: Square Root
rsqrt: Reciprocal Square Root
exp: Exp
log: Log
abs: Abs
neg: Negate
ceil: Ceiling
floor: Floor
sin: Sine
cos: Cosine
mean: Mean
amax max_pool2d: Max Pooling
max: Max Pooling, ArgMax Pooling
avg_pool2d: Average Pooling
upsample_bilinear2d: Resize Bilinear
quantize_per_tensor quantize_per_token quantize_per_channel quantize_per_channel_group: Convert
dequantize_per_tensor dequantize_per_token dequantize_per_channel: Convert
dequantize_per_channel_group quantize_affine dequantize_affine: Convert
convert_element_type: Convert
"""
_RUNS_AS = {
    operator: tuple(names.strip().split(", "))
    for operators, _, names in (line.partition(":") for line in _NAMES.split("\n"))
    for operator in operators.split()
}
"""Operator of the network → names of XNNPACK's operators that it can become."""

_LAYOUT = {"_to_copy", "permute_copy", "view_copy", "squeeze_copy", "unsqueeze_copy", "clone"}

_KINDS = {
    OperatorKind.MATMUL: "linear mm bmm addmm matmul",
    OperatorKind.CONV: "convolution",
    OperatorKind.SOFTMAX: "_softmax _log_softmax",
    OperatorKind.LAYERNORM: "native_layer_norm native_group_norm"
    " _native_batch_norm_legit_no_training",
    OperatorKind.ACTIVATION: "sigmoid tanh gelu elu hardswish hardsigmoid leaky_relu prelu relu"
    " hardtanh clamp",
    OperatorKind.DATA_MOVEMENT: "_to_copy _to_dim_order_copy _clone_dim_order permute_copy"
    " view_copy slice_copy cat clone squeeze_copy unsqueeze_copy constant_pad_nd expand_copy"
    " select_copy split_copy split_with_sizes_copy transpose_copy t_copy as_strided_copy repeat"
    " stack unbind_copy pixel_shuffle pixel_unshuffle gather index",
}
_KIND_OF = {name: kind for kind, text in _KINDS.items() for name in text.split()}

_WRITTEN_OUT = {"LayerNorm": OperatorKind.LAYERNORM, "SiLU": OperatorKind.ACTIVATION}
"""Ends of the names of classes whose forward is written with operators of other kinds."""

_STEP_NS = 1000
"""XNNPACK gives whole microseconds and cuts off the rest."""

_COARSE = 0.02
"""Share of the operator time that may be cut off without a note."""

_REASONS = 3
"""How many mismatches a finding tells of."""


def base_name(operator: str) -> str:
    """``aten.convolution.default`` → ``convolution``."""
    parts = operator.split(".")
    return parts[1] if len(parts) > 1 else operator


def type_name(name: str) -> str:
    """``Fully Connected (NC, F32) GEMM #12`` → ``Fully Connected (NC, F32) GEMM``."""
    return re.sub(r" #\d+$", "", name)


def plain(name: str) -> str:
    """``Fully Connected (NC, F32) GEMM #12`` → ``Fully Connected``."""
    return type_name(name).split(" (")[0]


def can_run_as(operator: str, name: str) -> bool:
    """Whether an operator of the network can become the operator that XNNPACK calls by a name."""
    return plain(name) in _RUNS_AS.get(base_name(operator), ())


def can_merge(operator: str, before: str = "") -> bool:
    """Whether XNNPACK may merge an operator of the network with its neighbours.

    Changes of layout; what quantises for a linear layer with a scale that is found; and in whole
    numbers x·sigmoid(x), which is one table.

    Args:
        operator: such as ``aten.mul.Tensor``.
        before: the operator before it.
    """
    found = operator.endswith("quantize_per_tensor.tensor")
    gated = base_name(operator) == "mul" and base_name(before) == "sigmoid"
    return found or gated or base_name(operator) in _LAYOUT


def kind(operator: str, class_name: str = "") -> OperatorKind:
    """Return what an operator of the network computes.

    Args:
        operator: such as ``aten.linear.default``.
        class_name: of the module it is in. All operators of a LayerNorm that is written with
            others are counted as LayerNorm, as they are where an engine has one operator for it.
    """
    return written_out(class_name) or _KIND_OF.get(base_name(operator), OperatorKind.OTHER)


def written_out(class_name: str) -> OperatorKind | None:
    """Return what all operators of a module are counted as, if its class says that."""
    return next((k for end, k in _WRITTEN_OUT.items() if class_name.endswith(end)), None)


def kind_of_name(name: str) -> OperatorKind:
    """Return what an operator computes of which no more is known than XNNPACK's name for it."""
    types = (op for op, names in _RUNS_AS.items() if plain(name) in names)
    return _KIND_OF.get(next(types, ""), OperatorKind.OTHER)


def first_of(reasons: Sequence[str]) -> str:
    """Return what a finding says of what could not be matched: the first reasons."""
    more = len(reasons) - _REASONS
    return "; ".join(reasons[:_REASONS]) + (f"; and {more} more" if more > 0 else "")


def coarse(samples: Sequence[Sequence[int]]) -> Iterator[Finding]:
    """Say how much may be missing because times are whole microseconds.

    Args:
        samples: of each operator, its times in nanoseconds.
    """
    if not samples or any(ns % _STEP_NS for each in samples for ns in each):
        return
    total = sum(statistics.median(each) for each in samples)
    lost = len(samples) * _STEP_NS
    if lost > _COARSE * total:
        percent = 100 * lost / (total + lost)
        yield Finding("coarse_times", Level.NOTE, {"count": len(samples), "percent": percent})
