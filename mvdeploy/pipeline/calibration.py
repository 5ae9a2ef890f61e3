"""Images that scales of whole numbers are taken from, and others on which answers are compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy.errors import UsageError
from mvdeploy.quantization import METHODS, PERCENTILE

if TYPE_CHECKING:
    from torch import Tensor

    from mvdeploy.quantization.calibration import Calibration
    from mvdeploy.records import ModelSpec, Preprocessing
    from mvdeploy.verify.inputs import Feed

IMAGES = 32
"""Variants of the shipped photograph that scales are taken from where no images are given."""

ANSWERS = 64
"""Other variants of it, on which what a file says is compared with what its network says."""

MOST = 5000
"""Images of a folder that are taken: more change no scale that is worth the time."""

_SEED = 1
_SEED_OF_ANSWERS = 2


@dataclasses.dataclass(frozen=True)
class Wish:
    """What scales are to be taken from.

    Attributes:
        images: a folder; or how many variants of the shipped photograph.
        method: one of `mvdeploy.quantization.METHODS`.
        percentile: see `mvdeploy.quantization.ranges`.
    """

    images: Path | int = IMAGES
    method: str = METHODS[0]
    percentile: float = PERCENTILE


DEFAULT = Wish()


def read(images: str | None, method: str | None, percentile: float | None) -> Wish:
    """Read what is asked for on the command line.

    Raises:
        UsageError: a number or method that cannot be, or a folder that is not there.
    """
    if method is not None and method not in METHODS:
        raise UsageError(
            f"There is no way '{method}' to choose ranges.", f"Choose {', '.join(METHODS)}."
        )
    if percentile is not None and method not in (None, METHODS[0]):
        raise UsageError(
            f"A percentile is no part of the method {method}.",
            "Leave out --percentile or --calibration-method.",
        )
    if percentile is not None and not 50 <= percentile <= 100:
        raise UsageError(
            f"A range cannot hold {percentile:g} % of the numbers.",
            "Give --percentile a number from 50 to 100, such as 99.99.",
        )
    chosen: Path | int = IMAGES
    if images is not None and images.isdecimal():
        chosen = int(images)
        if not 1 <= chosen <= MOST:
            raise UsageError(
                f"Scales cannot be taken from {images} images.", f"Give 1 to {MOST} of them."
            )
    elif images is not None:
        chosen = Path(images)
        if not chosen.is_dir():
            raise UsageError(
                f"There is no folder {images}.",
                "Give a folder of images, or a number of variants of the shipped photograph, "
                "after --calibrate.",
            )
        if not pictures_in(chosen):
            raise UsageError(f"There is no image in {images}.", "Give a folder of JPEG or PNG.")
    return Wish(chosen, method or METHODS[0], PERCENTILE if percentile is None else percentile)


def calibration(wish: Wish, spec: ModelSpec, rule: Preprocessing) -> Calibration:
    """Return what scales are taken from.

    Args:
        wish: see above.
        spec: the network.
        rule: how images are fed.
    """
    import torch

    from mvdeploy.quantization.calibration import Calibration

    def tensors() -> Iterator[tuple[Tensor, ...]]:
        for feed in _feeds(wish, spec, rule):
            yield tuple(map(torch.from_numpy, feed.values()))

    shipped = isinstance(wish.images, int)
    images = any(tensor.is_image for tensor in spec.inputs)
    source = "the images of a folder"
    if shipped:
        source = "variants of one shipped photograph" if images else "seeded values"
    return Calibration(tensors, source, wish.method, wish.percentile, provisional=shipped)


def others(count: int, spec: ModelSpec, rule: Preprocessing) -> Iterator[Feed]:
    """Yield feeds on which answers are compared; scales are taken from none of them."""
    return _variants(count, spec, rule, _SEED_OF_ANSWERS)


def _feeds(wish: Wish, spec: ModelSpec, rule: Preprocessing) -> Iterator[Feed]:
    if isinstance(wish.images, int):
        yield from _variants(wish.images, spec, rule, _SEED)
        return
    from mvdeploy.models.preprocess import load_images
    from mvdeploy.verify import inputs

    for path in pictures_in(wish.images):
        try:
            images = load_images(path, spec.inputs, rule)
        except UsageError as error:
            raise UsageError(
                error.message, f"Take it out of {wish.images}, or put a whole one in its place."
            ) from error
        yield inputs.whole(spec.inputs, images, _SEED)


def _variants(count: int, spec: ModelSpec, rule: Preprocessing, seed: int) -> Iterator[Feed]:
    from mvdeploy.models.feeding import augmentation, pictures
    from mvdeploy.models.preprocess import prepared_for, sample_photograph
    from mvdeploy.verify import inputs

    taken = [tensor for tensor in spec.inputs if tensor.is_image]
    shipped = pictures.read(sample_photograph())
    for number, picture in enumerate(augmentation.variants(shipped, count, seed)):
        images = prepared_for(picture, taken, rule)
        yield inputs.whole(spec.inputs, images, 1000 * seed + number)


def pictures_in(folder: Path) -> tuple[Path, ...]:
    """Return the images in a folder and those inside it, in order; of very many, some."""
    endings = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"}
    try:
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in endings and p.is_file())
    except OSError as error:
        raise UsageError(
            f"The folder {folder} cannot be read ({error.strerror}).", "Give another one."
        ) from error
    step = max(1, -(-len(found) // MOST))
    return tuple(found[::step])
