"""Photograph → input tensor, by the model's own rule."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mvdeploy.errors import UsageError
from mvdeploy.records import Preprocessing, TensorInfo

if TYPE_CHECKING:
    from PIL import Image


def sample_photograph() -> Path:
    """Return a photograph that is always there: the portrait that ships with matplotlib."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise UsageError("matplotlib is not installed.", "Install it, or give --input.")
    return Path(spec.origin).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"


def load_images(
    path: Path, inputs: Sequence[TensorInfo], rule: Preprocessing
) -> dict[str, npt.NDArray[np.float32]]:
    """Read an image file for each input of a network that takes images.

    Args:
        path: any image that Pillow reads.
        inputs: of the network; only those of images are looked at.
        rule: see `load_image`; an input of another size than its crop gets the same share.

    Raises:
        UsageError: the file is missing or no image.
    """
    images = {}
    for tensor in (tensor for tensor in inputs if tensor.is_image):
        batch, _, height, width = map(int, tensor.shape)
        images[tensor.name] = load_image(path, _sized(rule, (height, width)), batch)
    return images


def _sized(rule: Preprocessing, crop: tuple[int, int]) -> Preprocessing:
    if crop == rule.crop:
        return rule
    (height, width), (rows, columns) = rule.resize, rule.crop
    resize = (height * crop[0] // rows, width * crop[1] // columns)
    return dataclasses.replace(rule, crop=crop, resize=resize)


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
