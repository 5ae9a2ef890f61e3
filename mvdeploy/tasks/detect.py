"""Detection of objects: a box and a class for every prior, of which few are detections.

Priors, coding of the boxes and suppression are those of SSD in CVNets (tag v0.1,
``ssd_mobilevit_*_320.yaml``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mvdeploy.records import ModelSpec, ParityInput, TensorInfo
from mvdeploy.tasks import Answer, Column, Decision, Scorer

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from mvdeploy.datasets import Data
    from mvdeploy.tasks import Arrays, Name, View

TITLE = "object detection"
IMAGE_SIZE = (320, 320)
NUM_CLASSES = 81
"""The 80 of COCO, and the background, which is the first."""

VALUE = "score"

FINISH = "boxes decoded, the surest chosen, in pixels of the picture"

COORDINATES = 4
STRIDES = (16, 32, 64, 128, 256)
"""Output strides of the maps; one of a single cell follows them."""

RATIOS = ((2, 3), (2, 3), (2, 3), (2, 3), (2, 3), (2,))
"""Ratios of the sides of a cell's priors on each map, beside its two squares."""

PRIORS_PER_CELL = tuple(2 + 2 * len(ratios) for ratios in RATIOS)
SCALES = (0.1, 1.05)
"""Sides of the smallest priors, as shares of the image, on the first map and after the last."""

VARIANCES = (0.1, 0.2)
"""What a box's centre and the logarithms of its sides are scaled by."""

MOST_GROWN = 16.0
"""Logarithm of how much larger than its prior a box may be: far outside of any image."""

LEAST_SCORE = 0.3
"""What a detection has to score."""

LEAST_EVALUATED = 0.01
"""The same for mean average precision, as CVNets has it: that counts what is unsure too."""

MOST_OVERLAP = 0.5
"""Of two boxes of a class that share more of their union, the surer one is left."""

MOST = 200
"""Detections in an image at most."""

_DRAWN = 20
"""Boxes in a picture at most: more hide each other, and what they are of."""

BOXES, SCORES = "boxes", "scores"
FOUND_BOXES, FOUND_SCORES, FOUND_CLASSES = FOUND = (
    "detected_boxes",
    "detected_scores",
    "detected_classes",
)
"""What programs return that choose the detections themselves: `MOST` of them, zeros at the end."""


