"""Zip archives, as torch writes them, looked through before they are unpacked."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from pathlib import Path

from mvdeploy.errors import UsageError

_ROOM = 64_000_000
_MOST_MEMBERS = 100_000
_CHUNK = 1 << 20
_AGAIN = "Save it again with torch, which does not compress, or fetch it again."


def unpacked_limit(size: int) -> int:
    """Return how many bytes an archive of a size may hold: torch does not compress."""
    return 4 * size + _ROOM


def check(path: Path, *, sums: bool = True) -> tuple[str, ...]:
    """Refuse an archive that would unpack to far more than it is, or is damaged.

    Args:
        path: a regular file that is a zip archive.
        sums: read it all, and compare with the checksums in it.

    Returns:
        The names of its members.

    Raises:
        UsageError: names the limit, or the damaged member.
        zipfile.BadZipFile, OSError: it cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = tuple(member.filename for member in members)
        total, limit = sum(m.file_size for m in members), unpacked_limit(path.stat().st_size)
        if total > limit or len(members) > _MOST_MEMBERS:
            raise UsageError(
                f"{path} would unpack to {total / 1e6:,.0f} MB in {len(members)} files; from an "
                f"archive of its size up to {limit / 1e6:,.0f} MB in {_MOST_MEMBERS} are read.",
                _AGAIN,
            )
        twice = [name for name, count in Counter(map(str.casefold, names)).items() if count > 1]
        if twice:  # readers differ in which of the two they take
            raise UsageError(f"{path} holds two files {twice[0]!r}.", _AGAIN)
        for member in members if sums else ():
            if not _is_whole(archive, member):
                raise UsageError(
                    f"{path} is damaged: the checksum of {member.filename!r} in it is wrong.",
                    "Fetch or save it again.",
                )
    return names


def _is_whole(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(member) as file:
            while file.read(_CHUNK):
                pass
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError):
        return False
    return True
