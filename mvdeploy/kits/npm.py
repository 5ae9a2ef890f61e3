"""A file out of an npm package, which was given as a file or is downloaded by npm."""

from __future__ import annotations

import re
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from mvdeploy.engines import NpmFile
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.files import writing
from mvdeploy.kits import toolchain as toolchains

_VERSION = re.compile(r"\d+\.\d+\.\d+(?:[-+][\w.+-]+)?")
_MOST = 1 << 30
"""Bytes of a file in a package; engines have some tens of millions."""


def archive(given: str, wanted: NpmFile, work: Path, on_step: Callable[[str], None]) -> Path:
    """Return the file of a package; one that is named by its version is downloaded.

    Args:
        given: a file, or a version.
        wanted: which package.
        work: an empty folder for what is downloaded.
        on_step: is told what begins.

    Raises:
        UsageError: it is neither a version nor a file.
        DeviceUnavailable: the package cannot be downloaded.
    """
    path = Path(given)
    if path.is_file():
        return path
    if _VERSION.fullmatch(given) is None:
        raise UsageError(
            f"{given} is neither a file nor a version of {wanted.package}.",
            "Give the package's file (.tgz), or a version such as 1.2.3.",
        )
    on_step(f"fetch {wanted.package} {given}")
    return fetch(wanted.package, given, work)


def fetch(package: str, version: str, work: Path) -> Path:
    """Have npm download a package; return its file (.tgz).

    Args:
        package: its name.
        version: of it.
        work: an empty folder for what is downloaded.

    Raises:
        DeviceUnavailable: there is no npm, or the package cannot be downloaded.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DeviceUnavailable(
            f"{package} {version} cannot be fetched: there is no npm.",
            "Install npm, or fetch the package by other means and give that.",
        )
    words = (npm, "pack", "--loglevel=error", "--ignore-scripts", f"{package}@{version}")
    try:
        toolchains.run(words, work)
    except DeviceUnavailable as error:
        raise DeviceUnavailable(
            f"{package} {version} could not be fetched: {error.message}",
            "Check that version, and the connection to the registry that npm uses.",
        ) from error
    found = sorted(work.glob("*.tgz"))
    if len(found) != 1:
        raise DeviceUnavailable(
            f"{package} {version} could not be fetched: npm left no file.",
            "Fetch the package by other means and give that.",
        )
    return found[0]


def unpack(path: Path, wanted: NpmFile, into: Path) -> Path:
    """Copy the file that is wanted of a package.

    Args:
        path: the package's file.
        wanted: which file.
        into: a folder for it.

    Raises:
        UsageError: it is no such package.
    """
    try:
        with tarfile.open(path, "r:gz") as packed:
            # npm has everything in a folder of that name.
            member = packed.getmember(f"package/{wanted.path}")
            file = packed.extractfile(member) if member.size <= _MOST else None
            if file is None:
                raise KeyError(f"{wanted.path} is no file, or too large")
            data = file.read()
    except (tarfile.TarError, zlib.error, EOFError, KeyError, OSError) as error:
        raise UsageError(
            f"{path} is no npm package {wanted.package} ({str(error).strip(chr(34))}).",
            f"Give the file that 'npm pack {wanted.package}' makes.",
        ) from error
    copy = into / Path(wanted.path).name
    writing.fill(copy, data)
    return copy
