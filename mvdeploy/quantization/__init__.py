"""Whole numbers in the place of floats: which operators, with which scales, and what it costs.

A traced program (``ExportedProgram``) of float operators becomes one in which what is computed in
8 bits stands between pairs of quantize and dequantize (`rewriting`). Engines lower or fuse these
pairs; PyTorch runs them as they are, which tells what the rounding costs (`emulation`).

`places` says which operators that concerns, `calibration` which scales tensors are given, from what
passes through the network on images (`ranges`). What a precision quantises is a `Scheme`; what an
engine has in whole numbers is a `Target`, which formats and backends declare.
"""

from __future__ import annotations

import dataclasses

LINEAR, POINTWISE, CONVOLUTION = "linear", "pointwise", "convolution"
"""Operators with weights: linear layers, convolutions of 1×1 in one group, other convolutions."""

LAST = ".nhwc"
"""Ends the name of a tensor that has the channels last in a file."""

HALF = "_cast_fp16"
"""Ends the name of a tensor that is in half precision in a file."""

METHODS = ("percentile", "entropy", "min-max")
"""How a range is taken from what passed through: see `ranges`."""

PERCENTILE = 99.99
"""Share of the numbers that a range holds, in percent, where nothing else is said."""


@dataclasses.dataclass(frozen=True)
class Scheme:
    """What a precision quantises.

    Attributes:
        dynamic: linear layers alone, and what they are fed with scales that are found in every
            inference; else convolutions too, with scales that are chosen beforehand.
        everything: whatever else an engine has in whole numbers, and in the form that is fastest
            in it.
    """

    dynamic: bool = False
    everything: bool = False


@dataclasses.dataclass(frozen=True)
class Target:
    """What an engine has in whole numbers.

    Attributes:
        unsigned: of 0 to 255 rather than -128 to 127; weights are -127 to 127 in either.
        others: operators without weights: ``add``, ``mul``, ``cat``, ``silu`` (as x·sigmoid(x)).
        float_results: operators with weights whose results are floats.
        narrow: operators with weights of -63 to 63, because an engine adds two products in 16 bits.
        one_scale: operators that only move or choose numbers take whole ones from their neighbours,
            and these must have one scale.
        fused: activations that are computed together with the operator with weights before, as
            clamps are: ``silu``, ``gelu``, …; what they make is quantised, not what goes into them.
        symmetric: 0 is the number that stands for 0. Where nothing is negative, numbers are of 0 to
            255; scales call that a zero point of -128, as of numbers that are not symmetric.
        float_outputs: what a program returns stays as the last operator computes it.
        half: scales and floats are in half precision.
        by_row: scales that are found in an inference are found for each row (index of all axes but
            the last) of a tensor.
    """

    unsigned: bool = False
    others: tuple[str, ...] = ()
    float_results: tuple[str, ...] = ()
    narrow: tuple[str, ...] = ()
    one_scale: bool = False
    fused: tuple[str, ...] = ()
    symmetric: bool = False
    float_outputs: bool = False
    half: bool = False
    by_row: bool = False

    @property
    def least(self) -> int:
        """The least number of a tensor."""
        return 0 if self.unsigned else -128

    @property
    def most(self) -> int:
        """The largest."""
        return self.least + 255
