"""What is evaluated: networks and exported files that are fed many images, here or on a device."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mvdeploy import formats, links, models, tasks
from mvdeploy.engines import SessionRequest
from mvdeploy.errors import EngineError, UsageError
from mvdeploy.files import writing
from mvdeploy.pipeline import origin, prepare
from mvdeploy.pipeline.files import Opened
from mvdeploy.records import Artifact, Finding, Job, JobModel, ModelSpec, Preprocessing, Warmup

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

    from mvdeploy.links import Link

    Array = npt.NDArray[Any]
    Arrays = Mapping[str, Array]

_LIMIT_S = 1200.0
"""Seconds after which a runner with one job counts as hung."""

_AT_ONCE = 16
"""Images in one job of a runner at most: each is a session of its own there."""

_MEMORY = 256_000_000
"""Bytes of files that the sessions of one job may load together."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network or an exported file, and what is known of it.

    Attributes:
        name: in tables.
        spec: the network; of a file of others, with the task that it is said to be for.
        rule: how its images are fed.
        path: of the file; None for a network.
        artifact: its manifest, or what it says of itself; None for a network.
        findings: what is to be known of it.
        build: builds the network; None where that is not known.
        unknown: why not, as a clause.
    """

    name: str
    spec: ModelSpec
    rule: Preprocessing
    path: Path | None = None
    artifact: Artifact | None = None
    findings: tuple[Finding, ...] = ()
    build: Callable[[], nn.Module] | None = None
    unknown: str = ""


def of_network(spec: ModelSpec) -> Subject:
    """Return a network as a subject."""
    return Subject(
        spec.label, spec, models.preprocessing(spec), build=functools.partial(models.build, spec)
    )


def of_file(
    file: Opened,
    task: str | None,
    weights: Path | None = None,
    model: str | None = None,
    *,
    demanded: bool = True,
) -> Subject:
    """Return an exported file as a subject.

    Args:
        file: open.
        task: what it is for, where its network is not known; None where that is not said.
        weights: where its checkpoint is now.
        model: what builds its network now.
        demanded: both are said of this file; otherwise maybe of another one.

    Raises:
        UsageError: its checkpoint is not where it is said to be.
    """
    artifact, spec = file.artifact, file.artifact.spec
    build: Callable[[], nn.Module] | None = None
    unknown = ""
    if not spec.model:
        unknown = "the file does not say which network it came from"
        if task is not None:
            spec = dataclasses.replace(spec, task=task, num_classes=_classes(artifact, task))
    elif artifact.read_from:  # the network is said
        build = functools.partial(models.build, spec)
    else:
        own = weights if spec.weights is not None else None
        build, unknown = _network_of(artifact, file.path, own, model, demanded)
    return Subject(
        file.path.name,
        spec,
        artifact.preprocessing,
        file.path,
        artifact,
        file.findings,
        build,
        unknown,
    )


def _network_of(
    artifact: Artifact, path: Path, weights: Path | None, model: str | None, demanded: bool
) -> tuple[Callable[[], nn.Module] | None, str]:
    """Return what builds the network of a manifest; or why nothing does, as a clause."""
    try:
        spec = origin.spec_of(artifact, path, weights, model)
    except UsageError as error:
        if demanded and (weights is not None or model is not None):
            raise
        return None, error.message.rstrip(".")
    return functools.partial(origin.network, artifact, spec), ""


def _classes(artifact: Artifact, task: str) -> int:
    """Return how many classes a file of others tells apart, by the shape of its outputs."""
    shapes = {out.name: out.shape for out in artifact.outputs if out.dtype != "string"}
    default: int = getattr(tasks.get(task), "NUM_CLASSES", 0)
    axis = 1 if task == "segment" else -1
    named = [shape for name, shape in shapes.items() if name == "scores"] if len(shapes) > 1 else []
    for shape in named or list(shapes.values()):
        if len(shape) > 1 and isinstance(shape[axis], int):
            return int(shape[axis])
    return default


def fed_alike(subject: Subject, known: Subject) -> Subject:
    """Return a file whose network is not known, with what is known of another that takes the same.

    Its task, its classes and how its images are fed are those of the other.
    """
    if subject.spec.inputs != known.spec.inputs:
        return subject
    spec = dataclasses.replace(
        subject.spec, task=known.spec.task, num_classes=known.spec.num_classes
    )
    return dataclasses.replace(subject, spec=spec, rule=known.rule)


def demand_one_image(subject: Subject) -> None:
    """Refuse what takes something else than one image.

    Raises:
        UsageError: names its inputs.
    """
    inputs = subject.spec.inputs
    if len(inputs) != 1 or not inputs[0].is_image:
        listed = ", ".join(tensor.name for tensor in inputs)
        raise UsageError(
            f"{subject.name} takes {listed or 'nothing'}; what is evaluated takes one image.",
            "Compare its numbers with 'mvdeploy verify' instead.",
        )


class Program(Protocol):
    """Something that is ready to be fed.

    Attributes:
        engine: what runs it, with its version.
        device: where, by its title; empty for this machine.
        at_once: images that it is given at once at best.
    """

    engine: str
    device: str
    at_once: int

    def run(self, pictures: Sequence[Array]) -> list[dict[str, Array]]:
        """Return the outputs by name of each picture, (1, channels, height, width), in order."""


class NetworkProgram:
    """A network in PyTorch; see `Program`."""

    device = ""

    def __init__(self, spec: ModelSpec, network: nn.Module) -> None:
        import torch

        self.engine = f"PyTorch {torch.__version__}"
        self.at_once = 1
        self._task, self._network = tasks.get(spec.task), network

    def run(self, pictures: Sequence[Array]) -> list[dict[str, Array]]:
        """Return the outputs of each picture."""
        import torch

        found = []
        with torch.inference_mode():
            for picture in pictures:
                named = self._task.named(self._network(torch.from_numpy(picture)))
                found.append({name: tensor.numpy() for name, tensor in named.items()})
        return found


class FileProgram:
    """An exported file on this machine, by what verifies its format; see `Program`."""

    device = ""

    def __init__(self, path: Path, artifact: Artifact, threads: int) -> None:
        from mvdeploy.verify import verifiers

        self._path, self._artifact, self._threads = path, artifact, threads
        self._name = formats.verifier(artifact.format, artifact.precision)
        self._engine = verifiers.get(self._name)
        self._options = verifiers.options(self._name, artifact.precision)
        self.engine = verifiers.title(self._name)
        self.at_once = artifact.spec.batch
        self._session: Any = None

    def run(self, pictures: Sequence[Array]) -> list[dict[str, Array]]:
        """Return the outputs of each picture."""
        from mvdeploy.verify import running

        found: list[dict[str, Array]] = []
        for several, feed in _batches(pictures, self._artifact):
            with running.engine_errors(self._name, self._artifact):
                self._feed(feed)
                self._session.infer()
                outputs = self._session.outputs()
            named = running.numeric(self._artifact, outputs)
            found += _apart(named, several, self._artifact.spec.batch)
        return found

    def _feed(self, feed: Arrays) -> None:
        if self._session is not None:
            self._session.feed(feed)
            return
        names = tuple(output.name for output in self._artifact.outputs)
        request = SessionRequest(
            self._path, feed, self._threads, outputs=names, options=self._options
        )
        self._session = self._engine.open_session(request)


class DeviceProgram:
    """An exported file on a device, by its runner; see `Program`.

    A runner feeds a model one input, so each picture has a session of its own in it. What was sent
    is removed after each job.

    Args:
        path: of the file.
        artifact: its manifest.
        link: open.
        engine: that runs it there.
    """

    def __init__(self, path: Path, artifact: Artifact, link: Link, engine: str) -> None:
        self._artifact, self._link, self._name = artifact, link, engine
        self.engine, self.device = engine, link.profile.title
        fitting = _MEMORY // max(artifact.size_bytes, 1)
        self.at_once = max(1, min(_AT_ONCE, fitting)) * artifact.spec.batch
        with writing.temporary() as folder:
            sent, self._sha256 = prepare.sendable(path, artifact, link, folder / f"w{path.suffix}")
            self._place = link.upload((sent,))[sent]

    def run(self, pictures: Sequence[Array]) -> list[dict[str, Array]]:
        """Return the outputs of each picture."""
        found: list[dict[str, Array]] = []
        for number in range(0, len(pictures), self.at_once):
            found += self._job(pictures[number : number + self.at_once])
        return found

    def _job(self, pictures: Sequence[Array]) -> list[dict[str, Array]]:
        """Have one job done, in which each batch of pictures has a model."""
        from mvdeploy.verify import running

        artifact, link = self._artifact, self._link
        counts, feeds = zip(*_batches(pictures, artifact), strict=True)
        with writing.temporary() as folder:
            files = [_written(feed, folder / str(n)) for n, feed in enumerate(feeds)]
            places = link.upload([path for own in files for path in own.values()])
            jobs = tuple(
                JobModel(
                    self._name,
                    self._place,
                    self._sha256,
                    {name: places[path] for name, path in own.items()},
                    outputs=tuple(output.name for output in artifact.outputs),
                    outputs_to=f"{link.scratch()}/outputs-{number}",
                )
                for number, own in enumerate(files)
            )
            job = Job(jobs, (), link.profile.threads, Warmup(iterations=0))
            result = link.run(job, _LIMIT_S)
            link.discard(list(dict.fromkeys(places.values())))
            version = result.hello.get("engines", {}).get(self._name, "")
            self.engine = f"{self._name} {version}".strip()
            found: list[dict[str, Array]] = []
            for several, ran in zip(counts, result.models, strict=True):
                outputs = self._fetched(ran.output_files, folder)
                named = running.numeric(artifact, outputs)
                found += _apart(named, several, artifact.spec.batch)
        return found

    def _fetched(self, files: Mapping[str, str], folder: Path) -> dict[str, Array]:
        if not files:
            raise EngineError(
                f"The runner on {self.device} left no outputs.",
                links.mend(self._link.profile),
            )
        outputs = {}
        for number, (name, remote) in enumerate(sorted(files.items())):
            local = folder / f"output-{number}.npy"
            self._link.fetch(remote, local)
            outputs[name] = loaded(local, name)
        return outputs


def loaded(file: Path, name: str) -> Array:
    """Return a tensor that came from a device.

    Raises:
        EngineError: its file is damaged.
    """
    import numpy as np

    try:
        array: Array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise EngineError(
            f"The output '{name}' came back damaged ({error}).",
            "Try again; if it stays so, see with 'mvdeploy devices doctor DEVICE' what is wrong.",
        ) from error
    return array


def _written(feed: Arrays, folder: Path) -> dict[str, Path]:
    import numpy as np

    folder.mkdir()
    files = {name: folder / f"{number}.npy" for number, name in enumerate(feed)}
    for name, array in feed.items():
        np.save(files[name], array)
    return files


def _batches(pictures: Sequence[Array], artifact: Artifact) -> Iterator[tuple[int, Arrays]]:
    """Give how many pictures are in each batch, and what the program is fed for it.

    The last is filled up with its last picture.
    """
    import numpy as np

    from mvdeploy.verify import images

    size = artifact.spec.batch
    (name,) = (tensor.name for tensor in artifact.spec.inputs)
    for start in range(0, len(pictures), size):
        own = pictures[start : start + size]
        filled = itertools.islice(itertools.chain(own, itertools.repeat(own[-1])), size)
        batch = np.concatenate(list(filled)) if size > 1 else own[0]
        yield len(own), images.fed(artifact, {name: batch})


def _apart(outputs: Arrays, count: int, size: int) -> list[dict[str, Array]]:
    """Return the outputs of each picture of a batch; copies, as engines write over theirs."""
    if size == 1:
        return [{name: array.copy() for name, array in outputs.items()}]
    return [
        {name: array[n : n + 1].copy() for name, array in outputs.items()} for n in range(count)
    ]