def maps(image_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Return height and width of all maps. Every halving rounds up."""
    height, width = image_size
    strided = [(math.ceil(height / stride), math.ceil(width / stride)) for stride in STRIDES]
    return (*strided, (1, 1))


def priors(image_size: tuple[int, int]) -> Any:
    """Return where the priors lie, an array (priors, 4): centre x and y, width, height, in 0..1."""
    from mvdeploy.tasks import _boxes

    return _boxes.priors(image_size)


def outputs(spec: ModelSpec) -> tuple[TensorInfo, ...]:
    """Return the boxes, (batch, priors, 4), and scores, (batch, priors, classes); both are raw."""
    cells = (height * width for height, width in maps(spec.image_size))
    priors = sum(map(math.prod, zip(cells, PRIORS_PER_CELL, strict=True)))
    return (
        TensorInfo(BOXES, (spec.batch, priors, COORDINATES), "float32"),
        TensorInfo(SCORES, (spec.batch, priors, spec.num_classes), "float32"),
    )


def named(result: Any) -> dict[str, Tensor]:
    """Name boxes and scores: a dict that does, or both in order."""
    if isinstance(result, dict):
        return {name: result[name] for name in (BOXES, SCORES)}
    boxes, scores = result
    return {BOXES: boxes, SCORES: scores}


def postprocess(outputs: dict[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """Return the detections in the first image: boxes (200, 4), scores and classes (200,)."""
    import numpy as np
    import torch

    from mvdeploy.tasks import _boxes

    raw, scores = (outputs[name][0].numpy() for name in (BOXES, SCORES))
    found = _boxes.seen(raw, scores, _boxes.priors(spec.image_size)).found
    room = MOST - len(found.scores)

    def padded(values: Any) -> Tensor:
        return torch.from_numpy(np.pad(values, [(0, room), *[(0, 0)] * (values.ndim - 1)]))

    return dict(zip(FOUND, map(padded, (found.boxes, found.scores, found.classes)), strict=True))


def compare(wanted: Arrays, got: Arrays, rounded: Arrays | None, spec: ModelSpec) -> Decision:
    """Compare which priors are detections, of which classes.

    Others are a tie where rounding alone may have chosen them, by scores or overlaps that are
    nearer to a limit, or to another, than twice what it moves them by.
    """
    import numpy as np

    if FOUND_CLASSES in wanted:
        same = np.array_equal(wanted[FOUND_CLASSES], got[FOUND_CLASSES])
        return Decision(bool(same))
    from mvdeploy.tasks import _boxes

    anchors = _boxes.priors(spec.image_size)

    def images(result: Arrays) -> list[Any]:
        pairs = zip(result[BOXES], result[SCORES], strict=True)
        return [_boxes.seen(raw, scores, anchors) for raw, scores in pairs]

    both = list(zip(images(wanted), images(got), strict=True))
    agrees = [one.chosen == other.chosen for one, other in both]
    if all(agrees) or rounded is None:
        return Decision(all(agrees))
    trio = zip(both, images(rounded), agrees, strict=True)
    ties = (_boxes.tied(*pair, near) for pair, near, same in trio if not same)
    return Decision(agrees=False, tied=all(ties))


def answers(outputs: Arrays, spec: ModelSpec, least: float = LEAST_SCORE) -> tuple[Answer, ...]:
    """Return the detections in the first image, the surest first.

    Args:
        outputs: by name.
        spec: of the network.
        least: what a detection has to score; a program that chooses them itself has chosen.
    """
    if FOUND_CLASSES in outputs:
        boxes, scores, classes = (outputs[name] for name in FOUND)
    else:
        from mvdeploy.tasks import _boxes

        raw, plain = outputs[BOXES][0], outputs[SCORES][0]
        found = _boxes.seen(raw, plain, _boxes.priors(spec.image_size), least).found
        boxes, scores, classes = found.boxes, found.scores, found.classes
    return tuple(
        Answer(int(number), float(score), tuple(float(side) for side in box))
        for number, score, box in zip(classes, scores, boxes, strict=True)
        if score > 0
    )


def finish(outputs: Arrays, spec: ModelSpec, view: View) -> list[tuple[int, float, Any]]:
    """Return class, score and box in pixels of the picture of every detection, the surest first."""
    return [(one.number, one.value, view.box(one.box)) for one in answers(outputs, spec)]


def draw(picture: Image.Image, outputs: Arrays, spec: ModelSpec, name: Name) -> None:
    """Draw the surest boxes, each with its class and score."""
    from PIL import ImageDraw

    from mvdeploy.tasks import _pictures

    canvas, font = ImageDraw.Draw(picture), _pictures.font(picture)
    width, height = picture.size
    corners = []
    surest = answers(outputs, spec)[:_DRAWN]
    for answer in reversed(surest):  # the surest on top
        left, top, right, bottom = (min(max(side, 0), 1) for side in answer.box)
        x0, x1 = left * (width - 1), max(left, right) * (width - 1)
        y0, y1 = top * (height - 1), max(top, bottom) * (height - 1)
        corners.append((x0, y0))
        canvas.rectangle((x0, y0, x1, y1), outline=_pictures.colour(answer.number), width=3)
    for answer, corner in zip(reversed(surest), corners, strict=True):
        text = f"{name(answer.number)} {answer.value:.0%}"
        _pictures.label(canvas, corner, text, _pictures.colour(answer.number), font)


def scorer(spec: ModelSpec, data: Data) -> Scorer:
    """Return what gives the mean average precision, as COCO defines it.

    Raises:
        UsageError: pycocotools is not installed.
    """
    from mvdeploy.tasks import _average_precision

    return _average_precision.BoxScorer(spec, data)


def _same(one: ParityInput) -> str:
    return "agree" if one.agrees else "tied" if one.tied else "DIFFER"


COLUMNS = (Column("Detections", _same),)
