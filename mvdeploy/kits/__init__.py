"""Runner kits: what a device without Python needs to run jobs.

A kit is a folder: the native runner, the plug-in and the libraries of each engine, on Linux the C
library too, and ``kit.json``, which says what they are and where they are from.
`mvdeploy.kits.build` makes kits; here they are found and read.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
from pathlib import Path

from mvdeploy import engines, files
from mvdeploy.errors import UsageError
from mvdeploy.records.codec import RecordError, loads

FILE = "kit.json"


GLIBC, BIONIC = "glibc", "bionic"


@dataclasses.dataclass(frozen=True)
class Source:
    """Something that parts of a kit were taken from.

    Attributes:
        name: of the package.
        version: of it.
        sha256: of its file; empty for what was installed already.
    """

    name: str
    version: str
    sha256: str = ""


@dataclasses.dataclass(frozen=True)
class Kit:
    """What ``kit.json`` says.

    Attributes:
        architecture: ``aarch64`` or ``x86_64``.
        build: the C library of its programs: ``glibc`` or ``bionic``.
        engines: version by name.
        command: the words that start the runner in the kit's folder.
        programs: names of the files that are executed.
        sums: SHA-256 of every file, by name; files are not in folders.
        code: hash of the runner's source code.
        sources: what its parts are from.
        compiler: that built the runner.
    """

    architecture: str
    build: str
    engines: dict[str, str]
    command: tuple[str, ...]
    programs: tuple[str, ...]
    sums: dict[str, str]
    code: str
    sources: tuple[Source, ...] = ()
    compiler: str = ""

    @property
    def identifier(self) -> str:
        """A name for what it consists of."""
        lines = (f"{name} {sha256}\n" for name, sha256 in sorted(self.sums.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]

    @property
    def is_current(self) -> bool:
        """Whether it is what would be built now."""
        installed = {name: installed_version(name) for name in self.engines}
        return self.code == code_hash() and (self.build != GLIBC or self.engines == installed)


def installed_version(engine: str) -> str:
    """Return the version of an engine that is installed here; empty when it is not."""
    plugin = engines.native().get(engine)
    try:
        return importlib.metadata.version(plugin.package) if plugin else ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def code() -> Path:
    """Return the folder of the native runner's source code."""
    return Path(__file__).parents[1] / "runners" / "native"


@functools.cache
def code_hash() -> str:
    """Return a hash of the native runner's source code."""
    return files.sha256(code())


def place(architecture: str) -> Path:
    """Return the folder of the kit that is built here for an architecture; it may not exist."""
    return files.user_folder("cache") / "kits" / architecture


def find(architecture: str, given: str | Path | None = None) -> tuple[Path, Kit] | None:
    """Return the kit for an architecture and its folder; None when none is there, or an old one.

    Args:
        architecture: of the device's programs.
        given: the folder of a kit to use instead of the one that was built here.

    Raises:
        UsageError: the folder that was given has none, or one for other devices; or a kit is
            damaged.
    """
    if given:
        folder = Path(given)
        kit = load(folder, "Give another with --kit, or leave it out.")
        if kit.architecture != architecture:
            raise UsageError(
                f"The kit in {folder} is for {kit.architecture}, and the device is {architecture}.",
                "Give another with --kit, or leave it out.",
            )
        return folder, kit
    folder = place(architecture)
    if not (folder / FILE).is_file():
        return None
    kit = load(folder)
    return (folder, kit) if kit.is_current else None


def load(
    folder: Path, remedy: str = "Build it again with 'mvdeploy devices setup DEVICE --rebuild'."
) -> Kit:
    """Read a kit, and check that all of it is there.

    Args:
        folder: of the kit.
        remedy: what to do when it cannot be used.

    Raises:
        UsageError: there is none, or it is damaged.
    """
    try:
        kit = loads(Kit, (folder / FILE).read_text(encoding="utf-8"), str(folder / FILE))
    except OSError as error:
        raise UsageError(
            f"There is no runner kit in {folder} ({error.strerror}).", remedy
        ) from error
    except (UnicodeDecodeError, RecordError) as error:
        raise UsageError(f"The runner kit in {folder} cannot be read ({error}).", remedy) from error
    damaged = [name for name, sha256 in kit.sums.items() if not _is_whole(folder, name, sha256)]
    damaged += [name for name in kit.programs if name not in kit.sums]
    if damaged:
        raise UsageError(f"The runner kit in {folder} is damaged: {damaged[0]!r}.", remedy)
    return kit


def _is_whole(folder: Path, name: str, sha256: str) -> bool:
    path = folder / name
    try:
        return Path(name).name == name and path.is_file() and files.sha256(path) == sha256
    except OSError:  # such as a name that no file can have
        return False
