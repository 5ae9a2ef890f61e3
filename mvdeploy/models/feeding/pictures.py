"""Image files → 8-bit RGB, or an error of two sentences."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from mvdeploy.errors import UsageError
from mvdeploy.files import reading

T = TypeVar("T")

_PIXELS = 100_000_000
"""Most that a picture may have: in memory, one of 16 bits takes ten times as many bytes."""

_BYTES = 500 * reading.MB

_RANGES = (255, 65535, 2**32 - 1)
"""Brightest values of 8, 16 and 32 bits."""


def read(path: Path) -> Image.Image:
    """Read an image file: turned upright, the first frame, its alpha channel left out.

    Pixels of 16 bits are scaled to 8 by their whole range; those of 32 bits and floating-point ones
    by the smallest usual range (1, 255, 65535, 2^32 - 1) that they fit into.

    Raises:
        UsageError: the file is missing, damaged or no image.
    """
    return _read(path, lambda opened: _rgb(_upright(opened)))


def decoded(data: bytes) -> Image.Image:
    """Decode what an image file holds, as `read` does of one that it has found to be sound."""
    with _bounded(), Image.open(io.BytesIO(data)) as opened:
        opened.load()
        return _rgb(_upright(opened))


def _read(path: Path, taken: Callable[[Image.Image], T]) -> T:
    """Return what is taken of an image file once it has been decoded."""
    try:
        reading.demand_regular(path, _BYTES, "an image")
        with warnings.catch_warnings(), _bounded():
            warnings.simplefilter("ignore")  # of metadata and sizes; what matters is an error
            with Image.open(path) as opened:
                if opened.format == "EPS":
                    raise ValueError("it is a program in PostScript, which is not run")
                opened.load()
                return taken(opened)
    except UsageError:
        raise
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {path}.", "Check the path after --input.") from error
    except Exception as error:  # Pillow lets out whatever a damaged file makes its readers run into
        raise UsageError(
            f"{path} cannot be read as an image ({_reason(path, error)}).",
            "Give a JPEG, PNG or other picture after --input.",
        ) from error


def numbers(path: Path) -> npt.NDArray[np.int64]:
    """Read an image whose pixels are numbers, such as of classes: (height, width).

    Those of a palette are not looked up in it.

    Raises:
        UsageError: the file is missing, damaged or no image, or has colours.
    """

    def taken(opened: Image.Image) -> npt.NDArray[np.int64]:
        if opened.mode not in ("P", "L", "1", "I", "I;16"):
            raise ValueError(f"its pixels are no numbers but of the kind {opened.mode}")
        return np.asarray(opened).astype(np.int64)

    return _read(path, taken)


def why(error: UsageError, path: Path) -> str:
    """Return why a file could not be read, as a clause without its path."""
    clause = error.message.removeprefix(f"{path} ").rstrip(".")
    inner = clause.removeprefix("cannot be read as an image").lstrip(": ")
    return inner[1:-1] if inner.startswith("(") and inner.endswith(")") else inner


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Let Pillow refuse more than `_PIXELS` before it decodes them."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, _PIXELS // 2
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF data says, if that can be read."""
    with contextlib.suppress(Exception):  # the pixels are whole, whatever the metadata are
        return ImageOps.exif_transpose(image)
    return image


def _rgb(image: Image.Image) -> Image.Image:
    """Convert as Pillow does, except for what it would clip."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image)
        brightest = 65535.0 if image.mode.startswith("I;16") else _brightest(values)
        image = Image.fromarray(np.rint(values * (255 / brightest)).astype(np.uint8))
    return image.convert("RGB")


def _brightest(values: np.ndarray) -> float:
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError("it has negative values, or some that are no numbers")
    ranges = (1, *_RANGES) if values.dtype.kind == "f" else _RANGES
    fitting = next((brightest for brightest in ranges if values.max() <= brightest), None)
    if fitting is None:
        raise ValueError(f"its values reach {values.max():g}")
    return float(fitting)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is empty" if path.stat().st_size == 0 else "of no kind that Pillow knows"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than the {_PIXELS:,} pixels that are decoded"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
