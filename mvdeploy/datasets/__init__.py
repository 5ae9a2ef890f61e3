"""Data sets of images on the disk: which images there are, and what is true of each.

A layout is one file in this folder. It reads names and labels, never an image, and has:

``TASKS``
    the tasks whose data it holds.
``USAGE``
    what is given for it, in a line.
``fits(place)``
    whether a folder or file looks like it; nothing large is read.
``read(request)``
    the `Data`, or a `UsageError` where nothing of it can be used.

What cannot be used of a data set is not dropped in silence: each piece is a `Problem`.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mvdeploy import plugins
from mvdeploy.errors import UsageError

REQUIRED = ("TASKS", "USAGE", "fits", "read")
"""What every layout's file has."""

ENDINGS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
    )
)
"""Endings of names of images, in small letters."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """A piece of a data set that cannot be used.

    Attributes:
        kind: ``damaged``, ``missing``, ``unknown_label``, ``class_outside``, ``empty_class``,
            ``no_image``, ``unreadable``, ``not_listed``, ``outside``, ``repeated`` or ``truth``.
        what: the image, folder or line, as the data set names it.
        reason: why, as a clause.
    """

    kind: str
    what: str
    reason: str


KINDS = {
    "damaged": "cannot be read as an image",
    "missing": "is named, but not there",
    "unknown_label": "has a label that is not known",
    "class_outside": "is of a class that the network does not have",
    "empty_class": "is a class without an image",
    "no_image": "is no image by its name",
    "unreadable": "cannot be looked into",
    "not_listed": "is there, but has no label",
    "outside": "lies outside of the data set",
    "repeated": "is named once more",
    "truth": "has a truth that cannot be used",
}
"""Kind of a problem → what such a piece is or has, as a clause."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of a layout.

    Attributes:
        place: the folder or file.
        classes: how many the network tells apart.
        class_map: names of folders and labels → class; None where there is no such file.
        split: which part of data that has several; empty for the usual.
    """

    place: Path
    classes: int
    class_map: Mapping[str, int] | None = None
    split: str = ""


@dataclasses.dataclass(frozen=True)
class Data:
    """Images and what is true of them. Kept small: names and numbers.

    Attributes:
        layout: name of the layout.
        root: folder that the paths start from.
        paths: of the images, with ``/``.
        truths: what is true of each, as its task takes it: a class, a number or a path.
        titles: names of classes, as far as they have any.
        problems: what cannot be used.
        source: what else the task needs of the data set, such as a file with boxes.
        notes: what was taken for granted, in sentences.
    """

    layout: str
    root: Path
    paths: Sequence[str]
    truths: Sequence[Any]
    titles: Mapping[int, str] = dataclasses.field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    source: Any = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, number: int) -> Path:
        """Return where an image is."""
        return self.root / self.paths[number]


def names() -> tuple[str, ...]:
    """Return the names of all layouts."""
    return plugins.names(__name__)


def get(name: str) -> Any:
    """Return a layout by name.

    Raises:
        UsageError: there is none.
    """
    return plugins.load(__name__, name, "layout of data sets")


def read(request: Request, task: str) -> Data:
    """Read a data set for a task.

    Args:
        request: where it is, and what is to be known of it.
        task: its name.

    Raises:
        UsageError: there is nothing, nothing of a known layout, data for another task, or not one
            image that can be used.
    """
    place = request.place
    layouts = {name: get(name) for name in names()}
    own = {name: layout for name, layout in layouts.items() if task in layout.TASKS}
    usages = "; ".join(layout.USAGE for layout in own.values())
    if not own:
        raise UsageError(
            f"There is no layout of data sets for the task '{task}'.",
            "Evaluate a network that classifies, detects or segments.",
        )
    if not place.exists():
        raise UsageError(f"There is no data set {place}.", f"Give after --data: {usages}.")
    with worded(place):
        found = next((layout for layout in own.values() if layout.fits(place)), None)
        other = next((layout for layout in layouts.values() if layout.fits(place)), None)
    if found is None:
        also = f"; it looks like data for the task '{other.TASKS[0]}'" if other else ""
        raise UsageError(
            f"{place} is no data set for the task '{task}'{also}.", f"Give after --data: {usages}."
        )
    with worded(place):
        data: Data = found.read(request)
    if not len(data):
        first = f", the first of them that {sentence(data.problems[0])}" if data.problems else ""
        raise UsageError(
            f"{place} has no image that can be used ({len(data.problems)} problems{first}).",
            f"Give after --data: {usages}.",
        )
    return data


def sentence(problem: Problem) -> str:
    """Return a problem in words, without a full stop."""
    reason = f" ({problem.reason})" if problem.reason else ""
    return f"{problem.what} {KINDS.get(problem.kind, problem.kind)}{reason}"


class worded:  # noqa: N801 - it reads as a function
    """Turn what the system says of a data set's own folder or file into a `UsageError`."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UnicodeDecodeError):
            raise UsageError(
                f"{self._place} is no text in UTF-8 ({error.reason}).", "Save it as UTF-8."
            ) from error
        if isinstance(error, OSError):
            raise UsageError(
                f"{error.filename or self._place} cannot be read ({error.strerror or error}).",
                "Check the path, and who may read it.",
            ) from error


