"""`Stages`: how long an app waits from the bytes of a picture to an answer, and for what."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from mvdeploy.records.artifact import Artifact
from mvdeploy.records.job import JobModel
from mvdeploy.records.limits import Core, Count, Nanoseconds, Number, Positive, Size, Threads
from mvdeploy.records.plan import Warmup

INFERENCE = "inference"

TITLES = {
    "decode": "decode the picture",
    "resize": "resize and crop",
    "normalise": "normalise and lay out",
    "feed": "hand it to the engine",
    INFERENCE: "inference",
    "fetch": "take the outputs",
    "finish": "post-processing",
}
"""Every stage there can be, in order, in words."""


@dataclasses.dataclass(frozen=True)
class StagesJob:
    """What is to be timed, in one process.

    Attributes:
        model: the file, its engine, and what it is fed for the answers to compare with.
        artifact: the file's manifest.
        picture: path of an image file.
        threads: inference threads.
        warmup: passes before any counts.
        passes: with the stages timed; None to go by `seconds`.
        seconds: of passes, timed or not.
        cores: CPU numbers to run on; empty for all.
    """

    model: JobModel
    artifact: Artifact
    picture: str
    threads: Threads
    warmup: Warmup
    passes: Number | None
    seconds: Positive
    cores: tuple[Core, ...] = ()


@dataclasses.dataclass(frozen=True)
class Said:
    """One thing that outputs say of the picture: class, how sure, and where, if anywhere."""

    number: int
    value: float
    box: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class StagesSession:
    """What one process timed. A pass goes from the bytes of a picture to an answer.

    Attributes:
        stages: wall times of each stage in every timed pass, by its name in `TITLES`, in order.
        total_ns: of these passes, from before their first stage to after their last.
        plain_ns: the same of passes between them, in which no stage was timed.
        warmup: passes before.
    """

    stages: dict[str, tuple[Nanoseconds, ...]]
    total_ns: tuple[Nanoseconds, ...]
    plain_ns: tuple[Nanoseconds, ...]
    warmup: Count

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        order = [name for name in TITLES if name in self.stages]
        if [*self.stages] != order or INFERENCE not in order:
            yield f"has the stages {', '.join(self.stages) or 'none'}"
        for name, times in self.stages.items():
            if len(times) != len(self.total_ns):
                yield f"has {len(times)} times of {name!r} in {len(self.total_ns)} passes"
                return
        for total, *parts in zip(self.total_ns, *self.stages.values(), strict=True):
            if sum(parts) > total:
                yield f"has stages of {sum(parts)} ns in a pass of {total} ns"
                return


@dataclasses.dataclass(frozen=True)
class Stages:
    """The whole pipeline of a case.

    Attributes:
        program: what does the other stages, with versions.
        picture: what was decoded: its name, size and bytes.
        batch: pictures in a pass.
        finish: what is done with the outputs, in words; empty where the task does not say.
        sessions: in the order they ran.
        said: what the outputs of a pass say of the picture.
        wanted: what they say where the file is fed as ``mvdeploy predict`` feeds it.
        difference: of the outputs of these two, at most, as a share of the largest.
        repeats: the same of two inferences of the same input, which is 0 where the engine computes
            the same every time.
        unavailable: why nothing was timed; empty when it was.
    """

    program: str = ""
    picture: str = ""
    batch: Number = 1
    finish: str = ""
    sessions: tuple[StagesSession, ...] = ()
    said: tuple[Said, ...] = ()
    wanted: tuple[Said, ...] = ()
    difference: Size = 0.0
    repeats: Size = 0.0
    unavailable: str = ""

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if bool(self.sessions) == bool(self.unavailable):
            yield "has times and a reason why it has none, or neither"
        if len({tuple(session.stages) for session in self.sessions}) > 1:
            yield "has sessions of different stages"

    @property
    def agrees(self) -> bool:
        """Whether the pipeline says what the file says of the picture otherwise.

        An engine computes the same of the same input, up to the order of its sums with several
        threads, where two inferences differ too. Answers that tie may change places then.
        """
        if self.difference <= max(_SAME, _AS_REPEATS * self.repeats):
            return True
        return (
            bool(self.said)
            and len(self.said) == len(self.wanted)
            and all(
                one.number == other.number and _close(one, other)
                for one, other in zip(self.said, self.wanted, strict=True)
            )
        )


_SAME, _NEAR, _AS_REPEATS = 1e-5, 1e-3, 4


def _close(one: Said, other: Said) -> bool:
    near = abs(one.value - other.value) <= _NEAR * max(abs(one.value), abs(other.value))
    sides = zip(one.box, other.box, strict=False)
    return near and len(one.box) == len(other.box) and all(abs(a - b) <= _NEAR for a, b in sides)


def decoded_said(values: Any) -> tuple[Said, ...]:
    """Return answers that a runner printed."""
    return tuple(Said(int(n), float(v), tuple(map(float, box))) for n, v, box in values)
