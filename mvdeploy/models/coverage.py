"""How far a block's attention sees: receptive-field coverage of a patch size.

In a MobileViT block a pixel attends to the pixels at its own place in every other patch; what it
learns of the places between them comes through the convolutions before. Coverage is the share of
the block's input pixels that can influence one pixel of the folded transformer output, for the
best weights: it follows from geometry alone.

Every step acts on rows and on columns independently (convolution windows, places in a patch and
bilinear resizing are all products of the two axes), so the pixels that reach (i, j) are a set of
rows, which depends on i, times a set of columns, which depends on j. Two boolean matrices, one for
each axis, are the exact propagation over the whole map.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mvdeploy.records import PatchSize

Reach = npt.NDArray[np.bool_]
"""(pixels out, pixels in) along one axis: whether the one can depend on the other."""


@dataclasses.dataclass(frozen=True)
class Window:
    """A convolution's window along one axis, in pixels.

    Attributes:
        kernel: weights along the axis.
        stride: distance between neighbouring outputs.
        padding: before the first and after the last pixel, of zeros.
        dilation: distance between neighbouring weights.
    """

    kernel: int
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    dilation: int = 1

    @property
    def field(self) -> int:
        """Pixels from the first that it reads to the last."""
        return (self.kernel - 1) * self.dilation + 1


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Share of the map's pixels, 0..1, that can influence one pixel of the transformer's output.

    Attributes:
        min: of the output pixel that sees least.
        mean: over the output pixels.
    """

    min: float
    mean: float


def coverage(
    size: tuple[int, int],
    windows: Sequence[tuple[Window, Window]],
    patch: PatchSize,
) -> Coverage:
    """Return the coverage of one block.

    Args:
        size: height and width of the block's input map.
        windows: of the convolutions before the map is unfolded, in order; (height, width) of each.
        patch: what the map is unfolded into; it is resized up to a multiple first, and back after.
    """
    rows = axis_reach(size[0], [height for height, _ in windows], patch.height).mean(axis=1)
    columns = axis_reach(size[1], [width for _, width in windows], patch.width).mean(axis=1)
    return Coverage(float(rows.min() * columns.min()), float(rows.mean() * columns.mean()))


def axis_reach(length: int, windows: Sequence[Window], patch: int) -> Reach:
    """Return which pixels of a line can influence which, through convolutions and attention."""
    reach = np.eye(length, dtype=np.bool_)
    for window in windows:
        reach = _slide(len(reach), window) @ reach
    folded = len(reach)
    whole = math.ceil(folded / patch) * patch
    reach = _resize(folded, whole) @ reach
    places = np.arange(whole) % patch
    reach = (places[:, None] == places) @ reach
    back: Reach = _resize(whole, folded) @ reach
    return back


def span(windows: Sequence[Window]) -> int:
    """Return how many input pixels one output pixel of a chain of convolutions sees."""
    seen, step = 1, 1
    for window in windows:
        seen += (window.field - 1) * step
        step *= window.stride
    return seen


def _slide(length: int, window: Window) -> Reach:
    out = (length + sum(window.padding) - window.field) // window.stride + 1
    starts = np.arange(out) * window.stride - window.padding[0]
    offset = np.arange(length) - starts[:, None]
    inside = (offset >= 0) & (offset < window.field)
    return np.asarray(inside & (offset % window.dilation == 0), dtype=np.bool_)


def _resize(before: int, after: int) -> Reach:
    """Return which pixels bilinear interpolation reads (align_corners=False), weights of 0 apart.

    In whole numbers: the position is a fraction over 2·after.
    """
    position = np.maximum((2 * np.arange(after) + 1) * before - after, 0)
    left, weight = np.divmod(position, 2 * after)
    right = np.where(weight > 0, np.minimum(left + 1, before - 1), left)
    pixel = np.arange(before)
    return np.asarray((pixel == left[:, None]) | (pixel == right[:, None]), dtype=np.bool_)
