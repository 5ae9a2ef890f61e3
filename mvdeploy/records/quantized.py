"""`Quantized`: how the numbers of a program became whole ones."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from mvdeploy.records.limits import Count, Positive, Range

Zero = Annotated[int, Range(-128, 255)]


@dataclasses.dataclass(frozen=True)
class Scale:
    """How a tensor is written in whole numbers: value = scale · (number − zero point).

    Attributes:
        scale: of all its numbers.
        zero_point: the number that stands for 0.
    """

    scale: Positive
    zero_point: Zero


@dataclasses.dataclass(frozen=True)
class CalibrationSet:
    """The images that ranges were taken from.

    Attributes:
        source: what they are, in words.
        images: how many.
        sha256: over what the network was fed, in order.
        method: ``percentile 99.99``, ``entropy`` or ``min-max``.
        provisional: they are no images of the network's own kind: nobody gave any.
    """

    source: str
    images: Count
    sha256: str
    method: str
    provisional: bool = False


@dataclasses.dataclass(frozen=True)
class Quantized:
    """What was quantised.

    Attributes:
        weighted: convolutions and linear layers with whole numbers, by their names in what was
            traced.
        kept: patterns of modules that were to stay in float.
        scales: of tensors, by the names of what makes them in what was traced; empty where they
            are found in every inference.
        calibration: what the scales were taken from; None where there are none.
        narrow: kinds of operators whose weights are of 7 bits, -63 to 63.
    """

    weighted: tuple[str, ...]
    kept: tuple[str, ...] = ()
    scales: dict[str, Scale] = dataclasses.field(default_factory=dict)
    calibration: CalibrationSet | None = None
    narrow: tuple[str, ...] = ()