def limited(data: Data, limit: int, seed: int = 0) -> Data:
    """Return some of the images, the same ones for the same seed, spread over the classes.

    Args:
        data: with more images or fewer.
        limit: most images.
        seed: of the choice.
    """
    if len(data) <= limit:
        return data
    generator = random.Random(seed)
    by_class: dict[Any, list[int]] = collections.defaultdict(list)
    for number, truth in enumerate(data.truths):
        by_class[truth if isinstance(truth, int) else None].append(number)
    for numbers in by_class.values():
        generator.shuffle(numbers)
    order = list(by_class)
    generator.shuffle(order)  # of more classes than images, not always the first ones
    chosen: list[int] = []
    depth = 0
    while len(chosen) < limit:
        chosen += [by_class[c][depth] for c in order if depth < len(by_class[c])]
        depth += 1
    kept = sorted(chosen[:limit])
    return dataclasses.replace(
        data, paths=[data.paths[i] for i in kept], truths=[data.truths[i] for i in kept]
    )


def is_image(name: str) -> bool:
    """Say whether a file is an image by the end of its name."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in ENDINGS


def inside(name: str) -> bool:
    """Say whether a path that a file names stays in the file's folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in path.parts[0]


class Gathered:
    """Images with a class each, as they are found.

    Args:
        request: with the number of classes.
    """

    def __init__(self, request: Request) -> None:
        from array import array

        self._classes = request.classes
        self.paths: list[str] = []
        self.truths = array("q")
        self.problems: list[Problem] = []
        self._seen: set[str] = set()

    def problem(self, kind: str, what: str, reason: str = "") -> None:
        """Note what cannot be used."""
        self.problems.append(Problem(kind, what, reason))

    def add(self, path: str, number: int) -> None:
        """Take an image, if its class is one of the network's and it is not there already."""
        if not 0 <= number < self._classes:
            self.problem("class_outside", path, f"class {number} of {self._classes}")
        elif path in self._seen:
            self.problem("repeated", path)
        else:
            self._seen.add(path)
            self.paths.append(path)
            self.truths.append(number)

    def data(self, layout: str, root: Path, titles: Mapping[int, str] | None = None) -> Data:
        """Return the data set."""
        return Data(layout, root, self.paths, self.truths, titles or {}, tuple(self.problems))


def fingerprint(data: Data, labels: Sequence[Path] = ()) -> str:
    """Return what a data set is known by: another one for other images, truths, sizes or times.

    Args:
        data: the images.
        labels: files that the truths were read from, beside those that the truths are.
    """
    digest = hashlib.sha256(f"{data.layout}\n".encode())

    def seen(path: Path) -> str:
        try:
            held = path.stat()
        except OSError:
            return "gone"
        return f"{held.st_size} {held.st_mtime_ns}"

    for path, truth in zip(data.paths, data.truths, strict=True):
        mask = seen(data.root / truth) if isinstance(truth, str) else ""
        line = (path, truth, seen(data.root / path), mask)
        digest.update(f"{line}\n".encode("utf-8", "surrogatepass"))
    for file in labels:
        digest.update(f"{seen(file)}\n".encode())
    return digest.hexdigest()
