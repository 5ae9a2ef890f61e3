"""Tasks: what networks return, and when two results say the same.

A task is one file in this folder, importable without torch, with:

``TITLE``
    in words.
``IMAGE_SIZE``
    height and width, pixels, of the input of a model that does not say.
``outputs(spec)``
    a `TensorInfo` for each output of the network, in order, shapes with the batch.
``named(result)``
    what a network's forward returned (a tensor, a tuple or a dict), as tensors by output name.
``postprocess(outputs, spec)``
    tensors by name that a program may return instead of the network's own, such as probabilities
    for logits. A task without it has none.
``compare(wanted, got, rounded, spec)``
    the `Decision`: whether two results, arrays by output name, say the same. `rounded` is as far
    from `wanted` as an artifact may be, a multiple of what rounding costs, and tells what that can
    confuse; None where nothing is rounded.
``NUM_CLASSES``
    how many classes a network has for it that does other tasks too, if nothing is asked for. A
    task without it leaves classes and image size as the network has them.
``VALUE``, ``answers(outputs, spec)``
    what outputs, arrays by name, say of the first image: an `Answer` each, the surest first, and
    what their values are, in a word. A task without them says nothing that a person can judge.
``FINISH``, ``finish(outputs, spec, view)``
    what an app computes of the outputs of one image before it has something to show: in words, and
    done. `view` is which part of a picture the network saw. A task without them has nothing that
    could be timed.
``draw(picture, outputs, spec, name)``
    draws that on the image as the network saw it, enlarged maybe; `name` names a class.
``scorer(spec, data)``
    a `Scorer`, which holds what a network says of many images against a data set
    (`mvdeploy.datasets`). A task without it cannot be evaluated.
``COLUMNS``
    what a table of comparisons shows besides numbers of the tensors: a `Column` each.

A network does the tasks that its family's ``tasks`` names, see `mvdeploy.models`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from mvdeploy import plugins
from mvdeploy.errors import UsageError
from mvdeploy.records import ModelSpec, ParityInput, TensorInfo
from mvdeploy.records.evaluation import ClassResult, Confusion, Metric

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from mvdeploy.datasets import Data

    Arrays = Mapping[str, npt.NDArray[Any]]


Name = Callable[[int], str]
"""Number of a class → what it is called."""

REQUIRED = ("TITLE", "IMAGE_SIZE", "COLUMNS", "outputs", "named", "compare")
"""What every task's file has."""


@dataclasses.dataclass(frozen=True)
class Decision:
    """Whether two results say the same.

    Attributes:
        agrees: they do.
        tied: they do not, but rounding alone may put either answer first.
    """

    agrees: bool
    tied: bool = False


