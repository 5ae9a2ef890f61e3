"""A network that is right: it names the colour that an image has most of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ("blue", "cyan", "green", "magenta", "red", "yellow")
"""Classes, as their folders are sorted."""

_VALUES = {
    "blue": (0, 0, 1),
    "cyan": (0, 1, 1),
    "green": (0, 1, 0),
    "magenta": (1, 0, 1),
    "red": (1, 0, 0),
    "yellow": (1, 1, 0),
}

NETWORK = '''
import torch
from torch import nn


class Colours(nn.Module):
    """Compares the mean colour with six."""

    def __init__(self):
        super().__init__()
        signs = 2 * torch.tensor({values}, dtype=torch.float32) - 1
        self.first = nn.Conv2d(3, 6, 1)
        self.first.weight.data = signs[:, :, None, None].clone()
        self.first.bias.data = -signs.clamp(min=0).sum(1)
        self.last = nn.Linear(6, 6)
        self.last.weight.data = torch.eye(6) * {scale}
        self.last.bias.data = torch.tensor({bias})

    def forward(self, x):
        return self.last(self.first(x).mean((2, 3)))


def make():
    return Colours()


make.image_size, make.num_classes = (32, 32), 6
'''


def network(folder: Path, *, favoured: int | None = None, name: str = "colours") -> str:
    """Write a network; return what names it.

    Args:
        folder: where its file goes.
        favoured: class that it says always; None to say the right one.
        name: of the file.
    """
    bias = [1e3 * (number == favoured) for number in range(len(COLOURS))]
    values = [_VALUES[colour] for colour in COLOURS]
    path = folder / f"{name}.py"
    path.write_text(NETWORK.format(values=values, scale=4.0, bias=bias))
    return f"{path}:make"


def image(colour: str, seed: int = 0, size: tuple[int, int] = (40, 48)) -> Image.Image:
    """Return an image that has most of a colour."""
    noise = np.random.default_rng(seed).integers(0, 90, (*size, 3))
    return Image.fromarray((noise + 160 * np.array(_VALUES[colour])).astype(np.uint8))


def folders(root: Path, images: int = 4) -> Path:
    """Write a folder of images for each colour; return the folder around them."""
    for number, colour in enumerate(COLOURS):
        (root / colour).mkdir(parents=True)
        for n in range(images):
            image(colour, 100 * number + n).save(root / colour / f"{n}.png")
    return root
