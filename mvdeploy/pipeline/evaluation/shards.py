"""An evaluation on disk while it grows: finished images in shards, and what it was made under.

::

    conditions.json       what the shards were made under
    shards/00000.json     finished images, a file for each few hundred of them
    predictions.csv       what was said of each image
    evaluation.json       the result
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mvdeploy.datasets import Data
from mvdeploy.errors import UsageError
from mvdeploy.files import writing
from mvdeploy.records import codec
from mvdeploy.records.codec import RecordError
from mvdeploy.records.evaluation import (
    Evaluation,
    EvaluationConditions,
    EvaluationShard,
    JudgedImage,
)

_CONDITIONS, _SHARDS, _RESULT, _TABLE = (
    *("conditions.json", "shards", "evaluation.json", "predictions.csv"),
)
_REMEDY = "Give another place with -o."
_WORDS = {
    "subjects": "a file or network",
    "data": "the data set",
    "choice": "the choice of images",
    "device": "the device",
    "mvdeploy": "mvdeploy",
}


class Shards:
    """The folder of an evaluation.

    Args:
        folder: made if need be; None to keep nothing.
        conditions: of this evaluation.

    Attributes:
        changed: what is another than in the shards that were there, in words; empty where they go
            on, or there were none.

    Raises:
        UsageError: something else lies there, or it cannot be written.
    """

    def __init__(self, folder: Path | None, conditions: EvaluationConditions) -> None:
        self._folder, self.changed = folder, ""
        self.of = hashlib.sha256(codec.dumps(conditions).encode()).hexdigest()
        if folder is None:
            return
        file = folder / _CONDITIONS
        if file.exists():
            self.changed = _changed(file, conditions)
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(
                f"{folder} is there, and holds no evaluation.", "Give a new folder with -o."
            )
        if self.changed or not file.exists():
            for left in (folder / _RESULT, folder / _TABLE):
                left.unlink(missing_ok=True)
            shutil.rmtree(folder / _SHARDS, ignore_errors=True)
            codec.save(conditions, file, remedy=_REMEDY)

    def load(self, number: int) -> EvaluationShard | None:
        """Return a shard that is there and whole; None otherwise."""
        if self._folder is None or not self._file(number).exists():
            return None
        try:
            shard = codec.load(EvaluationShard, self._file(number))
        except RecordError:
            return None  # it is made again
        return shard if shard.of == self.of else None

    def save(self, number: int, shard: EvaluationShard) -> None:
        """Keep a shard."""
        if self._folder is not None:
            codec.save(shard, self._file(number), indent=None, remedy=_REMEDY)

    def finish(self, result: Evaluation) -> None:
        """Keep the result."""
        if self._folder is not None:
            codec.save(result, self._folder / _RESULT, remedy=_REMEDY)

    @property
    def table(self) -> Path | None:
        """Where the table of the images goes."""
        return self._folder / _TABLE if self._folder is not None else None

    def _file(self, number: int) -> Path:
        return (self._folder or Path()) / _SHARDS / f"{number:05}.json"


def _changed(file: Path, conditions: EvaluationConditions) -> str:
    try:
        before = codec.load(EvaluationConditions, file)
    except RecordError:
        return "what is known of it"
    return ", ".join(
        word
        for field, word in _WORDS.items()
        if getattr(before, field) != getattr(conditions, field)
    )


@dataclasses.dataclass
class Table:
    """A table of what was said of each image, written as it grows.

    Attributes:
        file: text that is open; None to write nothing.
        data: the images.
    """

    file: io.TextIOBase | None
    data: Data
    _nothing: list[str] = dataclasses.field(default_factory=list)

    def head(self, names: Sequence[str]) -> None:
        """Write the names of the columns."""
        says = (f"{name} says" for name in names)
        self._row(("path", "truth", *says, "left out"))
        self._nothing = [""] * len(names)

    def add(self, image: JudgedImage) -> None:
        """Write an image."""
        path, truth = self.data.paths[image.number], self.data.truths[image.number]
        says = [json.dumps(row) for row in image.rows] or self._nothing
        self._row((path, truth, *says, " ".join(image.problem)))

    def _row(self, cells: Sequence[Any]) -> None:
        if self.file is not None:
            from mvdeploy.report.renderers.csv import safe

            csv.writer(self.file, lineterminator="\n").writerow(map(safe, cells))


@contextmanager
def table(path: Path | None, data: Data) -> Iterator[Table]:
    """Give a table of images that appears at a path in the end, whole.

    Raises:
        NotWritten: it cannot be written.
    """
    if path is None:
        yield Table(None, data)
        return
    with writing.whole(path, remedy=_REMEDY) as part, part.open("w", encoding="utf-8") as file:
        yield Table(file, data)
