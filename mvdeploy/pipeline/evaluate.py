"""Networks, exported files and a data set → how often they are right, and where they differ."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import mvdeploy
from mvdeploy import datasets, tasks
from mvdeploy.datasets import Data
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import trial
from mvdeploy.pipeline.evaluation import Request, programs, shards
from mvdeploy.pipeline.evaluation.counting import Counts, agreement
from mvdeploy.pipeline.evaluation.judging import Judge
from mvdeploy.pipeline.evaluation.programs import Subject
from mvdeploy.pipeline.evaluation.progress import Progress
from mvdeploy.pipeline.files import demand_inputs, demand_runnable, measurable, opened
from mvdeploy.records import (
    Finding,
    ModelSpec,
    codec,
)
from mvdeploy.records.evaluation import (
    Evaluation,
    EvaluationConditions,
    EvaluationShard,
    LeftOut,
    SubjectResult,
)
from mvdeploy.records.spec import ImageChanges

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Arrays = Mapping[str, Array]

OnStep = Callable[[str], None]

_SHARD = 256
"""Images that are kept in one file of an unfinished evaluation."""

_SHARD_ON_DEVICE = 64
"""The same where an image takes longer."""


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What came of it.

    Attributes:
        evaluation: the record.
        findings: what is to be known of the files.
        resumed: images that were there already, from an earlier call.
        changed: why what was there was not taken, in words; empty where it was, or nothing was.
    """

    evaluation: Evaluation
    findings: tuple[Finding, ...]
    resumed: int = 0
    changed: str = ""


def evaluate(request: Request, on_step: OnStep = lambda _: None) -> Evaluated:
    """Evaluate networks and files on the images of a data set.

    Args:
        request: what, and on what.
        on_step: is told how far it has come.

    Raises:
        UsageError: a file, a network or the data set cannot be used, or not one image can.
        DeviceUnavailable: the device does not answer.
        EngineError: an engine cannot run a file.
    """
    subjects, notes = _subjects(request)
    first = subjects[0]
    data, titles, all_found = _data(request, first.spec)
    scorers = [tasks.scorer(subject.spec.task, subject.spec, data) for subject in subjects]
    evaluator = _Evaluator(request, subjects, data, scorers, on_step)
    counts = evaluator.run()
    if not counts.images:
        reason = f" ({counts.left_out[0].what}: {counts.left_out[0].reason})"
        raise UsageError(
            f"Not one of the {len(data)} images of {request.data} can be used"
            f"{reason if counts.left_out else ''}.",
            "Give a data set with images that can be read.",
        )
    evaluation = Evaluation(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        mvdeploy=mvdeploy.__version__,
        task=first.spec.task,
        data=str(request.data),
        layout=data.layout,
        found=all_found,
        chosen=len(data),
        images=counts.images,
        limit=request.limit,
        seed=request.seed,
        decode_ns=counts.decode_ns,
        subjects=tuple(
            _result(subject, number, scorers[number], evaluator, counts)
            for number, subject in enumerate(subjects)
        ),
        pairs=counts.pairs(),
        agreements=counts.agreements(),
        left_out=(
            *(LeftOut(one.kind, one.what, one.reason) for one in data.problems),
            *counts.left_out,
        ),
        titles={str(number): title for number, title in sorted(titles.items())},
        notes=(*data.notes, *notes),
    )
    evaluator.shards.finish(evaluation)
    findings = tuple(finding for subject in subjects for finding in subject.findings)
    return Evaluated(evaluation, findings, counts.resumed, evaluator.shards.changed)


def _subjects(request: Request) -> tuple[list[Subject], list[str]]:
    """Open all files; return the subjects, and what was taken for granted."""
    here = request.device.link == "host"
    made, files, notes = [], [], list[str]()
    for source in request.subjects:
        if isinstance(source, ModelSpec):
            if not here:
                raise UsageError(
                    f"{source.label} is a network, and {request.device.title} runs exported files.",
                    "Export it first, and give the file.",
                )
            made.append(programs.of_network(source))
            continue
        file = (opened if here else measurable)(source, request.said, request.network)
        demand_runnable(file.path, file.artifact)
        if here:
            trial.demand_survived(file.path, file.artifact)
        files.append(file)
        asked = (request.task, request.weights, request.model)
        made.append(programs.of_file(file, *asked, demanded=not made))
    demand_inputs(request.said, files)
    known = next((one for one in made if one.spec.model), None)
    own_images = request.said is not None and request.said.images != ImageChanges()
    for number, subject in enumerate(made):
        programs.demand_one_image(subject)
        if known is not None and not subject.spec.model and request.task is None:
            alike = programs.fed_alike(subject, known)
            if alike is not subject:
                made[number] = dataclasses.replace(
                    alike, rule=subject.rule if own_images else alike.rule
                )
                notes.append(
                    f"{subject.name} is taken for a network of the task of {known.name}, and is "
                    "fed like it."
                )
    _demand_alike(made)
    return _named_apart(made), notes


def _demand_alike(subjects: Sequence[Subject]) -> None:
    """Refuse subjects that do different things.

    Raises:
        UsageError: names two.
    """
    first = subjects[0]
    for subject in subjects:
        tasks.demand_scorer(subject.spec.task)
        own = (subject.spec.task, subject.spec.num_classes)
        if own != (first.spec.task, first.spec.num_classes):
            raise UsageError(
                f"{first.name} is for '{first.spec.task}' with {first.spec.num_classes} classes, "
                f"and {subject.name} for '{own[0]}' with {own[1]}.",
                "Compare two that do the same.",
            )


