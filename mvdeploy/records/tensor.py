"""`TensorInfo`: an input or output of a network or program."""

from __future__ import annotations

import dataclasses

from mvdeploy.records.limits import Count, Length

ANY_SHAPE = ("any",)
"""Shape of an output of which not even the number of dimensions is known."""


@dataclasses.dataclass(frozen=True)
class Quantization:
    """How the whole numbers of a tensor stand for real ones: scale · (number − zero point).

    Attributes:
        scale: one for the tensor, or one for each index of `axis`.
        zero_point: as many.
        axis: dimension that the scales differ along; None where one holds for all.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: Count | None = None


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """An input or output of a program.

    Attributes:
        name: of the tensor.
        shape: a dimension that is free has a name instead of a number: ``batch``.
        dtype: element type, such as ``float32`` or ``uint8``; ``string`` for a label.
        layout: of images: ``NCHW`` or ``NHWC``; empty for other tensors.
        quantized: of whole numbers that stand for real ones; None for all others.
        values: least and largest of the seeded values that an input is fed which is no image; None
            for images and outputs.
    """

    name: str
    shape: tuple[Length | str, ...]
    dtype: str
    layout: str = ""
    quantization: Quantization | None = None
    values: tuple[float, float] | None = None

    def with_batch(self, old: int, new: int | str) -> TensorInfo:
        """Return the same with another first dimension, where that is the old number of images."""
        if self.shape[:1] != (old,):
            return self
        return dataclasses.replace(self, shape=(new, *self.shape[1:]))

    @property
    def is_image(self) -> bool:
        """Whether photographs become such a tensor."""
        return bool(self.layout)
