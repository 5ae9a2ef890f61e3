"""nn.Module → Artifact: a file in an inference format, and its manifest beside it.

A format is one file in this folder with:

``SUFFIX``
    of the files it writes.
``PACKAGES``
    the distributions that make them; their versions go into the manifest.
``write(network, example, path, facts, options)``
    writes the program to `path` and returns its operators, each with the module it came from.
    `facts` are strings to store in the file where the format can hold them; it raises `UsageError`
    for `Options` that the format does not have.
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
    ModelSpec,
    ModuleInfo,
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
    """

    opset: int | None = None
    dynamic_batch: bool = False


DEFAULTS = Options()


@dataclasses.dataclass(frozen=True)
class Source:
    """What is exported, and what its manifest says of it.

    Attributes:
        spec: the network.
        network: after all passes, in eval mode.
        modules: classes and categories of the network as it was built.
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

    exporter = plugins.load(__name__, format_name, "format")
    spec = source.spec
    # A batch of one would be taken for a constant.
    batch = max(2, spec.batch) if options.dynamic_batch else spec.batch
    example = torch.zeros(batch, 3, *spec.image_size)
    facts = {"mvdeploy.version": mvdeploy.__version__, "mvdeploy.model": spec.label}
    size = DYNAMIC if options.dynamic_batch else spec.batch
    operators = exporter.write(source.network, example, path, facts, options)
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
        versions=_versions(exporter.PACKAGES),
        operators=operators,
        modules=source.modules,
        parameters=source.parameters,
        macs=source.macs,
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
