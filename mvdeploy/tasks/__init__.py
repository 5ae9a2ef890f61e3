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
``draw(picture, outputs, spec, name)``
    draws that on the image as the network saw it, enlarged maybe; `name` names a class.
``COLUMNS``
    what a table of comparisons shows besides numbers of the tensors: a `Column` each.

A network does the tasks that its family's ``tasks`` names, see `mvdeploy.models`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from mvdeploy import plugins
from mvdeploy.records import ModelSpec, ParityInput, TensorInfo

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

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
