"""Drawing on pictures: colours of classes, text that can be read on anything."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

Colour = tuple[int, int, int]

_GOLDEN = 0.618034  # neighbours in number are far apart in hue
_DARK = 110


def colour(number: int) -> Colour:
    """Return the colour of a class: always the same, and unlike those of the numbers near it."""
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def font(picture: Image.Image) -> Font:
    """Return a font whose size suits a picture."""
    from PIL import ImageFont

    return ImageFont.load_default(max(11, min(picture.size) // 36))


def label(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, fill: Colour, font: Font
) -> float:
    """Write text on a ground of its own, inside of the picture; return where it ends below."""
    *_, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right + 6, bottom + 5
    x = max(0.0, min(place[0], draw.im.size[0] - width))
    y = max(0.0, min(place[1], draw.im.size[1] - height))
    draw.rectangle((x, y, x + width, y + height), fill=fill)
    light = (299 * fill[0] + 587 * fill[1] + 114 * fill[2]) // 1000 > _DARK
    draw.text((x + 3, y + 2), text, font=font, fill=(0, 0, 0) if light else (255, 255, 255))
    return float(y + height)
