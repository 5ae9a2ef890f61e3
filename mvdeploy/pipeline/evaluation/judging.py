"""Feeds images to everything that is evaluated, and keeps what comes of each."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mvdeploy import engines, links, tasks
from mvdeploy.datasets import Data
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import connect
from mvdeploy.pipeline.evaluation import NOT_ASKED, Request, programs
from mvdeploy.pipeline.evaluation.programs import Program, Subject
from mvdeploy.records import Preprocessing, TensorInfo, codec
from mvdeploy.records.evaluation import EvaluationShard, JudgedImage

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    Array = npt.NDArray[Any]
    Arrays = Mapping[str, Array]
    _Outputs = list[dict[str, Array]]

_Problem = tuple[str, str]
"""Why an image does not count: the kind, and the reason."""


class Judge:
    """Runs everything on images, here or on a device.

    Args:
        request: what is asked for.
        subjects: what is fed.
        data: the chosen images.
        scorers: of the subjects.
        on_step: is told what is begun.

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
        on_step: Callable[[str], None],
    ) -> None:
        self._request, self._subjects, self._data = request, subjects, data
        self._scorers, self._on_step = scorers, on_step
        self.unknown = [self._why_unknown(subject) for subject in subjects]
        self._ways = [(one.spec.with_batch(1).inputs, one.rule) for one in subjects]
        self._running: list[Program] = []
        self._references: list[Program | None] = []

    def _why_unknown(self, subject: Subject) -> str:
        if subject.artifact is None:
            return ""
        return subject.unknown if self._request.with_pytorch else NOT_ASKED

    def start(self, stack: contextlib.ExitStack) -> None:
        """Make everything ready to be fed, once."""
        if self._running:
            return
        import torch

        torch.set_num_threads(self._request.threads)
        link = None
        if self._request.device.link != "host":
            link = links.get(self._request.device, self._request.link_options)
            available = links.engines_of(self._request.device)
            needs = [
                engines.for_format(subject.artifact.format, available)
                for subject in self._subjects
                if subject.artifact is not None
            ]
            stack.enter_context(connect.opened(link, self._on_step, needs))
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

    def judge(
        self, numbers: range, of: str, on_images: Callable[[int, int], None]
    ) -> EvaluationShard:
        """Feed some images, and keep what comes of it.

        Args:
            numbers: of the images.
            of: what the conditions are known by.
            on_images: is told how many are done and, of these numbers, left out.
        """
        clock = _Clock(len(self._subjects))
        at_once = max(program.at_once for program in self._running)
        images: list[JudgedImage] = []
        for start in range(numbers.start, numbers.stop, at_once):
            some = range(start, min(start + at_once, numbers.stop))
            with clock.decoding():
                read = {number: self._read(number) for number in some}
            images += self._judged(read, clock)
            on_images(some.stop, sum(bool(image.problem) for image in images))
        return EvaluationShard(
            of=of,
            images=tuple(images),
            decode_ns=clock.decode_ns,
            inference_ns=tuple(clock.inference_ns),
            engines=tuple(program.engine for program in self._running),
            unknown=tuple(self.unknown),
        )

    def _read(self, number: int) -> _Picture | _Problem:
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

    def _judged(
        self, read: Mapping[int, _Picture | _Problem], clock: _Clock
    ) -> Iterator[JudgedImage]:
        """Give what comes of images, by number, in their order."""
        pictures = {number: one for number, one in read.items() if isinstance(one, _Picture)}
        outputs, references = self._run(pictures, clock)
        places = {number: at for at, number in enumerate(pictures)}
        for number, one in read.items():
            if not isinstance(one, _Picture):
                yield JudgedImage(number, problem=one)
                continue
            at = places[number]
            made = [of_one[at] for of_one in outputs]
            try:
                rows = tuple(self._row(place, own, one) for place, own in enumerate(made))
            except ValueError as error:
                yield JudgedImage(number, problem=("truth", str(error)))
                continue
            alike = [self._scorers[0].alike(made[0], other) for other in made[1:]]
            right = [
                scorer.alike(made[place], known[at]) if known else None
                for place, (scorer, known) in enumerate(zip(self._scorers, references, strict=True))
            ]
            yield JudgedImage(number, rows, tuple(right), tuple(alike))

    def _run(
        self, pictures: Mapping[int, _Picture], clock: _Clock
    ) -> tuple[list[_Outputs], list[_Outputs | None]]:
        """Return the outputs of everything, and those of its PyTorch network, where it has one."""
        outputs: list[_Outputs] = []
        references: list[_Outputs | None] = []
        known: dict[int, _Outputs] = {}
        for place, program in enumerate(self._running):
            fed = [picture.fed[place] for picture in pictures.values()]
            with clock.inferring(place):
                outputs.append(program.run(fed) if fed else [])
            reference = self._references[place]
            if reference is not None and id(reference) not in known:
                known[id(reference)] = reference.run(fed) if fed else []
            references.append(None if reference is None else known[id(reference)])
        return outputs, references

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
