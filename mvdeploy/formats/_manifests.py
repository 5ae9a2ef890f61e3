"""Manifests: what is known of a file, as JSON beside it."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

from mvdeploy import files
from mvdeploy.errors import UsageError
from mvdeploy.files import reading, writing
from mvdeploy.records import Artifact, codec


def manifest_path(artifact: Path) -> Path:
    """Return where the manifest of an artifact lies: ``model.onnx`` → ``model.onnx.json``."""
    return artifact.with_name(artifact.name + ".json")


def save_manifest(artifact: Artifact, path: Path, remedy: str = writing.REMEDY) -> None:
    """Write the manifest beside the artifact at `path`.

    Raises:
        NotWritten: it cannot be written.
    """
    codec.save(artifact, manifest_path(path), remedy=remedy)


def data_files(path: Path, artifact: Artifact) -> tuple[Path, ...]:
    """Return the files beside a file that hold a part of it."""
    return tuple(path.parent / name for name in artifact.data)


def read(path: Path) -> Artifact:
    """Read the manifest of an artifact and check that it belongs to the file.

    Raises:
        UsageError: the artifact or its manifest is missing, or the file has another sha256.
    """
    if not path.exists():
        raise UsageError(f"There is no file {path}.", "Check the path, or export the model first.")
    if not has_manifest(path):
        raise UsageError(
            f"{path} has no manifest ({manifest_path(path).name}), so the network that it came "
            "from is not known.",
            "Say what to compare with: 'mvdeploy verify FILE --against OTHER'.",
        )
    artifact = manifest(path)
    if not belongs(artifact, path):
        raise UsageError(
            f"{path} is not the file that {manifest_path(path).name} describes (its sha256 "
            "differs).",
            "Export the model again.",
        )
    return artifact


def has_manifest(path: Path) -> bool:
    """Say whether a manifest lies beside a file: ours, not something of another tool."""
    manifest = manifest_path(path)
    if not manifest.is_file():
        return False  # none, or a folder
    try:
        text = reading.contents(manifest, limit=reading.RECORD, what="a manifest")
    except OSError:
        return False
    return re.search(rb'"record"\s*:\s*"Artifact"', text) is not None


def manifest(path: Path) -> Artifact:
    """Read the manifest beside a file, whether it describes the file or another.

    Raises:
        UsageError: it cannot be read, or names files outside of its folder as parts of this one.
    """
    artifact = codec.load(Artifact, manifest_path(path))
    for name in filter(None, (*artifact.data, artifact.twin)):
        place = PurePath(name)
        if place.is_absolute() or ".." in place.parts or "\0" in name:
            raise UsageError(
                f"{manifest_path(path)} names {name!r} as a part of {path.name}, which is not in "
                "its folder.",
                "Export the model again.",
            )
    return artifact


def belongs(artifact: Artifact, path: Path) -> bool:
    """Say whether a manifest describes a file."""
    data = data_files(path, artifact)
    there = all(file.is_file() for file in data)
    return there and files.sha256(path, data) == artifact.sha256