@dataclasses.dataclass(frozen=True)
class Answer:
    """One thing that a network says of an image.

    Attributes:
        number: of the class.
        value: how sure that is, or how much of it there is: 0 to 1.
        box: where: left, top, right and bottom as shares of the image's sides; empty for nowhere
            in particular.
    """

    number: int
    value: float
    box: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table of comparisons.

    Attributes:
        title: its head.
        text: what it says of the comparison on one input.
    """

    title: str
    text: Callable[[ParityInput], str]


@dataclasses.dataclass(frozen=True)
class View:
    """Which part of a picture a network sees, and at which size. Heights go before widths, pixels.

    Attributes:
        picture: size of the picture.
        resized: size that all of it is resized to.
        crop: size of the network's input.
        left: where the input begins in the resized picture; negative where it is padded.
        top: likewise.
    """

    picture: tuple[int, int]
    resized: tuple[int, int]
    crop: tuple[int, int]
    left: int
    top: int

    def box(self, sides: Sequence[float]) -> tuple[float, float, float, float]:
        """Return a box in pixels of the picture, cut off at its edges.

        Args:
            sides: left, top, right and bottom, as shares of the network's input.
        """
        (height, width), (rows, columns) = self.picture, self.crop
        across, down = width / self.resized[1], height / self.resized[0]

        def x(share: float) -> float:
            return min(max((share * columns + self.left) * across, 0.0), float(width))

        def y(share: float) -> float:
            return min(max((share * rows + self.top) * down, 0.0), float(height))

        return x(sides[0]), y(sides[1]), x(sides[2]), y(sides[3])


Row = list[Any]
"""What is kept of an image: plain values that JSON has; empty where outputs are no numbers."""


class Scorer(Protocol):
    """Holds what a network says of images against what is true of them, and keeps little of it."""

    def judged(self, outputs: Arrays, truth: Any, view: View) -> Row:
        """Return what is kept of the outputs of one image, by name and with a batch of one.

        Raises:
            ValueError: the truth does not fit the picture; says why, as a clause.
        """

    def add(self, truth: Any, row: Row) -> None:
        """Count an image."""

    def hits(self, truth: Any, row: Row) -> dict[str, bool]:
        """Return, by measure, whether an image counts; only for measures that are such shares."""

    def alike(self, outputs: Arrays, others: Arrays) -> float:
        """Return how much two results of one image say the same, 0 to 1."""

    def metrics(self) -> tuple[Metric, ...]:
        """Return the measures of all images that were counted; the first is the main one."""

    def confusions(self) -> tuple[Confusion, ...]:
        """Return what was taken for what, the most frequent first."""

    def classes(self) -> tuple[ClassResult, ...]:
        """Return how each class that there is came out, the worst first."""


class Task(Protocol):
    """What a task's file has; see the module's docstring, also for what it may lack."""

    TITLE: str
    IMAGE_SIZE: tuple[int, int]
    COLUMNS: tuple[Column, ...]

    def outputs(self, spec: ModelSpec) -> tuple[TensorInfo, ...]:
        """Return what a network returns."""

    def named(self, result: Any) -> dict[str, Tensor]:
        """Return the result of a network by output name."""

    def compare(
        self, wanted: Arrays, got: Arrays, rounded: Arrays | None, spec: ModelSpec
    ) -> Decision:
        """Decide whether two results say the same."""


def names() -> tuple[str, ...]:
    """Return the names of all tasks."""
    return plugins.names(__name__)


def get(name: str) -> Task:
    """Return a task by name.

    Raises:
        UsageError: there is no such task.
    """
    return cast(Task, plugins.load(__name__, name, "task"))


def postprocess(task: Task, outputs: dict[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """Return what a program may return instead of a network's own outputs; empty if nothing."""
    postprocessed: dict[str, Tensor]
    postprocessed = getattr(task, "postprocess", lambda _, __: {})(outputs, spec)
    return postprocessed


def answers(task: Task, outputs: Arrays, spec: ModelSpec) -> tuple[Answer, ...] | None:
    """Return what a network's outputs say of the first image; None for a task that says nothing."""
    answer: Callable[[Arrays, ModelSpec], tuple[Answer, ...]] | None
    answer = getattr(task, "answers", None)
    return None if answer is None else answer(outputs, spec)


def finish(task: Task) -> tuple[str, Callable[[Arrays, ModelSpec, View], object]] | None:
    """Return what an app computes of outputs, in words and as a function; None if nothing is known.

    The function takes outputs by name, the network and the part of a picture that it saw.
    """
    own: Callable[[Arrays, ModelSpec, View], object] | None = getattr(task, "finish", None)
    return None if own is None else (str(getattr(task, "FINISH", "post-processing")), own)


def scorer(name: str, spec: ModelSpec, data: Data) -> Scorer:
    """Return what holds a network's answers against a data set.

    Args:
        name: of the task.
        spec: of the network.
        data: what is true.

    Raises:
        UsageError: networks for this task cannot be evaluated, or it takes what is not installed.
    """
    demand_scorer(name)
    made: Scorer = get(name).scorer(spec, data)  # type: ignore[attr-defined]
    return made


def demand_scorer(name: str) -> None:
    """Refuse a task that says of no image whether it is right.

    Raises:
        UsageError: names those that do.
    """
    if not hasattr(get(name), "scorer"):
        able = ", ".join(one for one in names() if hasattr(get(one), "scorer"))
        raise UsageError(
            f"Of the task '{name}' it is not known what a right answer is.",
            f"Evaluate a network for one of {able}; say with --task what a file is for.",
        )