def _named_apart(subjects: Sequence[Subject]) -> list[Subject]:
    """Return the subjects with names that differ: those of equal ones get a number."""
    taken: set[str] = set()
    apart = []
    for subject in subjects:
        name, number = subject.name, 2
        while name in taken:
            name, number = f"{subject.name} ({number})", number + 1
        taken.add(name)
        apart.append(dataclasses.replace(subject, name=name))
    return apart


def _data(request: Request, spec: ModelSpec) -> tuple[Data, dict[int, str], int]:
    """Read the data set; return the chosen images, names of classes, and how many there are."""
    mapped, titles = None, dict[int, str]()
    if request.class_map is not None:
        from mvdeploy.datasets import _class_map

        mapped, titles = _class_map.read(request.class_map)
    asked = datasets.Request(request.data, spec.num_classes, mapped, request.split)
    data = datasets.read(asked, spec.task)
    found = len(data)
    if request.limit is not None:
        data = datasets.limited(data, request.limit, request.seed)
    return data, {**data.titles, **titles}, found


def _result(
    subject: Subject, number: int, scorer: tasks.Scorer, evaluator: _Evaluator, counts: Counts
) -> SubjectResult:
    artifact, tally = subject.artifact, counts.references[number]
    return SubjectResult(
        name=subject.name,
        file=str(subject.path or ""),
        sha256=artifact.sha256 if artifact else "",
        model=subject.spec.label if subject.spec.model else "",
        format=artifact.format if artifact else "",
        precision=artifact.precision if artifact else "",
        engine=counts.engines[number],
        device=evaluator.device_title if artifact else "",
        random_weights=subject.spec.is_random,
        metrics=scorer.metrics(),
        not_finite=counts.not_finite[number],
        agreement=agreement(tally) if tally[1] else None,
        agreement_unknown=evaluator.unknown[number],
        inference_ns=counts.inference_ns[number],
        classes=scorer.classes(),
        confusions=scorer.confusions(),
    )


class _Evaluator:
    """Goes through the images, shard by shard.

    Args:
        request: what is asked for.
        subjects: what is fed.
        data: the chosen images.
        scorers: of the subjects.
        on_step: is told how far it has come.

    Attributes:
        unknown: see `Judge`.
    """

    def __init__(
        self,
        request: Request,
        subjects: Sequence[Subject],
        data: Data,
        scorers: Sequence[tasks.Scorer],
        on_step: OnStep,
    ) -> None:
        self._request, self._subjects, self._data = request, subjects, data
        self._scorers, self._on_step = scorers, on_step
        self._remote = request.device.link != "host"
        self._judge = Judge(request, subjects, data, scorers, on_step)
        self.device_title = request.device.title if self._remote else ""
        self.unknown = self._judge.unknown
        is_table = request.output is not None and request.output.suffix.lower() == ".csv"
        self._table = request.output if is_table else None
        self.shards = shards.Shards(None if is_table else request.output, self._conditions())

    def _conditions(self) -> EvaluationConditions:
        request = self._request
        known = [
            (codec.dumps(one.spec), codec.dumps(one.rule), one.artifact and one.artifact.sha256)
            for one in self._subjects
        ]
        labels = [p for p in (request.class_map, request.data) if p is not None and p.is_file()]
        return EvaluationConditions(
            subjects=_sha256(repr((known, request.with_pytorch, request.threads))),
            data=datasets.fingerprint(self._data, labels),
            choice=f"limit {request.limit}, seed {request.seed}, split {request.split or 'usual'}",
            device=request.device.name,
            mvdeploy=mvdeploy.__version__,
        )

    def run(self) -> Counts:
        """Judge all images, or take them from an earlier call, and count them."""
        counts = Counts(len(self._subjects))
        size = _SHARD_ON_DEVICE if self._remote else _SHARD
        path = self._table or self.shards.table
        said = Progress(len(self._data), self._on_step)
        with contextlib.ExitStack() as stack, shards.table(path, self._data) as table:
            table.head([subject.name for subject in self._subjects])
            for number, start in enumerate(range(0, len(self._data), size)):
                numbers = range(start, min(start + size, len(self._data)))
                shard = self.shards.load(number)
                if shard is None:
                    self._judge.start(stack)
                    on_images = functools.partial(_say, said, len(counts.left_out))
                    shard = self._judge.judge(numbers, self.shards.of, on_images)
                    self.shards.save(number, shard)
                else:
                    counts.resumed += len(shard.images)
                self._count(shard, counts, table)
                said(numbers.stop, len(counts.left_out))
        return counts

    def _count(self, shard: EvaluationShard, counts: Counts, table: shards.Table) -> None:
        counts.decode_ns += shard.decode_ns
        counts.engines = list(shard.engines)
        self.unknown = list(shard.unknown)
        for number, spent in enumerate(shard.inference_ns):
            counts.inference_ns[number] += spent
        for image in shard.images:
            table.add(image)
            if image.problem:
                kind, reason = image.problem
                counts.left_out.append(LeftOut(kind, self._data.paths[image.number], reason))
                continue
            truth = self._data.truths[image.number]
            hits = []
            for scorer, row in zip(self._scorers, image.rows, strict=True):
                scorer.add(truth, row or [])
                hits.append(scorer.hits(truth, row or []))
            counts.add(image, hits)


def _say(said: Progress, before: int, done: int, left_out: int) -> None:
    said(done, before + left_out)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
