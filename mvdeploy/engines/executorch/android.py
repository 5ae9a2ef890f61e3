"""An installation of ExecuTorch's own build for Android, as its `cmake --install` makes one.

An archive (AAR) that has as much, libraries and the headers they were built with, is unpacked into
the form of one.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mvdeploy.engines import _aar
from mvdeploy.errors import UsageError
from mvdeploy.files import elf, writing
from mvdeploy.records import same_release

_NOT_INSTALLED = (
    "executorch/devtools/etdump/etdump_flatcc.h",
    "executorch/extension/memory_allocator/malloc_memory_allocator.h",
)
"""Headers that the plug-in needs, and that an installation may lack; the wheel has them."""

_NUMBER = r"(\d+\.\d+[\w.+]*)"
_VERSIONS = (
    ("lib*/cmake/*/executorch-config-version.cmake", rf'EXECUTORCH_BUILD_VERSION "{_NUMBER}"'),
    ("lib*/cmake/*/executorch-config-version.cmake", rf'PACKAGE_VERSION "{_NUMBER}"'),
    ("lib*/cmake/*/executorchConfigVersion.cmake", rf'PACKAGE_VERSION "{_NUMBER}"'),
    ("lib*/pkgconfig/executorch.pc", rf"(?m)^Version: *{_NUMBER}"),
    ("version.txt", rf"\A\s*{_NUMBER}"),
    ("CMakeCache.txt", rf"(?m)^CMAKE_PROJECT_VERSION:STATIC={_NUMBER}"),
)
"""Where an installation may say its version, the most exact first."""

_LIBRARY = "libexecutorch.so"
_HEADER = "executorch/runtime/executor/program.h"
_EXPORTS = (
    *("7runtime7Program4load", "7runtime6Method7execute"),
    *("9extension14MmapDataLoader4from", "9extension10threadpool14get_threadpool"),
)
"""Parts of the names of functions that the plug-in calls, as C++ compilers write them."""

_MOST = 1 << 30
"""Bytes that are unpacked of an archive at most."""

_ANOTHER = (
    "Build ExecuTorch for Android, and give the folder that it was installed into with "
    "--executorch-android."
)

_SOURCE = "runtime/executor"
"""A folder of ExecuTorch's source code, in which builds are often installed."""


def take(path: Path, architecture: str, into: Path) -> str:
    """Copy its shared libraries into a kit, under the names that others know them by.

    Args:
        path: the prefix that it was installed to.
        architecture: of the device.
        into: the kit's folder.

    Returns:
        its version.

    Raises:
        UsageError: the folder is no installation of ExecuTorch, or lacks something.
    """
    if not (path / "include").is_dir():
        raise UsageError(
            f"{path} is no installation of ExecuTorch: it has no 'include'.",
            "Give the folder that its build for Android was installed into.",
        )
    version = _version(path)
    missing = _lacking(path)
    if missing and headers() is None:
        raise UsageError(
            f"{path} lacks the header {missing[0]}, and no installed executorch has it.",
            f"Install executorch {version} here, whose headers are used then.",
        )
    for library in sorted(path.glob("lib/*.so")):
        name = _name(library, architecture)
        if (into / name).exists() and (into / name).read_bytes() != library.read_bytes():
            raise UsageError(
                f"{path / 'lib'} has two libraries that are {name} to others.",
                "Remove the one that is not to be used.",
            )
        shutil.copyfile(library, into / name)
    return version


