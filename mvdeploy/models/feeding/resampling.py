"""Resizing of 8-bit images as torchvision's tensors do it, without torch.

Both libraries sum the pixels under a filter with whole-number weights. Pillow's have 22 bits,
torch's 16: one value in some hundred comes out 1/255 higher or lower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Weights = npt.NDArray[np.floating[Any]]


def _linear(x: Weights) -> Weights:
    return np.where(np.abs(x) < 1, 1 - np.abs(x), 0)


def _cubic(x: Weights, a: float = -0.5) -> Weights:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: Weights) -> Weights:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


FILTERS: dict[str, tuple[Callable[[Weights], Weights], int]] = {
    "bilinear": (_linear, 1),
    "bicubic": (_cubic, 2),
    "lanczos": (_lanczos, 3),
}
"""Filter by interpolation, and how many pixels it reaches to each side."""


def resize(image: Pixels, height: int, width: int, interpolation: str) -> Pixels:
    """Return an image (H, W, channels) resized with one of `FILTERS`."""
    across = _along_rows(image, width, interpolation)
    return _along_rows(across.swapaxes(0, 1), height, interpolation).swapaxes(0, 1)


def _along_rows(image: Pixels, length: int, interpolation: str) -> Pixels:
    """Resize the second dimension."""
    before = image.shape[1]
    if before == length:
        return image
    windows = [_window(place, before, length, interpolation) for place in range(length)]
    bits = _bits(max(weights.max() for _, weights in windows))
    resized = np.empty((image.shape[0], length, image.shape[2]), np.uint8)
    for place, (first, weights) in enumerate(windows):
        # Away from zero, as a conversion to integers after adding a half is.
        whole = np.trunc(weights * 2**bits + np.copysign(0.5, weights))
        total = np.tensordot(image[:, first : first + len(weights)], whole, (1, 0))
        resized[:, place] = np.clip(np.floor((total + 2 ** (bits - 1)) / 2**bits), 0, 255)
    return resized


def _window(place: int, before: int, after: int, interpolation: str) -> tuple[int, Weights]:
    """Return the first pixel under the filter around a place, and the weights from there on."""
    curve, reach = FILTERS[interpolation]
    scale = before / after
    wide = max(scale, 1.0)
    centre = scale * (place + 0.5)
    first = max(int(centre - reach * wide + 0.5), 0)
    last = min(int(centre + reach * wide + 0.5), before)
    weights = curve((np.arange(first, last) - centre + 0.5) / wide)
    return first, weights / weights.sum()


def _bits(largest: float) -> int:
    """Return how many bits of weights after the point fit into 16 with their sign."""
    return next(
        bits for bits in range(23) if bits == 22 or int(0.5 + largest * 2 ** (bits + 1)) >= 2**15
    )
