"""Files and folders as bytes that are sent to another machine, and kept there by their sha256."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from mvdeploy.errors import UsageError
from mvdeploy.files import writing
from mvdeploy.formats import data_files, manifest, manifest_path

_TIME = (1980, 1, 1, 0, 0, 0)
"""Of all files in a parcel: the same files make the same bytes."""


def of_file(path: Path) -> bytes:
    """Pack a file, or a folder that counts as one, with its manifest and the files of its weights.

    Raises:
        UsageError: its manifest cannot be read.
        OSError: a file cannot be read.
    """
    packed = [path]
    if manifest_path(path).is_file():
        packed += [manifest_path(path), *data_files(path, manifest(path))]
    return pack(path.parent, packed)


def pack(folder: Path, chosen: list[Path] | None = None) -> bytes:
    """Pack what is in a folder.

    Args:
        folder: that names are relative to.
        chosen: files and folders in it; None for all.

    Raises:
        OSError: a file cannot be read.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as parcel:
        for file in sorted(_files([folder] if chosen is None else chosen)):
            parcel.writestr(
                zipfile.ZipInfo(file.relative_to(folder).as_posix(), _TIME), file.read_bytes()
            )
    return content.getvalue()


def _files(chosen: list[Path]) -> Iterator[Path]:
    for path in chosen:
        if path.is_dir():
            yield from (file for file in path.rglob("*") if file.is_file())
        else:
            yield path


def unpack(parcel: bytes, folder: Path) -> None:
    """Unpack into a folder, which appears when all is there and on the disk; one there is replaced.

    Raises:
        UsageError: it is damaged.
        NotWritten: the disk is full, or the folder cannot be written to.
    """
    try:
        with writing.whole(folder) as part, zipfile.ZipFile(io.BytesIO(parcel)) as packed:
            part.mkdir()
            for one in packed.infolist():
                target = part / one.filename
                if one.filename.startswith("/") or ".." in Path(one.filename).parts:
                    raise zipfile.BadZipFile(f"{one.filename} lies outside")
                target.parent.mkdir(parents=True, exist_ok=True)
                writing.fill(target, packed.read(one))
                # Who sent it forgets it now.
                with target.open("rb") as written:
                    os.fsync(written.fileno())
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError) as error:
        raise UsageError(
            f"What was sent is damaged ({error}).", "Give the same command again."
        ) from error


def demand(parcel: bytes, expected: str) -> None:
    """Refuse a parcel that is not what it is said to be.

    Raises:
        UsageError: it has another sha256.
    """
    if sha256(parcel) != expected:
        raise UsageError("What was sent is damaged.", "Give the same command again.")


def sha256(parcel: bytes) -> str:
    """Return what a parcel is known by."""
    return hashlib.sha256(parcel).hexdigest()
