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
from mvdeploy.models.feeding import MOST_PIXELS, pictures, resampling
from mvdeploy.records import Preprocessing, TensorInfo
from mvdeploy.tasks import View

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
    taken = [tensor for tensor in inputs if tensor.is_image]
    return prepared_for(pictures.read(path), taken, rule) if taken else {}


def prepared_for(
    picture: Image.Image, inputs: Sequence[TensorInfo], rule: Preprocessing
) -> dict[str, npt.NDArray[np.float32]]:
    """Prepare a picture for each input of a network that takes images; see `load_images`."""
    images = {}
    for tensor in (tensor for tensor in inputs if tensor.is_image):
        batch, channels, height, width = map(int, tensor.shape)
        image = prepared(picture, sized(rule, (height, width)), batch)
        images[tensor.name] = grey(image, rule) if channels == 1 else image
    return images


def grey(image: npt.NDArray[np.float32], rule: Preprocessing) -> npt.NDArray[np.float32]:
    """Return an image in shades of grey, (batch, 1, height, width), as ITU-R BT.601 weighs them."""
    weights = np.array((0.299, 0.587, 0.114), np.float32)
    weights = weights[::-1] if rule.channel_order == "BGR" else weights
    return np.ascontiguousarray(np.tensordot(image, weights, (1, 0))[:, None], dtype=np.float32)


def sized(rule: Preprocessing, crop: tuple[int, int]) -> Preprocessing:
    """Return the rule for an input of another height and width: the same share is cropped."""
    if crop == rule.crop:
        return rule
    (height, width), (rows, columns) = rule.resize, rule.crop
    resize = (height * crop[0] // rows, width * crop[1] // columns)
    return dataclasses.replace(rule, crop=crop, resize=resize)


def load_image(path: Path, rule: Preprocessing, batch: int = 1) -> npt.NDArray[np.float32]:
    """Read an image file and prepare it.

    Args:
        path: any image that Pillow reads.
        rule: resize, crop, order of the channels, scale, mean and std, in this order.
        batch: how often the image is repeated.

    Returns:
        (batch, 3, height, width), C-contiguous.

    Raises:
        UsageError: the file is missing, no image, or too long and thin to be resized.
    """
    return prepared(pictures.read(path), rule, batch)


def prepared(picture: Image.Image, rule: Preprocessing, batch: int = 1) -> npt.NDArray[np.float32]:
    """Prepare a picture in RGB; see `load_image`."""
    return normalised(pixels(picture, rule), rule, batch)


def pixels(picture: Image.Image, rule: Preprocessing) -> npt.NDArray[np.uint8]:
    """Return what a network sees of a picture in RGB, resized and cropped: (height, width, 3)."""
    return _cropped(_resized(picture, rule), rule)


def normalised(
    seen: npt.NDArray[np.uint8], rule: Preprocessing, batch: int = 1
) -> npt.NDArray[np.float32]:
    """Return what a network is fed of `pixels`, (batch, 3, height, width), C-contiguous."""
    values = seen.astype(np.float32)
    if rule.channel_order == "BGR":
        values = values[..., ::-1]
    mean, std = (np.array(value, dtype=np.float32) for value in (rule.mean, rule.std))
    values = (values * rule.scale - mean) / std
    tensor = np.repeat(values.transpose(2, 0, 1)[None], batch, axis=0)
    return np.ascontiguousarray(tensor, dtype=np.float32)


def view(picture: Image.Image, rule: Preprocessing) -> View:
    """Return which part of a picture a network sees, and at which size.

    Raises:
        UsageError: the picture is too long and thin to be resized.
    """
    height, width = _resized_size(picture, rule)
    rows, columns = rule.crop
    return View(
        picture=(picture.height, picture.width),
        resized=(height, width),
        crop=rule.crop,
        left=_start(width - columns, rule.rounding),
        top=_start(height - rows, rule.rounding),
    )


def _resized_size(image: Image.Image, rule: Preprocessing) -> tuple[int, int]:
    """Return height and width."""
    height, width = rule.resize if rule.fit == "stretch" else _covering(image, rule.resize)
    if height * width > MOST_PIXELS:
        raise UsageError(
            f"The image is too long and thin: {image.width}x{image.height} pixels would become "
            f"{width}x{height}.",
            "Give a picture of usual proportions after --input.",
        )
    return height, width


def _resized(image: Image.Image, rule: Preprocessing) -> Image.Image:
    from PIL import Image

    height, width = _resized_size(image, rule)
    if rule.rounding == "transformers" and rule.interpolation in resampling.FILTERS:
        pixels = resampling.resize(np.asarray(image), height, width, rule.interpolation)
        return Image.fromarray(pixels)
    return image.resize((width, height), Image.Resampling[rule.interpolation.upper()])


def _covering(image: Image.Image, resize: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of an image once it covers a size, in its own proportions."""
    height, width = resize
    if height == width:
        short, long = sorted(image.size)
        longer = int(height * long / short)  # rounded down, as torchvision does
        return (height, longer) if image.width >= image.height else (longer, height)
    ratio = min(image.height / height, image.width / width)
    return round(image.height / ratio), round(image.width / ratio)  # as timm does


def _cropped(image: Image.Image, rule: Preprocessing) -> npt.NDArray[np.uint8]:
    height, width = rule.crop
    left = _start(image.width - width, rule.rounding)
    top = _start(image.height - height, rule.rounding)
    # What lies outside of the image is black.
    return np.asarray(image.crop((left, top, left + width, top + height)))


def _start(spare: int, rounding: str) -> int:
    """Return where a crop begins that leaves `spare` pixels; negative for one that is padded."""
    if rounding == "plain":
        return spare // 2
    if spare < 0:
        return -(-spare // 2)
    return round(spare / 2) if rounding == "timm" else spare // 2
