"""Photograph → input tensor, by the model's own rule."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mvdeploy.errors import UsageError
from mvdeploy.records import Preprocessing

if TYPE_CHECKING:
    from PIL import Image


def sample_photograph() -> Path:
    """Return a photograph that is always there: the portrait that ships with matplotlib."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise UsageError("matplotlib is not installed.", "Install it, or give --input.")
    return Path(spec.origin).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"


def load_image(path: Path, rule: Preprocessing, batch: int = 1) -> npt.NDArray[np.float32]:
    """Read an image file and prepare it.

    Args:
        path: any image that Pillow reads.
        rule: resize, crop, scale, normalise, in this order.
        batch: how often the image is repeated.

    Returns:
        (batch, 3, height, width), C-contiguous.

    Raises:
        UsageError: the file is missing or no image.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {path}.", "Check the path after --input.") from error
    except Exception as error:  # Pillow lets out whatever a damaged file makes its readers run into
        raise UsageError(
            f"{path} cannot be read as an image ({error}).",
            "Give a JPEG, PNG or other picture after --input.",
        ) from error
    pixels = np.asarray(_cover_and_crop(image, rule), dtype=np.float32)
    if rule.channel_order == "BGR":
        pixels = pixels[..., ::-1]
    mean, std = (np.array(value, dtype=np.float32) for value in (rule.mean, rule.std))
    pixels = (pixels * rule.scale - mean) / std
    tensor = np.repeat(pixels.transpose(2, 0, 1)[None], batch, axis=0)
    return np.ascontiguousarray(tensor, dtype=np.float32)


def _cover_and_crop(image: Image.Image, rule: Preprocessing) -> Image.Image:
    from PIL import Image

    height, width = rule.resize
    factor = max(height / image.height, width / image.width)
    # The longer side is rounded down, as torchvision does.
    size = (max(width, int(image.width * factor)), max(height, int(image.height * factor)))
    image = image.resize(size, Image.Resampling[rule.interpolation.upper()])
    crop_height, crop_width = rule.crop
    left, top = (image.width - crop_width) // 2, (image.height - crop_height) // 2
    return image.crop((left, top, left + crop_width, top + crop_height))
