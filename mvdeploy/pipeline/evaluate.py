"""Networks, exported files and a data set → how often they are right, and where they differ."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mvdeploy
from mvdeploy import datasets, engines, links, tasks
from mvdeploy.datasets import Data
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import connect, programs, shards
from mvdeploy.pipeline.files import demand_inputs, demand_runnable, measurable, opened
from mvdeploy.pipeline.programs import Program, Subject
from mvdeploy.records import (
    DeviceProfile,
    FileInputs,
    Finding,
    ModelSpec,
    Preprocessing,
    TensorInfo,
    codec,
)
from mvdeploy.records.evaluation import (
    Agreement,
    Evaluation,
    EvaluationConditions,
    EvaluationShard,
    JudgedImage,
    LeftOut,
    PairAgreement,
    PairCounts,
    SubjectResult,
)
from mvdeploy.records.spec import ImageChanges

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    Array = npt.NDArray[Any]
    Arrays = Mapping[str, Array]

OnStep = Callable[[str], None]

_SHARD = 256
"""Images that are kept in one file of an unfinished evaluation."""

_SHARD_ON_DEVICE = 64
"""The same where an image takes longer."""

_STEPS, _STEP_S = 10, 30.0
"""How often is said how far it has come: after such a part of the images, or so many seconds."""

NOT_ASKED = "it was not asked for"
"""Why agreement with PyTorch is not known where nobody wants to know."""

_CELLS = {(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}
"""Place among the counts of a pair, by who gets an image right."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be evaluated.

    Attributes:
        subjects: networks and exported files; the first is the reference of the others.
        data: a folder or file; see `mvdeploy.datasets`.
        device: where; on this machine files are run by what verifies them.
        class_map: file that says which class a folder or label is.
        split: which part of data that has several; empty for the usual.
        limit: most images; None for all.
        seed: of the choice.
        threads: of the engines on this machine.
        with_pytorch: compare with the PyTorch network of each file too.
        output: a folder to keep all in, or a .csv file for what is said of each image.
        link_options: how the device is reached, as `links.get` takes it.
        said: what is said of the inputs of files.
        network: the one that files without a manifest came from.
        task: of files whose network is not known.
        weights: where the checkpoint of the first file is now.
        model: what builds the network of the first file now.
    """

    subjects: tuple[ModelSpec | Path, ...]
    data: Path
    device: DeviceProfile
    class_map: Path | None = None
    split: str = ""
    limit: int | None = None
    seed: int = 0
    threads: int = 1
    with_pytorch: bool = True
    output: Path | None = None
    link_options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    said: FileInputs | None = None
    network: ModelSpec | None = None
    task: str | None = None
    weights: Path | None = None
    model: str | None = None


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


class _Counts:
    """What has been counted so far: small, however many images there are."""

    def __init__(self, subjects: int) -> None:
        self.images = self.decode_ns = self.resumed = 0
        self.inference_ns = [0] * subjects
        self.engines = [""] * subjects
        self.not_finite = [0] * subjects
        self.left_out: list[LeftOut] = []
        self.references: list[list[float]] = [[0.0, 0, 0] for _ in range(subjects)]
        self._alike: list[list[float]] = [[0.0, 0, 0] for _ in range(subjects)]
        self._pairs: dict[tuple[int, str], list[int]] = {}

    def add(self, image: JudgedImage, hits: Sequence[Mapping[str, bool]]) -> None:
        """Count an image.

        Args:
            image: one that counts.
            hits: of each subject, by measure.
        """
        self.images += 1
        for number, row in enumerate(image.rows):
            self.not_finite[number] += _is_nothing(row)
            share = image.references[number]
            if share is not None:
                _tally(self.references[number], share)
        for number, share in enumerate(image.alike, start=1):
            _tally(self._alike[number], share)
            for name, own in hits[0].items():
                cells = self._pairs.setdefault((number, name), [0, 0, 0, 0])
                other = hits[number][name]
                cells[_CELLS[own, other]] += 1

    def pairs(self) -> tuple[PairCounts, ...]:
        """Return the counts of each subject with the first."""
        return tuple(
            PairCounts(0, number, name, *cells) for (number, name), cells in self._pairs.items()
        )

    def agreements(self) -> tuple[PairAgreement, ...]:
        """Return how much each subject says the same as the first."""
        others = enumerate(self._alike[1:], start=1)
        return tuple(PairAgreement(0, number, _agreement(tally)) for number, tally in others)


def _is_nothing(row: Any) -> bool:
    """Say whether a row stands for outputs that are no numbers."""
    return row is None


def _tally(tally: list[float], share: float) -> None:
    tally[0] += share
    tally[1] += 1
    tally[2] += share == 1


def _agreement(tally: Sequence[float]) -> Agreement:
    total, of, same = tally
    return Agreement(min(total / of, 1.0) if of else 0.0, int(of), int(same))


def _result(
    subject: Subject, number: int, scorer: tasks.Scorer, evaluator: _Evaluator, counts: _Counts
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
        agreement=_agreement(tally) if tally[1] else None,
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
        unknown: of each subject, why it is not compared with its PyTorch network; empty where it
            is, or it is that network.
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
        self.device_title = request.device.title if self._remote else ""
        self.unknown = [self._unknown(subject) for subject in subjects]
        self._ways = [(one.spec.with_batch(1).inputs, one.rule) for one in subjects]
        self._running: list[Program] = []
        self._references: list[Program | None] = []
        is_table = request.output is not None and request.output.suffix.lower() == ".csv"
        self._table = request.output if is_table else None
        self.shards = shards.Shards(None if is_table else request.output, self._conditions())

    def _unknown(self, subject: Subject) -> str:
        if subject.artifact is None:
            return ""
        return subject.unknown if self._request.with_pytorch else NOT_ASKED

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

    def run(self) -> _Counts:
        """Judge all images, or take them from an earlier call, and count them."""
        counts = _Counts(len(self._subjects))
        size = _SHARD_ON_DEVICE if self._remote else _SHARD
        path = self._table or self.shards.table
        said = _Progress(len(self._data), self._on_step)
        with contextlib.ExitStack() as stack, shards.table(path, self._data) as table:
            table.head([subject.name for subject in self._subjects])
            for number, start in enumerate(range(0, len(self._data), size)):
                numbers = range(start, min(start + size, len(self._data)))
                shard = self.shards.load(number)
                if shard is None:
                    self._start(stack)
                    shard = self._judge(numbers, said, len(counts.left_out))
                    self.shards.save(number, shard)
                else:
                    counts.resumed += len(shard.images)
                self._count(shard, counts, table)
                said(numbers.stop, len(counts.left_out))
        return counts

    def _count(self, shard: EvaluationShard, counts: _Counts, table: shards.Table) -> None:
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

    def _start(self, stack: contextlib.ExitStack) -> None:
        """Make everything ready to be fed, once."""
        if self._running:
            return
        import torch

        torch.set_num_threads(self._request.threads)
        link = None
        if self._remote:
            link = links.get(self._request.device, self._request.link_options)
            stack.enter_context(connect.opened(link, self._on_step))
        built: dict[tuple[str, str], Program] = {}
        for number, subject in enumerate(self._subjects):
            reference = self._network(number, built)
            self._running.append(self._program(subject, reference, link))
            self._references.append(reference if subject.artifact is not None else None)

    def _network(self, number: int, built: dict[tuple[str, str], Program]) -> Program | None:
        """Return the PyTorch network of a subject; None, with the reason kept, where there is none.

        Args:
            number: of the subject.
            built: networks of others; two files of one network are compared with one.
        """
        subject = self._subjects[number]
        if subject.build is None or self.unknown[number]:
            return None
        key = (codec.dumps(subject.spec.with_batch(1)), codec.dumps(subject.rule))
        if key not in built:
            self._on_step(f"{subject.name}: build its network")
            try:
                built[key] = programs.NetworkProgram(subject.spec, subject.build())
            except UsageError as error:
                asked = self._request.weights is not None or self._request.model is not None
                if subject.artifact is None or (asked and number == 0):
                    raise
                self.unknown[number] = error.message.rstrip(".")
                return None
        return built[key]

    def _program(
        self, subject: Subject, reference: Program | None, link: links.Link | None
    ) -> Program:
        if subject.artifact is None or subject.path is None:
            if reference is None:
                raise ValueError(f"{subject.name} is neither a file nor a network")
            return reference
        if link is None:
            return programs.FileProgram(subject.path, subject.artifact, self._request.threads)
        engine = engines.for_format(subject.artifact.format, links.engines_of(link.profile))
        return programs.DeviceProgram(subject.path, subject.artifact, link, engine)

    def _judge(self, numbers: range, said: _Progress, lost: int) -> EvaluationShard:
        """Feed some images, and keep what comes of it; `lost` were left out before."""
        clock = _Clock(len(self._subjects))
        at_once = max(program.at_once for program in self._running)
        images: list[JudgedImage] = []
        for start in range(numbers.start, numbers.stop, at_once):
            some = range(start, min(start + at_once, numbers.stop))
            with clock.decoding():
                read = {number: self._read(number) for number in some}
            pictures = {n: one for n, one in read.items() if isinstance(one, _Picture)}
            judged = {image.number: image for image in self._judged(pictures, clock)}
            for number, one in read.items():
                own = judged.get(number)
                images.append(own or JudgedImage(number, problem=_as_problem(one)))
            said(some.stop, lost + sum(bool(image.problem) for image in images))
        return EvaluationShard(
            of=self.shards.of,
            images=tuple(images),
            decode_ns=clock.decode_ns,
            inference_ns=tuple(clock.inference_ns),
            engines=tuple(program.engine for program in self._running),
            unknown=tuple(self.unknown),
        )

    def _read(self, number: int) -> _Picture | tuple[str, str]:
        """Read an image and its truth, or say as kind and reason why that cannot be."""
        from mvdeploy.models import preprocess
        from mvdeploy.models.feeding import pictures

        path, truth = self._data.path(number), self._data.truths[number]
        try:
            picture = pictures.read(path)
            # Most subjects of one evaluation are fed alike.
            ways = {way: _prepared(picture, *way) for way in dict.fromkeys(self._ways)}
            fed = tuple(ways[way] for way in self._ways)
            views = tuple(
                preprocess.view(picture, preprocess.sized(subject.rule, subject.spec.image_size))
                for subject in self._subjects
            )
        except UsageError as error:
            return "damaged", pictures.why(error, path)
        if isinstance(truth, str):
            mask = self._data.root / truth
            try:
                truth = pictures.numbers(mask)
            except UsageError as error:
                return "truth", f"{truth}: {pictures.why(error, mask)}"
        return _Picture(fed, views, truth)

    def _judged(self, pictures: Mapping[int, _Picture], clock: _Clock) -> Iterator[JudgedImage]:
        """Give what comes of images that could be read."""
        if not pictures:
            return
        outputs, references = [], []
        known: dict[int, list[dict[str, Array]]] = {}
        for place, program in enumerate(self._running):
            fed = [picture.fed[place] for picture in pictures.values()]
            with clock.inferring(place):
                outputs.append(program.run(fed))
            reference = self._references[place]
            if reference is not None and id(reference) not in known:
                known[id(reference)] = reference.run(fed)
            references.append(known.get(id(reference)) if reference is not None else None)
        for at, (number, picture) in enumerate(pictures.items()):
            try:
                rows = tuple(
                    self._row(place, outputs[place][at], picture)
                    for place in range(len(self._subjects))
                )
            except ValueError as error:
                yield JudgedImage(number, problem=("truth", str(error)))
                continue
            yield JudgedImage(
                number,
                rows,
                tuple(
                    self._scorers[place].alike(outputs[place][at], own[at]) if own else None
                    for place, own in enumerate(references)
                ),
                tuple(
                    self._scorers[0].alike(outputs[0][at], outputs[place][at])
                    for place in range(1, len(self._subjects))
                ),
            )

    def _row(self, place: int, outputs: Arrays, picture: _Picture) -> Any:
        """Return what is kept of outputs; None where they are no finite numbers."""
        import numpy as np

        finite = all(np.isfinite(x).all() for x in outputs.values() if x.dtype.kind == "f")
        row = self._scorers[place].judged(outputs, picture.truth, picture.views[place])
        return row if finite else None


@dataclasses.dataclass(frozen=True)
class _Picture:
    """An image that was read: what each subject is fed, what it sees of it, and its truth."""

    fed: tuple[Array, ...]
    views: tuple[tasks.View, ...]
    truth: Any


def _prepared(picture: Image.Image, inputs: tuple[TensorInfo, ...], rule: Preprocessing) -> Array:
    """Return what a network with one input is fed of a picture."""
    from mvdeploy.models import preprocess

    (fed,) = preprocess.prepared_for(picture, inputs, rule).values()
    return fed


class _Clock:
    """Adds up wall times."""

    def __init__(self, subjects: int) -> None:
        self.decode_ns = 0
        self.inference_ns = [0] * subjects

    @contextlib.contextmanager
    def decoding(self) -> Iterator[None]:
        """Count what the body takes as decoding."""
        began = time.perf_counter_ns()
        yield
        self.decode_ns += time.perf_counter_ns() - began

    @contextlib.contextmanager
    def inferring(self, place: int) -> Iterator[None]:
        """Count what the body takes as inference of a subject."""
        began = time.perf_counter_ns()
        yield
        self.inference_ns[place] += time.perf_counter_ns() - began


class _Progress:
    """Says now and then how many images are done."""

    def __init__(self, of: int, on_step: OnStep) -> None:
        self._of, self._on_step = of, on_step
        self._next = -(-of // _STEPS)
        self._said = time.monotonic()

    def __call__(self, done: int, left_out: int) -> None:
        """Say it, if that is due."""
        late = time.monotonic() - self._said > _STEP_S
        if done < self._next and not late:
            return
        self._next = done + -(-self._of // _STEPS)
        self._said = time.monotonic()
        lost = f", {left_out:,} left out" if left_out else ""
        self._on_step(f"{done:,} of {self._of:,} images{lost}")


def _as_problem(read: Any) -> tuple[str, ...]:
    if isinstance(read, _Picture):
        raise ValueError("an image that was read has not been judged")
    problem: tuple[str, ...] = read
    return problem


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