def unpack_aar(path: Path, architecture: str, into: Path) -> Path:
    """Unpack an archive into the form of an installation.

    Args:
        path: of the archive.
        architecture: of the device.
        into: an empty folder.

    Returns:
        The installation's prefix.

    Raises:
        UsageError: it is no archive, or plug-ins cannot be built against what it has.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            prefix = _unpacked(path, archive, architecture, into / "installation")
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise UsageError(
            f"{path} is no archive of ExecuTorch for Android ({error}).",
            "Give the file executorch-android-VERSION.aar.",
        ) from error
    _demand_exports(path, prefix)
    version = re.search(_NUMBER, path.stem)
    if version is None:
        raise UsageError(
            f"The version of ExecuTorch in {path} cannot be told.",
            "Name the file executorch-android-VERSION.aar.",
        )
    (prefix / "version.txt").write_text(version[1], encoding="utf-8")
    return prefix


def _demand_exports(path: Path, prefix: Path) -> None:
    """Refuse libraries that keep to themselves what the plug-in calls."""
    exported: set[str] = set()
    for library in sorted(prefix.glob("lib/*.so")):
        try:
            exported |= elf.symbols(library).defined
        except elf.ElfError as error:
            raise UsageError(
                f"The library {library.name} in {path} cannot be used: {error}.",
                "Fetch the archive again.",
            ) from error
    missing = [part for part in _EXPORTS if not any(part in name for name in exported)]
    if missing:
        function = re.sub("[0-9]+", "::", missing[0]).strip(":")
        raise UsageError(
            f"No plug-in can be built against {path}: its libraries keep {function} to themselves.",
            _ANOTHER,
        )


def _unpacked(path: Path, archive: zipfile.ZipFile, architecture: str, into: Path) -> Path:
    """Unpack libraries into ``lib``, and the headers into ``include``."""
    libraries = f"jni/{_aar.ABIS[architecture]}/"
    names = archive.namelist()
    header = next((name for name in names if f"/{name}".endswith(f"/{_HEADER}")), None)
    if f"{libraries}{_LIBRARY}" not in names:
        raise UsageError(f"{path} has no {libraries}{_LIBRARY}.", _ANOTHER)
    if header is None:
        raise UsageError(
            f"No plug-in can be built against {path}: it has no headers ({_HEADER}).", _ANOTHER
        )
    places = {libraries: into / "lib", header.removesuffix(_HEADER): into / "include"}
    left = _MOST
    for name in names:
        for start, folder in places.items():
            inside = PurePosixPath(name.removeprefix(start))
            if not name.startswith(start) or name.endswith("/") or ".." in inside.parts:
                continue
            if folder.name == "include" and inside.suffix not in (".h", ".hpp"):
                continue
            left -= archive.getinfo(name).file_size
            if left < 0 or inside.is_absolute():
                raise UsageError(f"{path} is too large, or damaged.", "Fetch the archive again.")
            (folder / inside).parent.mkdir(parents=True, exist_ok=True)
            writing.fill(folder / inside, archive.read(name))
    return into


def concerns(path: Path, version: str) -> tuple[str, ...]:
    """Return what is to be said of an installation: headers of another version."""
    if not _lacking(path) or headers() is None:
        return ()
    installed = importlib.metadata.version("executorch")
    if same_release(installed, version):
        return ()
    return (
        f"{path} lacks headers; those of the installed executorch {installed} are used, though "
        f"the build is {version}. Install executorch {version} here if the kit does not work.",
    )


def headers() -> Path | None:
    """Return the include folder of the installed package; None when there is none."""
    try:
        package = importlib.metadata.distribution("executorch")
    except importlib.metadata.PackageNotFoundError:
        return None
    folder = Path(str(package.locate_file("executorch/include")))
    return folder if not _lacking(folder.parent) else None


def _lacking(prefix: Path) -> tuple[str, ...]:
    return tuple(name for name in _NOT_INSTALLED if not (prefix / "include" / name).is_file())


def _version(path: Path) -> str:
    found = next(_versions(path), "")
    if not found:
        raise UsageError(
            f"The version of ExecuTorch in {path} cannot be told.",
            f"Write it into the file {path / 'version.txt'}.",
        )
    return found


def _versions(path: Path) -> Iterator[str]:
    places = [(path, *place) for place in _VERSIONS]
    if (path.parent / _SOURCE).is_dir():
        places += [(path.parent, *place) for place in _VERSIONS if place[0] == "version.txt"]
    for folder, pattern, said in places:
        for file in sorted(folder.glob(pattern)):
            match = re.search(said, file.read_text(errors="replace"))
            if match:
                yield match[1]


def _name(library: Path, architecture: str) -> str:
    """Return the name under which a library is needed by others."""
    try:
        about = elf.read(library)
    except (OSError, elf.ElfError) as error:
        raise UsageError(
            f"The library {library} cannot be used: {error}.",
            "Build and install ExecuTorch for Android again.",
        ) from error
    if about.machine != architecture:
        raise UsageError(
            f"The library {library} is for {about.machine}, and the device is {architecture}.",
            "Give an installation of ExecuTorch that was built for the device.",
        )
    name = about.soname or library.name
    if Path(name).name != name:
        raise UsageError(
            f"The library {library} calls itself '{name}', which is no name of a file.",
            "Build ExecuTorch for Android again.",
        )
    return name
