"""How well masks cover what is true: intersection over union of every class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mvdeploy.records import ModelSpec
from mvdeploy.records.evaluation import ClassResult, Confusion, Metric

if TYPE_CHECKING:
    import numpy.typing as npt

    from mvdeploy.tasks import Arrays, Row, View

IGNORED = 255
"""Number of the pixels that no class is demanded of, such as edges in PASCAL VOC."""


class MaskScorer:
    """Counts pixels; a row is ``[true class, class that was said, pixels]`` for each such pair.

    A mask is brought to the size of the picture: every pixel has the class that the network said at
    the nearest place. What the network does not see of a picture is not counted.

    Args:
        spec: of the network.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._classes = spec.num_classes
        self._counts = np.zeros((spec.num_classes, spec.num_classes), np.int64)

    def judged(self, outputs: Arrays, truth: npt.NDArray[Any], view: View) -> Row:
        """Return how many pixels of which class were said to be of which.

        Raises:
            ValueError: the truth has another size than the picture, or other classes.
        """
        if truth.shape != view.picture:
            sizes = (f"{height}x{width}" for height, width in (truth.shape[:2], view.picture))
            raise ValueError("its mask is {}, and the picture {}".format(*sizes))
        beyond = truth[(truth >= self._classes) & (truth != IGNORED)]
        if beyond.size:
            raise ValueError(f"its mask has the class {int(beyond.max())} of {self._classes}")
        (logits,) = outputs.values()
        if not np.isfinite(logits).all():
            return []
        said = logits[0].argmax(0)
        rows = _places(view.picture[0], view.resized[0], view.top, said.shape[0], view.crop[0])
        columns = _places(view.picture[1], view.resized[1], view.left, said.shape[1], view.crop[1])
        seen = np.ix_(rows >= 0, columns >= 0)
        wanted = truth[seen]
        got = said[np.ix_(rows[rows >= 0], columns[columns >= 0])]
        counted = wanted != IGNORED
        pairs = wanted[counted].astype(np.int64) * self._classes + got[counted]
        found, counts = np.unique(pairs, return_counts=True)
        row: Row = np.stack([found // self._classes, found % self._classes, counts], 1).tolist()
        return row

    def add(self, truth: Any, row: Row) -> None:
        """Count an image."""
        for wanted, got, pixels in row:
            self._counts[wanted, got] += pixels

    def hits(self, truth: Any, row: Row) -> dict[str, bool]:
        """Return nothing: no image is simply right."""
        return {}

    def alike(self, outputs: Arrays, others: Arrays) -> float:
        """Return the share of the pixels with the same class."""
        (own,), (other,) = outputs.values(), others.values()
        return float((own[0].argmax(0) == other[0].argmax(0)).mean())

    def metrics(self) -> tuple[Metric, ...]:
        """Return the mean intersection over union, and the share of right pixels."""
        shares = [one.value for one in self.classes()]
        right, pixels = int(np.trace(self._counts)), int(self._counts.sum())
        mean = sum(shares) / len(shares) if shares else 0.0
        return (
            Metric("miou", "mean IoU", mean),
            Metric("pixels", "pixels", right / pixels if pixels else 0.0),
        )

    def confusions(self) -> tuple[Confusion, ...]:
        """Return what was taken for what, in pixels."""
        wanted, got = np.nonzero(self._counts)
        found = [
            Confusion(int(i), int(j), int(self._counts[i, j]))
            for i, j in zip(wanted, got, strict=True)
            if i != j
        ]
        return tuple(sorted(found, key=lambda one: -one.count))

    def classes(self) -> tuple[ClassResult, ...]:
        """Return the intersection over union of each class that is there or was said."""
        common = np.diag(self._counts)
        unions = self._counts.sum(0) + self._counts.sum(1) - common
        results = (
            ClassResult(number, float(common[number] / unions[number]), int(unions[number]))
            for number in range(self._classes)
            if unions[number]
        )
        return tuple(sorted(results, key=lambda one: (one.value, one.number)))


def _places(picture: int, resized: int, start: int, mask: int, crop: int) -> npt.NDArray[Any]:
    """Return the place in the mask of every pixel along one side; −1 for what is not seen."""
    places = ((np.arange(picture) + 0.5) * (resized / picture) - start) * (mask / crop)
    whole = np.floor(places).astype(np.int64)
    return np.where((whole >= 0) & (whole < mask), whole, -1)
