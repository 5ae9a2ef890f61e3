"""Which of what was given is a file, and where an export goes."""

from __future__ import annotations

import os
from pathlib import Path

from mvdeploy import formats
from mvdeploy.errors import UsageError
from mvdeploy.records import ModelSpec


def file_named(text: str) -> Path | None:
    """Return a path when a text names a file rather than a model.

    Raises:
        UsageError: it looks like a file, but there is none.
    """
    path = Path(text)
    if path.is_file() or formats.manifest_path(path).is_file() or _is_package(path):
        return path
    if path.suffix in formats.readers() and os.path.exists(text) and not path.is_dir():
        return path  # a pipe or a device: who reads it says so
    is_artifact = path.suffix in {formats.suffix(name) for name in formats.names()}
    if ":" in text and not is_artifact:
        return None  # timm:NAME, hf:TYPE, FILE.py:FACTORY
    if path.suffix or len(path.parts) > 1:
        raise UsageError(f"There is no file {text}.", "Check the path, or give a model's name.")
    return None


def _is_package(path: Path) -> bool:
    """Say whether a folder counts as an exported file."""
    return path.is_dir() and path.suffix in formats.readers()


def is_result(path: Path) -> bool:
    """Say whether a path is that of a saved result: the folder of a run, or a baseline."""
    if path.is_dir():
        # A package of Core ML is a folder too.
        return not formats.manifest_path(path).is_file() and path.suffix not in formats.readers()
    return path.is_file() and path.suffix == ".json"


def is_folder(output: Path) -> bool:
    """Say whether what was given as the place of exports is a folder."""
    # A package may be a folder too.
    packages = {formats.suffix(name) for name in formats.names()}
    return (output.is_dir() and output.suffix not in packages) or not output.suffix


def place(output: Path, spec: ModelSpec, format_name: str, chosen: formats.Options) -> Path:
    """Return where an export goes; in a folder, the file is named after the network.

    Args:
        output: a file or a folder.
        spec: the network.
        format_name: of the format.
        chosen: how it is exported.

    Raises:
        UsageError: the file is called as one of another format.
    """
    suffix = formats.suffix(format_name)
    if is_folder(output):
        parts = (spec.slug, *formats.marks(format_name, chosen))
        return output / f"{'-'.join(parts)}{suffix}"
    if output.suffix != suffix:
        raise UsageError(
            f"{output} does not end in '{suffix}', as files of the format {format_name} do.",
            f"Give a name that ends in {suffix}, or a folder.",
        )
    return output
