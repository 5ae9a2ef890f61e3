"""nn.Module → Artifact: a file in an inference format, and its manifest beside it.

A format is one file in this folder with:

``SUFFIX``
    of the files it writes.
``PACKAGES``
    the distributions that make them; their versions go into the manifest.
``write(network, example, path, facts, options)``
    writes the program to `path` and returns what was `Written`. `facts` are strings to store in the
    file where the format can hold them.
``check(options)``
    raises `UsageError` for `Options` that the format does not have.
``formulation(options)``
    one of `mvdeploy.passes.FORMULATIONS`: how the network is best written for the format. A format
    without it takes the network as its class is written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import mvdeploy
from mvdeploy import plugins
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

PRECISIONS = ("fp32",)


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen about a file beyond its format.

    Attributes:
        opset: version of the ONNX operator set; None for the exporter's default.
        dynamic_batch: any number of images can be fed, instead of as many as the spec says.
        formulation: one of `mvdeploy.passes.FORMULATIONS`; None for the one that suits the format.
        backend: what the program is lowered to; None for the format's default.
        full_delegation: it is an error if one delegate does not hold the whole program.
    """

    opset: int | None = None
    dynamic_batch: bool = False
    formulation: str | None = None
    backend: str | None = None
    full_delegation: bool = False


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
    """

    operators: tuple[Operator, ...]
    backend: str = ""
    runs_on: str = ""
    delegation: Delegation | None = None
    packages: tuple[str, ...] = ()


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


def check(format_name: str, precision: str = "fp32") -> None:
    """Refuse a format or precision that does not exist, without importing any.

    Raises:
        UsageError: there is no such format or precision.
    """
    if format_name not in names():
        raise plugins.unknown("format", format_name, names())
    if precision not in PRECISIONS:
        raise plugins.unknown("precision", precision, PRECISIONS)


def check_options(format_name: str, options: Options) -> None:
    """Refuse options that a format does not have. It is imported, and its exporter with it.

    Raises:
        UsageError: names the option.
    """
    exporter = plugins.load(__name__, format_name, "format")
    if not hasattr(exporter, "BACKEND"):
        if options.backend is not None:
            raise UsageError(
                f"The format {format_name} has no backends to choose from.",
                "Leave --backend out, or use --format executorch.",
            )
        if options.full_delegation:
            raise UsageError(
                f"Programs in the format {format_name} have no delegates.",
                "Leave --require-full-delegation out, or use --format executorch.",
            )
    exporter.check(options)


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
    facts = {"mvdeploy.version": mvdeploy.__version__, "mvdeploy.model": spec.label}
    size = DYNAMIC if options.dynamic_batch else spec.batch
    written: Written = exporter.write(source.network, example, path, facts, options)
    artifact = Artifact(
        path=path.name,
        sha256=file_sha256(path),
        size_bytes=path.stat().st_size,
        format=format_name,
        precision="fp32",
        spec=spec,
        passes=source.passes,
        inputs=(TensorInfo(INPUT, (size, 3, *spec.image_size), "float32"),),
        outputs=(TensorInfo(OUTPUT, (size, spec.num_classes), "float32"),),
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
    codec.save(artifact, manifest_path(path))
    return artifact


def read(path: Path) -> Artifact:
    """Read the manifest of an artifact and check that it belongs to the file.

    Raises:
        UsageError: the artifact or its manifest is missing, or the file has another sha256.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", "Check the path, or export the model first.")
    manifest = manifest_path(path)
    if not manifest.is_file():
        raise UsageError(
            f"{path} has no manifest ({manifest.name}), so nothing is known of its layers.",
            "Use a file that 'mvdeploy export' wrote, together with its .json.",
        )
    artifact = codec.load(Artifact, manifest)
    if file_sha256(path) != artifact.sha256:
        raise UsageError(
            f"{path} is not the file that {manifest.name} describes (its sha256 differs).",
            "Export the model again.",
        )
    return artifact


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "mvdeploy": mvdeploy.__version__,
        "python": platform.python_version(),
        **versions,
    }
