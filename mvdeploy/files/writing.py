"""Writing without trusting the disk: whole or not at all, and one wording of why not.

Whatever is written goes into a temporary folder beside its place first. Such a folder is locked by
the process that made it; the lock ends with the process, so that the next one that writes there
removes what a killed one left, and never what a living one needs.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvdeploy import files
from mvdeploy.errors import UsageError

REMEDY = "Make room there, or give a place that can be written to."

TEMPORARY = "Make room there, or set TMPDIR to a folder that can be written to."
"""What to do when temporary files have no room."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OF_THE_PLACE = (*_FULL, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG)
"""What can only be the fault of the place that is written to, whatever else was going on."""


class NotWritten(UsageError):
    """A file or folder could not be written."""


class _Refused(OSError):
    """What the system said while `size` bytes were written."""

    size = 0


@contextmanager
def whole(path: Path, *, remedy: str = REMEDY) -> Iterator[Path]:
    """Give a temporary place for what is to stand at `path`, and move it there at the end.

    If the body fails, what stood there before is untouched, and nothing else is left.

    Args:
        path: a file or folder; the folders around it are made.
        remedy: one sentence on what to do when it cannot be written.

    Raises:
        NotWritten: it cannot be written.
    """
    with worded(path, remedy), folder(path.parent, f".{files.short(path.name)}") as place:
        part = place / path.name
        yield part
        if part.is_dir():
            files.move(part, path, place / ".replaced")
        else:
            part.replace(path)  # a file takes no folder's place


def data(path: Path, content: bytes, *, remedy: str = REMEDY) -> None:
    """Write a file of these bytes; see `whole`."""
    with whole(path, remedy=remedy) as part:
        fill(part, content)


def text(path: Path, content: str, *, remedy: str = REMEDY) -> None:
    """Write a file of this text; see `whole`."""
    data(path, content.encode(), remedy=remedy)


def fill(part: Path, content: bytes | memoryview) -> None:
    """Write bytes to a temporary place; the error will say how many were to be written.

    Raises:
        OSError: they cannot be.
    """
    try:
        part.write_bytes(content)
    except OSError as error:
        refusal = _Refused(error.errno, error.strerror, error.filename)
        refusal.size = len(content)
        raise refusal from error


@contextmanager
def temporary() -> Iterator[Path]:
    """Give a folder among the system's temporary files that is removed at the end.

    Raises:
        NotWritten: there is no place for it, or it is full.
    """
    try:
        place = Path(tempfile.gettempdir())
    except OSError as error:  # it has tried several
        raise NotWritten(
            f"There is no place for temporary files ({error.strerror}).", TEMPORARY
        ) from error
    with contextlib.ExitStack() as stack:
        with worded(place, TEMPORARY):
            made = stack.enter_context(folder(place, "mvdeploy"))
        try:
            yield made
        except OSError as error:
            # Of others, such as a missing input, nothing is said here.
            if error.errno in _OF_THE_PLACE:
                raise refused(error, made, TEMPORARY) from error
            raise


@contextmanager
def folder(parent: Path, stem: str) -> Iterator[Path]:
    """Give a temporary folder, made with its `parent`, that is removed at the end.

    Those of the same stem that processes left which have ended are removed first.

    Raises:
        OSError: it cannot be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _remove_left(parent, stem)
    made, lock = _locked(parent, stem)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def _locked(parent: Path, stem: str) -> tuple[Path, int]:
    """Make a folder and lock it; another process may take it for left over before it is locked."""
    while True:
        made = Path(tempfile.mkdtemp(".part", f"{stem}.", parent))
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(made, os.O_RDONLY)
            with contextlib.suppress(OSError):  # some disks have no locks: nothing is removed there
                _lock(handle)
            if made.exists():
                return made, handle
            os.close(handle)


def _remove_left(parent: Path, stem: str) -> None:
    for left in parent.glob(f"{glob.escape(stem)}.*.part"):
        with contextlib.suppress(OSError):  # another user's, or gone
            handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                _lock(handle, wait=False)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(handle)


def _lock(handle: int, *, wait: bool = True) -> None:
    import fcntl  # Windows, which has none, is told so before anything is written

    fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def worded(path: Path, remedy: str = REMEDY) -> Iterator[None]:
    """Turn an `OSError` of the body, which does nothing but write, into one that names the file.

    Raises:
        NotWritten: the body raised one.
    """
    try:
        yield
    except OSError as error:
        raise refused(error, path, remedy) from error


def refused(error: OSError, path: Path | None = None, remedy: str = REMEDY) -> NotWritten:
    """Word why a file cannot be written.

    Args:
        error: what the system said.
        path: the file or folder; one that the error names stands for it where it lies elsewhere.
        remedy: one sentence on what to do.
    """
    if error.filename:
        named = Path(os.fsdecode(error.filename))
        path = path if path and named.is_relative_to(path.parent) else named
    what = f"{path or 'The output'} cannot be written ({error.strerror or error})"
    free = _free(path) if path and error.errno in (*_FULL, None) else None
    size = getattr(error, "size", None)
    if free is not None and size is not None:
        what += f": it takes {size:,} bytes, and {free:,} are free there"
    elif free is not None:
        what += f": {free:,} bytes are free there"
    return NotWritten(f"{what}.", remedy)


def cause(error: BaseException | None) -> OSError | None:
    """Return what the system refused, of an error that a library made of it; None if it did not.

    Libraries in C++ and Rust say it in words.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _OF_THE_PLACE:
            return error
        for number in _FULL:
            if os.strerror(number) in str(error):
                return OSError(number, os.strerror(number))
        error = error.__cause__ or error.__context__
    return None


def _free(path: Path) -> int | None:
    """Return the bytes that are free where a path is, or would be."""
    for place in (path, *path.absolute().parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
    return None
