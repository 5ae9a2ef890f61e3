"""`Evaluation`: how often networks and files are right on a data set, and where they differ.

Counts are stored; shares, intervals and tests are derived from them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any

from mvdeploy.records.limits import Count, Range

Share = Annotated[float, Range(0, 1)]
ClassNumber = Annotated[int, Range(-1)]
"""Of a class; −1 stands for no answer."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """One measure of one subject on all images.

    Attributes:
        name: such as ``top1`` or ``map``.
        title: the same in tables.
        value: 0 to 1.
        hits: images that count; None for a measure that is no share of the images.
    """

    name: str
    title: str
    value: Share
    hits: Count | None = None


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Images (of masks: pixels) of one class that were taken for another.

    Attributes:
        truth: the class that they are of.
        said: the class that they were taken for.
        count: how many.
    """

    truth: Count
    said: ClassNumber
    count: Count


@dataclasses.dataclass(frozen=True)
class ClassResult:
    """How a class came out.

    Attributes:
        number: of the class.
        value: share of its images that are right, intersection over union, or average precision.
        of: images, pixels of the union, or objects.
    """

    number: Count
    value: Share
    of: Count


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How much two programs say the same, whether that is right or wrong.

    Attributes:
        value: mean over the images, 0 to 1.
        of: images.
        same: images on which they say exactly the same.
    """

    value: Share
    of: Count
    same: Count

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        if self.same > self.of:
            yield f"agrees on {self.same} of {self.of} images"


@dataclasses.dataclass(frozen=True)
class SubjectResult:
    """What came of one network or file.

    Attributes:
        name: in tables.
        file: of the exported file; empty for a network.
        sha256: of that file.
        model: the network, as far as it is known.
        format: of the file.
        precision: of the file.
        engine: what ran it, with its version.
        device: where, by its title; empty for this machine.
        random_weights: whether the network was not trained.
        metrics: the first is the main one.
        not_finite: images of which an output was no finite number; they count as wrong.
        agreement: with the PyTorch network; None where that is not known.
        agreement_unknown: why not, as a clause; empty where it is known, or it is that network.
        inference_ns: wall time of all inferences, with what feeding and fetching takes.
        classes: each class that there is, the worst first.
        confusions: the most frequent first.
    """

    name: str
    file: str
    sha256: str
    model: str
    format: str
    precision: str
    engine: str
    device: str
    random_weights: bool
    metrics: tuple[Metric, ...]
    not_finite: Count
    agreement: Agreement | None
    agreement_unknown: str
    inference_ns: Count
    classes: tuple[ClassResult, ...] = ()
    confusions: tuple[Confusion, ...] = ()


@dataclasses.dataclass(frozen=True)
class PairCounts:
    """Two subjects on the same images, by one measure.

    Attributes:
        a: index of the subject that is the reference.
        b: index of the other.
        metric: name of the measure.
        both: images that both get right.
        only_a: that the reference alone gets right.
        only_b: that the other alone gets right.
        neither: that neither gets right.
    """

    a: Count
    b: Count
    metric: str
    both: Count
    only_a: Count
    only_b: Count
    neither: Count


@dataclasses.dataclass(frozen=True)
class PairAgreement:
    """How much two subjects say the same.

    Attributes:
        a: index of the subject that is the reference.
        b: index of the other.
        agreement: of the two.
    """

    a: Count
    b: Count
    agreement: Agreement


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A piece of a data set that could not be used; see `mvdeploy.datasets.Problem`."""

    kind: str
    what: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Networks and files on the same images of a data set.

    Attributes:
        created: ISO 8601, UTC.
        mvdeploy: version.
        task: its name.
        data: the folder or file, as it was given.
        layout: how the data set is laid out.
        found: images with a truth in it.
        chosen: of these, those that were looked at.
        images: of these, those that count.
        limit: most images that were asked for; None for all.
        seed: of the choice.
        decode_ns: wall time of reading, resizing and normalising all images.
        subjects: the first is the reference of the others.
        pairs: counts of each other with the reference.
        agreements: of each other with the reference.
        left_out: what could not be used.
        titles: names of classes, by number.
        notes: what was taken for granted, in sentences.
    """

    created: str
    mvdeploy: str
    task: str
    data: str
    layout: str
    found: Count
    chosen: Count
    images: Count
    limit: Count | None
    seed: int
    decode_ns: Count
    subjects: tuple[SubjectResult, ...]
    pairs: tuple[PairCounts, ...] = ()
    agreements: tuple[PairAgreement, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    titles: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class JudgedImage:
    """One image of a shard.

    Attributes:
        number: of the image in the data set.
        rows: what is kept of each subject's outputs; see `mvdeploy.tasks.Row`.
        references: how much each subject says the same as its PyTorch network; None where that is
            not known.
        alike: how much each other subject says the same as the first.
        problem: why the image does not count, as kind and reason; empty where it does.
    """

    number: Count
    rows: tuple[Any, ...] = ()
    references: tuple[Share | None, ...] = ()
    alike: tuple[Share, ...] = ()
    problem: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class EvaluationShard:
    """Some images of an evaluation that may be cut short, saved when they are done.

    Attributes:
        of: what the conditions are known by.
        images: in the order of the data set.
        decode_ns: see `Evaluation`.
        inference_ns: of each subject.
        engines: of each subject.
        unknown: of each subject, why it is not compared with its PyTorch network.
    """

    of: str
    images: tuple[JudgedImage, ...]
    decode_ns: Count
    inference_ns: tuple[Count, ...]
    engines: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class EvaluationConditions:
    """What an evaluation that goes on must share with what is there of it.

    Attributes:
        subjects: what the files and networks are known by.
        data: what the images and their truths are known by.
        choice: limit and seed.
        device: where it runs.
        mvdeploy: version.
    """

    subjects: str
    data: str
    choice: str
    device: str
    mvdeploy: str
