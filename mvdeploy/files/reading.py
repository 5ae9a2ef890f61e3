"""Reading files that are not to be trusted: only regular ones, and no more than a limit.

A pipe or a device would be read for ever, and a file of any size would fill the memory. What is to
be read is looked at before it is opened. `LIMIT_VARIABLE` raises every limit.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mvdeploy.errors import UsageError

LIMIT_VARIABLE = "MVDEPLOY_FILE_LIMIT_MB"
"""Environment: the size up to which files are read, where it is more than their kind's."""

MB = 1_000_000
TEXT = 16 * MB
"""Limit of files that people write: profiles, labels, settings."""
RECORD = 500 * MB
"""Limit of files that mvdeploy writes: manifests, parts of saved runs, baselines."""
WEIGHTS = 4000 * MB
"""Limit of checkpoints and exported programs, which are read in parts or by their own readers."""

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def demand_regular(path: Path, limit: int, what: str = "a file") -> None:
    """Refuse what is no regular file, or is larger than a limit; follows links.

    Args:
        path: of what is about to be opened.
        limit: bytes.
        what: it is to be, for the message: ``a checkpoint``.

    Raises:
        UsageError: names the path, and the limit with what raises it.
        OSError: it is not there, or cannot be looked at.
    """
    held = path.stat()
    if not stat.S_ISREG(held.st_mode):
        kind = _KINDS.get(stat.S_IFMT(held.st_mode), "no regular file")
        raise UsageError(
            f"{path} cannot be read as {what}: it is {kind}.",
            "Give a regular file; save what comes in first.",
        )
    demand_size(f"{path} has", held.st_size, limit, what)


def demand_size(who: str, size: int, limit: int, what: str = "a file") -> None:
    """Refuse more bytes than a limit, or than `LIMIT_VARIABLE` says where that is more.

    Args:
        who: has them, with its verb: ``model.pt has``.
        size: bytes.
        limit: bytes.
        what: they are to be.

    Raises:
        UsageError: names the limit and what raises it.
    """
    given = os.environ.get(LIMIT_VARIABLE, "")
    limit = max(limit, int(given) * MB if given.isascii() and given.isdigit() else 0)
    if size > limit:
        raise UsageError(
            f"{who} {_shown(size)}, and {what} is read up to {_shown(limit)}.",
            f"Give another; if this is right, set {LIMIT_VARIABLE}={-(-size // MB)}.",
        )


def _shown(size: int) -> str:
    return f"{size / MB:,.1f} MB" if size < 10 * MB else f"{size / MB:,.0f} MB"


def contents(path: Path, *, limit: int = TEXT, what: str = "a file") -> bytes:
    """Return the bytes of a file.

    Args:
        path: a regular file.
        limit: bytes that it may have.
        what: it is to be, for messages.

    Raises:
        UsageError: it is no regular file, or too large.
        OSError: it cannot be read.
    """
    demand_regular(path, limit, what)
    with path.open("rb") as file:
        return file.read()


def text(path: Path, *, limit: int = TEXT, what: str = "a file", encoding: str = "utf-8") -> str:
    """Return a text file as Python reads one: with line feeds at the end of lines.

    Args:
        path: a regular file.
        limit: bytes that it may have.
        what: it is to be, for messages.
        encoding: of it; ``utf-8-sig`` for files that people write.

    Raises:
        UsageError: it is no regular file, or too large.
        OSError: it cannot be read.
        UnicodeDecodeError: it has other bytes.
    """
    whole = contents(path, limit=limit, what=what).decode(encoding)
    return whole.replace("\r\n", "\n").replace("\r", "\n")
