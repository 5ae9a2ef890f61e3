"""Files, and folders that count as one file, as Core ML's packages do."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from mvdeploy.files import reading


def sha256(path: Path, data: Sequence[Path] = ()) -> str:
    """Return the sha256 of a file, in hexadecimal; of a folder, that of what `listing` says of it.

    Args:
        path: a file or a folder.
        data: files in its folder that belong to it: with such, of what `listing` says of all.

    Raises:
        UsageError: it is neither, or larger than what is read.
        OSError: it cannot be read.
    """
    if data:
        return listing(path.parent, (path, *data))
    if path.is_dir():
        return listing(path, (file for file in path.rglob("*") if file.is_file()))
    reading.demand_regular(path, reading.WEIGHTS)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing(folder: Path, chosen: Iterable[Path]) -> str:
    """Return the sha256 over names and sha256 of files in a folder, in the order of their names."""
    named = sorted((file.relative_to(folder).as_posix(), file) for file in chosen)
    lines = (f"{name} {sha256(file)}\n" for name, file in named)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def short(name: str, limit: int = 100) -> str:
    """Return a file's name; one that is longer than `limit` bytes cut, with a hash of it."""
    if len(os.fsencode(name)) <= limit:
        return name
    mark = f"-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"
    head = name[:limit]
    while len(os.fsencode(head)) > limit - len(mark):
        head = head[:-1]
    return f"{head}{mark}"


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def user_folder(kind: str) -> Path:
    """Return the folder of this program among the user's own; it may not exist.

    Args:
        kind: ``cache``, ``config``, ``data`` or ``runtime``.

    Raises:
        PermissionError: no home folder is known, and what stands in for it is another user's.
    """
    import platformdirs

    with warnings.catch_warnings():
        # It warns of the folder that it takes where the system names none; any will do.
        warnings.simplefilter("ignore")
        with contextlib.suppress(RuntimeError):  # there is no home, as in some containers
            own: Path = getattr(platformdirs, f"user_{kind}_path")("mvdeploy")
            return own
    folder = Path(tempfile.gettempdir()) / f"mvdeploy-{os.getuid()}"
    if folder.exists() and folder.stat().st_uid != os.getuid():
        raise PermissionError(errno.EACCES, "no HOME is known, and it is another user's", folder)
    return folder / kind


def move(part: Path, path: Path, aside: Path) -> None:
    """Move a file or folder to where another may be.

    Args:
        part: on the same disk.
        path: where to.
        aside: where a folder that stands there goes; not there yet. It is for the caller to remove.

    Raises:
        OSError: it cannot be moved; what was there before is there still.
    """
    if not path.is_dir():
        part.replace(path)
        return
    # No system call replaces a folder that holds something.
    path.replace(aside)
    try:
        part.replace(path)
    except OSError:
        aside.replace(path)
        raise
