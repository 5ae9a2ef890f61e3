"""How often the right class is the first that a classifier says, or among the first five."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import numpy as np

from mvdeploy.records import ModelSpec
from mvdeploy.records.evaluation import ClassResult, Confusion, Metric

if TYPE_CHECKING:
    from mvdeploy.tasks import Arrays, Row, View

_SHOWN = 5


class TopScorer:
    """Counts images by the place of their class; a row is the classes that come first, in order.

    Args:
        spec: of the network.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._names = ("top1", "top5") if spec.num_classes > _SHOWN else ("top1",)
        self._of = 0
        self._hits: collections.Counter[str] = collections.Counter()
        self._pairs: collections.Counter[tuple[int, int]] = collections.Counter()
        self._classes: collections.Counter[int] = collections.Counter()

    def judged(self, outputs: Arrays, truth: Any, view: View) -> Row:
        """Return the five classes that come first; nothing where a value is no number.

        Raises:
            ValueError: there is more than one row of numbers.
        """
        return _first(outputs)

    def add(self, truth: int, row: Row) -> None:
        """Count an image."""
        self._of += 1
        self._classes[truth] += 1
        self._hits.update(name for name, hit in self.hits(truth, row).items() if hit)
        if row and row[0] != truth:
            self._pairs[truth, row[0]] += 1
        elif not row:
            self._pairs[truth, -1] += 1

    def hits(self, truth: int, row: Row) -> dict[str, bool]:
        """Return whether the class is the first, and whether it is among the first five."""
        return dict(zip(self._names, (row[:1] == [truth], truth in row), strict=False))

    def alike(self, outputs: Arrays, others: Arrays) -> float:
        """Return 1 where both say the same class first, else 0."""
        own, other = _first(outputs), _first(others)
        return float(bool(own) and own[:1] == other[:1])

    def metrics(self) -> tuple[Metric, ...]:
        """Return both shares of the images."""
        titles = {"top1": "top-1", "top5": "top-5"}
        return tuple(
            Metric(name, titles[name], self._hits[name] / max(self._of, 1), self._hits[name])
            for name in self._names
        )

    def confusions(self) -> tuple[Confusion, ...]:
        """Return what was taken for what; class −1 stands for no answer."""
        return tuple(
            Confusion(truth, said, count) for (truth, said), count in self._pairs.most_common()
        )

    def classes(self) -> tuple[ClassResult, ...]:
        """Return the share of each class that was right."""
        wrong: collections.Counter[int] = collections.Counter()
        for (truth, _), count in self._pairs.items():
            wrong[truth] += count
        results = (
            ClassResult(number, 1 - wrong[number] / of, of) for number, of in self._classes.items()
        )
        return tuple(sorted(results, key=lambda one: (one.value, -one.of, one.number)))


def _first(outputs: Arrays) -> Row:
    numbers = [array for array in outputs.values() if array.dtype.kind == "f"]
    if len(numbers) != 1 or numbers[0].size != numbers[0].shape[-1]:
        shapes = " and ".join(str(array.shape) for array in outputs.values())
        raise ValueError(f"a classifier returns a row of numbers, and this one {shapes}")
    values = numbers[0].astype(np.float64).reshape(-1)
    if not np.isfinite(values).all():
        return []
    first: Row = np.argsort(-values, kind="stable")[:_SHOWN].tolist()
    return first
