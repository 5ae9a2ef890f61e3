"""nn.Module → Artifact: a file in an inference format, and its manifest beside it.

A format is one file in this folder with:

``SUFFIX``
    of the files it writes.
``PACKAGES``
    the distributions that make them; their versions go into the manifest.
``PRECISIONS``
    what it can be written in, the usual one first.
``TAKES``
    names of the `Options` that it has, besides precision and formulation.
``write(network, example, path, facts, options)``
    writes the program to `path`, a file or a folder, and returns what was `Written`. `facts` are
    strings to store in it where the format can hold them.
``check(options)``
    raises `UsageError` for values of its options that cannot be; a format without it takes all.
``formulation(options)``
    one of `mvdeploy.passes.FORMULATIONS`: how the network is best written for the format. A format
    without it takes the network as its class is written.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import mvdeploy
from mvdeploy import files, plugins
from mvdeploy.errors import UsageError
from mvdeploy.records import (
    Artifact,
    Delegation,
    ModelSpec,
    ModuleInfo,
    Operator,
    PassReport,
    Preprocessing,
    TensorInfo,
    codec,
)

if TYPE_CHECKING:
    from torch import nn

INPUT, OUTPUT = "image", "logits"
DYNAMIC = "batch"
"""Stands in a shape where any number will do."""

PRECISIONS = ("fp32", "fp16")

_FLAGS = {
    "opset": ("--opset", "onnx"),
    "dynamic_batch": ("--batch dynamic", "onnx or pytorch"),
    "backend": ("--backend", "executorch"),
    "full_delegation": ("--require-full-delegation", "executorch"),
    "deployment_target": ("--deployment-target", "coreml"),
    "image": ("--image-input", "coreml"),
    "labels": ("--labels", "coreml"),
    "author": ("--author", "coreml"),
    "license": ("--license", "coreml"),
}
"""Options that not every format has: the flag, and the formats that have it."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen about a file beyond its format.

    Attributes:
        precision: one of `PRECISIONS`; None for the format's usual one.
        opset: version of the ONNX operator set; None for the exporter's default.
        dynamic_batch: any number of images can be fed, instead of as many as the spec says.
        formulation: one of `mvdeploy.passes.FORMULATIONS`; None for the one that suits the format.
        backend: what the program is lowered to; None for the format's default.
        full_delegation: it is an error if one delegate does not hold the whole program.
        deployment_target: oldest system that the program is made for, such as ``iOS17``; None for
            the format's default.
        image: how photographs are fed, for a program that takes images; None for one that takes a
            tensor.
        labels: names of the classes, for a program that returns them.
        author: of the network, to be stored in the file.
        license: of the network, to be stored in the file.
    """

    precision: str | None = None
    opset: int | None = None
    dynamic_batch: bool = False
    formulation: str | None = None
    backend: str | None = None
    full_delegation: bool = False
    deployment_target: str | None = None
    image: Preprocessing | None = None
    labels: tuple[str, ...] = ()
    author: str = ""
    license: str = ""


DEFAULTS = Options()


@dataclasses.dataclass(frozen=True)
class Written:
    """What a format says of the file that it wrote.

    Attributes:
        operators: of the program, each with the module it came from.
        backend: what it was lowered to; empty for formats without a choice.
        runs_on: what it takes to run it; empty where an engine of the format is enough.
        delegation: how much of it runs in delegates; None for formats without them.
        packages: distributions that made it, besides those of the format.
        inputs: in order; None for the image as a tensor.
        outputs: in order; None for the logits.
    """

    operators: tuple[Operator, ...]
    backend: str = ""
    runs_on: str = ""
    delegation: Delegation | None = None
    packages: tuple[str, ...] = ()
    inputs: tuple[TensorInfo, ...] | None = None
    outputs: tuple[TensorInfo, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """What is exported, and what its manifest says of it.

    Attributes:
        spec: the network.
        network: after all passes, in eval mode.
        modules: classes and categories of the network as it was built, and of those modules that
            the passes added.
        parameters: of the network as it was built.
        passes: what was done to it.
        preprocessing: how it is fed.
        macs: of one inference of the network as it was built; None when an operator of it has no
            counting rule.
    """

    spec: ModelSpec
    network: nn.Module
    modules: dict[str, ModuleInfo]
    parameters: int
    passes: tuple[PassReport, ...]
    preprocessing: Preprocessing
    macs: int | None = None


def names() -> tuple[str, ...]:
    """Return the names of all formats."""
    return plugins.names(__name__)


def check(format_name: str, precision: str | None = None) -> None:
    """Refuse a format or precision that does not exist, without importing any.

    Raises:
        UsageError: there is no such format or precision.
    """
    if format_name not in names():
        raise plugins.unknown("format", format_name, names())
    if precision is not None and precision not in PRECISIONS:
        raise plugins.unknown("precision", precision, PRECISIONS)


def check_options(format_name: str, options: Options) -> None:
    """Refuse options that a format does not have. It is imported, and its exporter with it.

    Raises:
        UsageError: names the option.
    """
    exporter = plugins.load(__name__, format_name, "format")
    for name, (flag, having) in _FLAGS.items():
        if getattr(options, name) != getattr(DEFAULTS, name) and name not in exporter.TAKES:
            raise UsageError(
                f"The format {format_name} has no {flag}.",
                f"Leave it out, or use --format {having}.",
            )
    if precision(format_name, options) not in exporter.PRECISIONS:
        raise UsageError(
            f"The format {format_name} is not written in {options.precision}.",
            f"Give --precision {' or '.join(exporter.PRECISIONS)}.",
        )
    if hasattr(exporter, "check"):
        exporter.check(options)


def precision(format_name: str, options: Options) -> str:
    """Return what a format is written in: as is asked for, or as is usual."""
    usual: str = plugins.load(__name__, format_name, "format").PRECISIONS[0]
    return options.precision or usual


def formulation(format_name: str, options: Options) -> str | None:
    """Return how the network is to be written: as is asked for, or as suits the format best.

    Returns:
        One of `mvdeploy.passes.FORMULATIONS`; None if the format takes the network as it is.
    """
    if options.formulation is not None:
        return options.formulation
    best = getattr(plugins.load(__name__, format_name, "format"), "formulation", None)
    found: str | None = best(options) if best is not None else None
    return found


def suffix(format_name: str) -> str:
    """Return the file name ending of a format, with its dot."""
    ending: str = plugins.load(__name__, format_name, "format").SUFFIX
    return ending


def manifest_path(artifact: Path) -> Path:
    """Return where the manifest of an artifact lies: ``model.onnx`` → ``model.onnx.json``."""
    return artifact.with_name(artifact.name + ".json")


def write(source: Source, format_name: str, path: Path, options: Options | None = None) -> Artifact:
    """Export a network to `path` and its manifest beside it.

    Neither is checked yet: write to a place of your own, verify, then move both.

    Raises:
        UsageError: there is no such format, or it does not have these options.
    """
    import torch

    options = options or DEFAULTS
    check_options(format_name, options)
    exporter = plugins.load(__name__, format_name, "format")
    spec = source.spec
    # A batch of one would be taken for a constant.
    batch = max(2, spec.batch) if options.dynamic_batch else spec.batch
    example = torch.zeros(batch, 3, *spec.image_size)
    facts = {
        "mvdeploy.version": mvdeploy.__version__,
        "mvdeploy.model": spec.label,
        "mvdeploy.weights": _weights(spec),
        "mvdeploy.passes": ", ".join(report.name for report in source.passes),
    }
    size = DYNAMIC if options.dynamic_batch else spec.batch
    written: Written = exporter.write(source.network, example, path, facts, options)
    artifact = Artifact(
        path=path.name,
        sha256=files.sha256(path),
        size_bytes=files.size(path),
        format=format_name,
        precision=precision(format_name, options),
        spec=spec,
        passes=source.passes,
        inputs=written.inputs or (TensorInfo(INPUT, (size, 3, *spec.image_size), "float32"),),
        outputs=written.outputs or (TensorInfo(OUTPUT, (size, spec.num_classes), "float32"),),
        preprocessing=source.preprocessing,
        versions=_versions(exporter.PACKAGES + written.packages),
        operators=written.operators,
        modules=source.modules,
        parameters=source.parameters,
        macs=source.macs,
        backend=written.backend,
        runs_on=written.runs_on,
        delegation=written.delegation,
    )
    save_manifest(artifact, path)
    return artifact


def _weights(spec: ModelSpec) -> str:
    if spec.weights is not None:
        return spec.weights.sha256
    return "its own" if spec.seed is None else f"seed {spec.seed}"


def save_manifest(artifact: Artifact, path: Path) -> None:
    """Write the manifest beside the artifact at `path`."""
    codec.save(artifact, manifest_path(path))


def read(path: Path) -> Artifact:
    """Read the manifest of an artifact and check that it belongs to the file.

    Raises:
        UsageError: the artifact or its manifest is missing, or the file has another sha256.
    """
    if not path.exists():
        raise UsageError(f"There is no file {path}.", "Check the path, or export the model first.")
    manifest = manifest_path(path)
    if not manifest.is_file():
        raise UsageError(
            f"{path} has no manifest ({manifest.name}), so nothing is known of its layers.",
            "Use a file that 'mvdeploy export' wrote, together with its .json.",
        )
    artifact = codec.load(Artifact, manifest)
    if files.sha256(path) != artifact.sha256:
        raise UsageError(
            f"{path} is not the file that {manifest.name} describes (its sha256 differs).",
            "Export the model again.",
        )
    return artifact


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "mvdeploy": mvdeploy.__version__,
        "python": platform.python_version(),
        **versions,
    }
