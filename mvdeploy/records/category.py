"""What a module does in the network, and what an operator does."""

from __future__ import annotations

import enum


class Category(enum.StrEnum):
    """Where time goes, by the part of the network that spends it.

    A module class declares its category where it is defined; a module without one belongs to the
    nearest ancestor that has one. LayerNorm and residual additions belong to the attention or FFN
    they serve, so that the shares compare with those published for layer-level latency.
    """

    PRE_AND_POST = "pre-and-post"
    CONVOLUTION = "convolution"
    FOLD = "fold"
    ATTENTION = "attention"
    FFN = "ffn"

    @property
    def heading(self) -> str:
        """The name as reports print it."""
        return _TITLES[self]


_TITLES = {
    Category.PRE_AND_POST: "Pre- and post-processing",
    Category.CONVOLUTION: "Convolution",
    Category.FOLD: "Fold / unfold",
    Category.ATTENTION: "Attention",
    Category.FFN: "FFN",
}


class OperatorKind(enum.StrEnum):
    """Where time goes, by what the operator computes. Each engine maps its own names to these."""

    MATMUL = "MatMul/Gemm"
    CONV = "Conv"
    SOFTMAX = "Softmax"
    LAYERNORM = "LayerNorm"
    ACTIVATION = "Activation"
    DATA_MOVEMENT = "Data movement"
    OTHER = "Other"
