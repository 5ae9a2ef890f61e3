"""Semantic segmentation: one number for each class at every pixel, the largest is its class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mvdeploy.records import ModelSpec, ParityInput, TensorInfo
from mvdeploy.tasks import Answer, Column, Decision, Scorer

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from mvdeploy.datasets import Data
    from mvdeploy.tasks import Arrays, Name, View

TITLE = "semantic segmentation"
IMAGE_SIZE = (512, 512)
NUM_CLASSES = 21
"""The 20 of PASCAL VOC, and the background, which is the first."""

VALUE = "share of the pixels"

FINISH = "the class of every pixel, enlarged to the picture"

_LOGITS = "logits"


def outputs(spec: ModelSpec) -> tuple[TensorInfo, ...]:
    """Return the logits, (batch, classes, height, width)."""
    shape = (spec.batch, spec.num_classes, *spec.image_size)
    return (TensorInfo(_LOGITS, shape, "float32"),)


def named(result: Any) -> dict[str, Tensor]:
    """Name the logits: a tensor, or the only entry of a tuple, list or dict."""
    if isinstance(result, dict):
        result = tuple(result.values())
    if isinstance(result, tuple | list):
        (result,) = result
    return {_LOGITS: result}


def compare(wanted: Arrays, got: Arrays, rounded: Arrays | None, spec: ModelSpec) -> Decision:
    """Compare the class of every pixel.

    Pixels of another class are a tie when, at each of them, the reference's values of the two
    classes are nearer than twice what rounding moves any value by.
    """
    import numpy as np

    reference, result = wanted[_LOGITS], got[_LOGITS]
    top, other = reference.argmax(1, keepdims=True), result.argmax(1, keepdims=True)
    agrees = bool(np.array_equal(top, other))
    if agrees or rounded is None:
        return Decision(agrees)
    gaps = np.take_along_axis(reference, top, 1) - np.take_along_axis(reference, other, 1)
    moved = np.abs(reference.astype(np.float64) - rounded[_LOGITS].astype(np.float64)).max()
    return Decision(agrees=False, tied=bool(gaps.max() <= 2 * moved))


def answers(outputs: Arrays, spec: ModelSpec) -> tuple[Answer, ...]:
    """Return the classes in the first image, that with most pixels first."""
    import numpy as np

    classes, counts = np.unique(_mask(outputs), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shares = counts / counts.sum()
    return tuple(Answer(int(classes[at]), float(shares[at])) for at in order)


def finish(outputs: Arrays, spec: ModelSpec, view: View) -> Image.Image:
    """Return the class of every pixel of that part of the picture which the network saw."""
    import numpy as np
    from PIL import Image

    left, top, right, bottom = view.box((0.0, 0.0, 1.0, 1.0))
    size = max(1, round(right - left)), max(1, round(bottom - top))
    numbers = np.uint8 if spec.num_classes <= 256 else np.int32
    return Image.fromarray(_mask(outputs).astype(numbers)).resize(size, Image.Resampling.NEAREST)


def draw(picture: Image.Image, outputs: Arrays, spec: ModelSpec, name: Name) -> None:
    """Colour every pixel by its class, and name the classes; the background stays as it is."""
    import numpy as np
    from PIL import Image, ImageDraw

    from mvdeploy.tasks import _pictures

    mask = _mask(outputs)
    colours = np.array([_pictures.colour(number) for number in range(int(mask.max()) + 1)])
    painted = Image.fromarray(colours[mask].astype(np.uint8)).resize(
        picture.size, Image.Resampling.NEAREST
    )
    cover = Image.fromarray(np.where(mask > 0, 140, 0).astype(np.uint8)).resize(
        picture.size, Image.Resampling.NEAREST
    )
    picture.paste(painted, mask=cover)
    canvas, font, below = ImageDraw.Draw(picture), _pictures.font(picture), 0.0
    for answer in answers(outputs, spec):
        text = f"{name(answer.number)} {answer.value:.0%}"
        fill = _pictures.colour(answer.number) if answer.number else (230, 230, 230)
        below = _pictures.label(canvas, (0, below), text, fill, font)


def scorer(spec: ModelSpec, data: Data) -> Scorer:
    """Return what gives the mean intersection over union of the classes."""
    from mvdeploy.tasks import _overlap

    return _overlap.MaskScorer(spec)


def _mask(outputs: Arrays) -> Any:
    """Return the class of every pixel of the first image, (height, width)."""
    return outputs[_LOGITS][0].argmax(0)


def _same(one: ParityInput) -> str:
    return "agree" if one.agrees else "tied" if one.tied else "DIFFER"


COLUMNS = (Column("Pixels", _same),)
