"""Folders of small images whose classes are textures: stripes of a direction, width and colour.

    python -m tests.textures FOLDER [--classes 10] [--images 100] [--size 96]

The same seed gives the same images. A network that was not trained for them knows nothing of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image


def texture(number: int, image: int, size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Return an image of a class: its stripes, shifted, with noise of the image's own."""
    of_class = np.random.default_rng((seed, number))
    angle, period = of_class.uniform(0, np.pi), of_class.uniform(4, 24)
    dark, light = of_class.uniform(0, 160, 3), of_class.uniform(96, 255, 3)
    own = np.random.default_rng((seed, number, image))
    height, width = size
    y, x = np.mgrid[:height, :width]
    along = x * np.cos(angle) + y * np.sin(angle) + own.uniform(0, period)
    share = 0.5 + 0.5 * np.sin(2 * np.pi * along / (period * own.uniform(0.9, 1.1)))
    pixels = dark + (light - dark) * share[..., None] + own.normal(0, 20, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write(
    folder: Path, classes: int = 10, images: int = 100, size: tuple[int, int] = (96, 128)
) -> Path:
    """Write a folder for each class, with its images; return the folder around them."""
    for number in range(classes):
        own = folder / f"texture {number:03}"
        own.mkdir(parents=True, exist_ok=True)
        for image in range(images):
            texture(number, image, size).save(own / f"{image:05}.jpg", quality=90)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--size", type=int, default=96)
    asked = parser.parse_args()
    write(asked.folder, asked.classes, asked.images, (asked.size, asked.size))
