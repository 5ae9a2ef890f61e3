"""Exported files, with a manifest or without one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import formats, models, tasks
from mvdeploy.errors import MvdeployError, UsageError, reason
from mvdeploy.models import feeding
from mvdeploy.pipeline import origin, trial
from mvdeploy.records import Artifact, FileInputs, Finding, Level, ModelSpec, codec
from mvdeploy.records.tensor import ANY_SHAPE

if TYPE_CHECKING:
    from torch import nn

_FIT = 0.5
"""Share of the modules that a file names which a network must have, to be taken for its own."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """A file to measure.

    Attributes:
        path: of the file; of a program that takes images, its twin's.
        artifact: its manifest, or what it says of itself.
        findings: what is to be known of it.
    """

    path: Path
    artifact: Artifact
    findings: tuple[Finding, ...] = ()


def measurable(
    path: Path, said: FileInputs | None = None, network: ModelSpec | None = None
) -> Opened:
    """Return the file to measure and what is known of it: of a program with images, its twin.

    Args:
        path: an exported file. Its manifest need not be there.
        said: what is said of its inputs.
        network: which one it is, for a file without a manifest.

    Raises:
        UsageError: see `opened`; or it cannot run here, or its twin is not beside it.
    """
    found = opened(path, said, network)
    demand_runnable(path, found.artifact)
    if not found.artifact.twin:
        return found
    twin = path.with_name(found.artifact.twin)
    if not twin.exists():
        raise UsageError(
            f"{path} takes images; what is measured is {twin}, and that is not there.",
            "Keep the two together, or export the model again with --image-input.",
        )
    return measurable(twin, said, network)


def load_runnable(path: Path) -> Artifact:
    """Read the manifest of a file that an engine of ours can run.

    Raises:
        UsageError: see `mvdeploy.formats.read`; or the file was lowered to a backend that only runs
            elsewhere.
        EngineError: it ends the process that runs it.
    """
    artifact = formats.read(path)
    if not artifact.spec.model:
        raise UsageError(
            f"The manifest of {path} does not say which network it came from.",
            "Say what to compare with: 'mvdeploy verify FILE --against OTHER'.",
        )
    demand_runnable(path, artifact)
    trial.demand_survived(path, artifact)
    return artifact


def opened(path: Path, said: FileInputs | None = None, network: ModelSpec | None = None) -> Opened:
    """Return a file with its manifest, or with what it says of itself where it has none.

    A manifest that describes another file, as after a change of the file in place, is left aside.

    Raises:
        UsageError: there is no such file, it is damaged or of no kind that is read, its manifest is
            damaged, or what is said of its inputs does not fit.
    """
    findings: tuple[Finding, ...] = ()
    if path.exists() and formats.has_manifest(path):
        artifact = formats.manifest(path)
        if formats.belongs(artifact, path):
            artifact = formats.with_inputs(artifact, said, path) if said else artifact
            return Opened(path, _known(artifact, network))
        values: dict[str, str | int | float] = {"file": path.name}
        findings = (Finding("manifest_of_another_file", Level.WARNING, values),)
    try:
        artifact = counted(formats.read_file(path, said), path)
    except UsageError as error:
        if not findings:
            raise
        raise UsageError(
            f"{path} is not the file that its manifest describes (its sha256 differs), and cannot "
            f"be taken by itself: {error.message}",
            "Export the model again.",
        ) from error
    if said is not None:
        steps = feeding.changed(artifact.preprocessing, said.images)
        artifact = dataclasses.replace(artifact, preprocessing=steps)
    return Opened(path, _known(artifact, network), findings)


def _known(artifact: Artifact, network: ModelSpec | None) -> Artifact:
    """Return what is known of a file of others together with its network, if that is said."""
    return of_network(artifact, network) if network and artifact.read_from else artifact


def demand_inputs(said: FileInputs | None, files: Sequence[Opened]) -> None:
    """Refuse what is said of an input that none of some files has.

    Raises:
        UsageError: names it.
    """
    known = dict.fromkeys(tensor.name for file in files for tensor in file.artifact.inputs)
    given = (("--shape", said.shapes), ("--values", said.values)) if said else ()
    for flag, names in given:
        unknown = next((name for name in names if name not in known), None)
        if unknown is not None:
            if not files:
                raise UsageError(f"{flag} is for files, and none is given.", "Leave it out.")
            listed = " and ".join(file.path.name for file in files)
            raise UsageError(
                f"{listed} has no input '{unknown}' (its inputs: {', '.join(known) or 'none'}).",
                f"Name one of them after {flag}.",
            )


def counted(artifact: Artifact, path: Path) -> Artifact:
    """Return what is known of a file with its multiply-accumulates, where PyTorch can run it."""
    network_of = getattr(formats.get(artifact.format), "network_of", None)
    if network_of is None:
        return artifact
    import torch

    from mvdeploy.models import macs
    from mvdeploy.verify import images, inputs

    feed = images.fed(artifact, inputs.seeded(artifact.spec.inputs))
    network = network_of(path)
    try:
        forward = macs.observe(network, *map(torch.from_numpy, feed.values()))
    except (MvdeployError, MemoryError):
        raise
    except Exception as error:
        if "DefaultCPUAllocator" in str(error):  # so torch says that there is no memory
            raise
        raise UsageError(
            f"{path} cannot be run by PyTorch ({reason(error)}).",
            "If it is whole, export it again by the version of torch that is installed here.",
        ) from error
    return dataclasses.replace(artifact, macs=forward.total, uncounted=forward.uncounted)


def demand_runnable(path: Path, artifact: Artifact) -> None:
    """Refuse a file that no engine of this machine can run.

    Raises:
        UsageError: says what it takes.
    """
    if not artifact.runs_on:
        return
    if artifact.backend:
        raise UsageError(
            f"{path} was lowered to the backend {artifact.backend}: it needs {artifact.runs_on}, "
            "and cannot run here.",
            f"Load it in an app there, or export again without --backend {artifact.backend}.",
        )
    raise UsageError(
        f"{path} needs {artifact.runs_on}, and cannot run here.",
        "Run it in an app that has it, or export the model without these operators.",
    )


def of_network(artifact: Artifact, network: ModelSpec) -> Artifact:
    """Return what is known of a file together with the network that it came from.

    Its modules have their categories where the names of its operators fit the network's.

    Args:
        artifact: of a file.
        network: which one; its size and batch are those of the file's inputs.

    Raises:
        UsageError: the network cannot be built, or takes or gives something else than the file.
    """
    spec = dataclasses.replace(
        network, image_size=artifact.spec.image_size, batch=artifact.spec.batch
    )
    _demand_shapes(artifact, spec)
    built = models.build(spec)
    _demand_outputs(artifact, spec, built)
    table = models.module_table(built)
    fitting = sum(module in table for module in artifact.modules)
    fits = fitting > _FIT * len(artifact.modules)
    modules = {**artifact.modules, **table} if fits else artifact.modules
    return dataclasses.replace(
        artifact,
        spec=spec,
        preprocessing=models.preprocessing(spec),
        operators=formats.placed(artifact.operators, modules),
        modules=modules,
        parameters=models.parameter_count(built),
        categories=formats.categories(table) if fits else {},
        weights_fingerprint=models.fingerprint(built),
    )


def _demand_shapes(artifact: Artifact, spec: ModelSpec) -> None:
    """Refuse a network that takes something else than a file.

    Raises:
        UsageError: names both.
    """
    taken, given = ([x.shape for x in s.inputs] for s in (spec, artifact.spec))
    if taken != given:
        raise UsageError(
            f"{artifact.path} takes inputs of the shapes {_listed(given)}, and {spec.label} takes "
            f"{_listed(taken)}.",
            "Give the network that the file came from after --model, or leave it out.",
        )


def _demand_outputs(artifact: Artifact, spec: ModelSpec, network: nn.Module) -> None:
    """Refuse a network that returns something else than a file.

    Raises:
        UsageError: names both.
    """
    import torch

    from mvdeploy.verify import inputs

    task = tasks.get(spec.task)
    with torch.inference_mode():
        feed = inputs.seeded(spec.inputs)
        own = task.named(network(*map(torch.from_numpy, feed.values())))
    numbers = [output for output in artifact.outputs if output.dtype != "string"]
    either = own if len(own) == len(numbers) else own | tasks.postprocess(task, own, spec)
    returned = [tuple(tensor.shape) for tensor in own.values()]
    if len(own) == len(numbers):
        fits = all(map(_may_be, returned, (output.shape for output in numbers)))
    else:
        fits = {output.name for output in numbers} <= either.keys()
    if not fits:
        raise UsageError(
            f"{artifact.path} returns outputs of the shapes "
            f"{_listed([output.shape for output in numbers])}, and {spec.label} returns "
            f"{_listed(returned)}.",
            "Give the network that the file came from, or leave it out.",
        )


def _may_be(shape: tuple[int, ...], told: tuple[int | str, ...]) -> bool:
    """Say whether an output may have a shape by what a file tells of it."""
    return told == ANY_SHAPE or (
        len(shape) == len(told)
        and all(isinstance(n, str) or n == m for m, n in zip(shape, told, strict=True))
    )


def _listed(shapes: Sequence[tuple[int | str, ...]]) -> str:
    return " and ".join("×".join(map(str, shape)) for shape in shapes) or "none"


def save_manifests(files: Iterable[tuple[Path, Artifact]]) -> tuple[Path, ...]:
    """Write a manifest beside each file that has none, and return where they are.

    Raises:
        UsageError: something else lies there, or the place cannot be written to.
    """
    written = []
    for path, artifact in files:
        if not artifact.read_from:
            continue
        manifest = formats.manifest_path(path)
        if manifest.exists() and not _is_of(manifest, path):
            raise UsageError(
                f"{manifest} is there, and is no manifest of {path.name}.",
                "Remove it, or leave out --save-manifest.",
            )
        if artifact.spec.model:
            places = origin.sources(artifact.spec, path)
            code = origin.code_sha256(artifact.spec)
            artifact = dataclasses.replace(artifact, sources=places, code_sha256=code)
        remedy = "Leave out --save-manifest, or move the file to a place that can be written to."
        formats.save_manifest(artifact, path, remedy)
        written.append(manifest)
    return tuple(written)


def _is_of(manifest: Path, path: Path) -> bool:
    try:
        return formats.belongs(codec.load(Artifact, manifest), path)
    except UsageError:
        return False
