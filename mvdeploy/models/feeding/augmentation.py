"""Many pictures from one: parts of it, mirrored, lighter and darker, in other colours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

_LEAST_AREA = 0.1
"""Of a part, as a share of the picture."""


def variants(picture: Image.Image, count: int, seed: int = 0) -> Iterator[Image.Image]:
    """Yield pictures made of one, always the same for a seed.

    Args:
        picture: in RGB.
        count: how many.
        seed: of the choices.
    """
    from PIL import ImageEnhance, ImageOps

    for number in range(count):
        # Of its own for each: the first ones of many are those of few.
        draw = np.random.default_rng((seed, number))
        part = _part(picture, draw)
        if draw.random() < 0.5:
            part = ImageOps.mirror(part)
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            part = enhance(part).enhance(float(draw.uniform(0.5, 1.5)))
        yield part


def _part(picture: Image.Image, draw: np.random.Generator) -> Image.Image:
    area = draw.uniform(_LEAST_AREA, 1.0) * picture.width * picture.height
    shape = float(np.exp(draw.uniform(np.log(3 / 4), np.log(4 / 3))))
    width = max(1, min(picture.width, round(float(np.sqrt(area * shape)))))
    height = max(1, min(picture.height, round(float(np.sqrt(area / shape)))))
    left = int(draw.integers(0, picture.width - width, endpoint=True))
    top = int(draw.integers(0, picture.height - height, endpoint=True))
    return picture.crop((left, top, left + width, top + height))
