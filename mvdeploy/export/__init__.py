"""nn.Module → Artifact: a file in an inference format, and its manifest beside it.

A format is one file in this folder with:

``SUFFIX``
    of the files it writes.
``PACKAGES``
    the distributions that make them; their versions go into the manifest.
``write(network, example, path, facts)``
    writes the program to `path` and returns its operators, each with the module it came from.
    `facts` are strings to store in the file where the format can hold them.
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
PRECISIONS = ("fp32",)


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
    """

    spec: ModelSpec
    network: nn.Module
    modules: dict[str, ModuleInfo]
    parameters: int
    passes: tuple[PassReport, ...]
    preprocessing: Preprocessing


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


def write(source: Source, format_name: str, path: Path) -> Artifact:
    """Export a network to `path` and its manifest beside it.

    Neither is checked yet: write to a place of your own, verify, then move both.

    Raises:
        UsageError: there is no such format.
    """
    import torch

    exporter = plugins.load(__name__, format_name, "format")
    spec = source.spec
    example = torch.zeros(spec.batch, 3, *spec.image_size)
    facts = {"mvdeploy.version": mvdeploy.__version__, "mvdeploy.model": spec.label}
    operators = exporter.write(source.network, example, path, facts)
    artifact = Artifact(
        path=path.name,
        sha256=file_sha256(path),
        size_bytes=path.stat().st_size,
        format=format_name,
        precision="fp32",
        spec=spec,
        passes=source.passes,
        inputs=(TensorInfo(INPUT, tuple(example.shape), "float32"),),
        outputs=(TensorInfo(OUTPUT, (spec.batch, spec.num_classes), "float32"),),
        preprocessing=source.preprocessing,
        versions=_versions(exporter.PACKAGES),
        operators=operators,
        modules=source.modules,
        parameters=source.parameters,
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
