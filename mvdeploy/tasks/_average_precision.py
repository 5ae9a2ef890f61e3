"""Mean average precision of detections, as COCO defines it: by pycocotools."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from mvdeploy.errors import UsageError
from mvdeploy.records import ModelSpec
from mvdeploy.records.evaluation import ClassResult, Confusion, Metric
from mvdeploy.tasks import _boxes, detect

if TYPE_CHECKING:
    from mvdeploy.datasets import Data
    from mvdeploy.tasks import Answer, Arrays, Row, View

_MOST = 100
"""Detections of an image that COCO counts."""

_STATISTICS = (
    ("map", "mAP"),
    ("map50", "mAP at IoU 0.5"),
    ("map75", "mAP at IoU 0.75"),
    ("map_small", "mAP of small objects"),
    ("map_medium", "mAP of medium objects"),
    ("map_large", "mAP of large objects"),
)
"""The first of the numbers that COCOeval gives, in its order."""


class BoxScorer:
    """Gathers boxes; a row is ``[class, score, left, top, right, bottom]`` of each, in pixels.

    Args:
        spec: of the network.
        data: with `source` as `mvdeploy.datasets.coco` has it.

    Raises:
        UsageError: pycocotools is not installed.
    """

    def __init__(self, spec: ModelSpec, data: Data) -> None:
        _demand()
        self._spec, self._data = spec, data
        self._categories = {number: place for place, number in data.source["classes"].items()}
        self._rows: dict[int, Row] = {}

    def judged(self, outputs: Arrays, truth: int, view: View) -> Row:
        """Return the surest boxes in pixels of the picture.

        Raises:
            ValueError: the picture has another size than the data set says.
        """
        said, (height, width) = self._data.source["sizes"][truth], view.picture
        if said != (width, height):
            raise ValueError(f"it is {width}x{height}, and is said to be {said[0]}x{said[1]}")
        if not all(np.isfinite(array).all() for array in outputs.values()):
            return []
        found = detect.answers(outputs, self._spec, detect.LEAST_EVALUATED)[:_MOST]
        return [
            [one.number, round(one.value, 6), *(round(side, 3) for side in view.box(one.box))]
            for one in found
        ]

    def add(self, truth: int, row: Row) -> None:
        """Count an image."""
        self._rows[truth] = row

    def hits(self, truth: int, row: Row) -> dict[str, bool]:
        """Return nothing: no image is simply right."""
        return {}

    def alike(self, outputs: Arrays, others: Arrays) -> float:
        """Return the share of the sure detections that have one like them in the other result.

        That is one of the same class that overlaps by half of their union; each counts once.
        """
        own, other = (list(detect.answers(each, self._spec)) for each in (outputs, others))
        total = len(own) + len(other)
        pairs = 0
        for one in own:
            like = next((two for two in other if _like(one, two)), None)
            if like is not None:
                other.remove(like)
                pairs += 1
        return 2 * pairs / total if total else 1.0

    def metrics(self) -> tuple[Metric, ...]:
        """Return the numbers of COCO; those of sizes that no object has are left out."""
        numbers = self._evaluated().stats
        return tuple(
            Metric(name, title, max(float(value), 0.0))
            for (name, title), value in zip(_STATISTICS, numbers, strict=False)
            if value >= 0 or name == "map"
        )

    def confusions(self) -> tuple[Confusion, ...]:
        """Return nothing: a box that is wrong is not taken for another."""
        return ()

    def classes(self) -> tuple[ClassResult, ...]:
        """Return the average precision of each class that there is."""
        evaluated = self._evaluated()
        precision = evaluated.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, categories
        counts: dict[int, int] = {}
        for box in self._data.source["instances"]["annotations"]:
            if box["image_id"] in self._rows:
                counts[box["category_id"]] = counts.get(box["category_id"], 0) + 1
        results = []
        for place, category in enumerate(evaluated.params.catIds):
            own = precision[:, :, place]
            if (own > -1).any():
                number = self._data.source["classes"][category]
                results.append(ClassResult(number, float(own[own > -1].mean()), counts[category]))
        return tuple(sorted(results, key=lambda one: (one.value, one.number)))

    def _evaluated(self) -> Any:
        """Return a COCOeval of the images that were counted, with its numbers."""
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        boxes = [
            {
                "image_id": image,
                "category_id": self._categories[number],
                "bbox": [left, top, right - left, bottom - top],
                "score": score,
            }
            for image, row in self._rows.items()
            for number, score, left, top, right, bottom in row
            if number in self._categories
        ]
        said = self._data.source["instances"]
        images = [one for one in said["images"] if one["id"] in self._rows]
        with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
            truth = COCO()
            truth.dataset = {**said, "images": images}
            truth.createIndex()
            found = truth.loadRes(boxes) if boxes else _empty(COCO(), truth)
            evaluated = COCOeval(truth, found, "bbox")
            evaluated.params.imgIds = sorted(self._rows)
            evaluated.evaluate()
            evaluated.accumulate()
            evaluated.summarize()
        return evaluated


def _empty(found: Any, truth: Any) -> Any:
    """Return no detections, of which pycocotools reads none."""
    found.dataset = {**truth.dataset, "annotations": []}
    found.createIndex()
    return found


def _like(one: Answer, other: Answer) -> bool:
    boxes = np.array([one.box, other.box])
    return one.number == other.number and bool(_boxes.overlaps(boxes[0], boxes[1:])[0] >= 0.5)


def _demand() -> None:
    try:
        import pycocotools.coco  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "Detections are scored by pycocotools, which is not installed.",
            "Install it: pip install pycocotools.",
        ) from error
