"""An installation of ExecuTorch's own build for Android, as its `cmake --install` makes one."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from mvdeploy.errors import UsageError
from mvdeploy.files import elf

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


def concerns(path: Path, version: str) -> tuple[str, ...]:
    """Return what is to be said of an installation: headers of another version."""
    if not _lacking(path) or headers() is None:
        return ()
    installed = importlib.metadata.version("executorch")
    if installed.partition("+")[0] == version.partition("+")[0]:
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
