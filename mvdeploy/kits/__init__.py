"""Runner kits: what a device without Python needs to run jobs.

A kit is a folder: the native runner, the plug-in and the libraries of each engine, in a glibc build
the C library too, and ``kit.json``, which says what they are and where they are from.
`mvdeploy.kits.build` makes kits; here they are found and read. Those of several builds lie side by
side.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
from collections.abc import Collection, Sequence
from pathlib import Path

from mvdeploy import engines, files
from mvdeploy.errors import UsageError
from mvdeploy.records import same_release
from mvdeploy.records.codec import RecordError, loads

FILE = "kit.json"

GLIBC, ANDROID = "glibc", "android"

BUILDS = (ANDROID, GLIBC)
"""Names of builds, that which is used before others first. An Android build is made from engines
that the user gave for it, and nearer to an app."""

_FORMERLY = "bionic"
"""What an Android build was called when there was one kit for each architecture."""


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
        build: the C library of its programs: ``glibc``, which it brings along, or ``android``.
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
        """Whether it is what would be built of its engines now."""
        installed = {name: installed_version(name) for name in self.engines}
        return self.code == code_hash() and (self.build != GLIBC or self.engines == installed)

    @property
    def lacking(self) -> tuple[str, ...]:
        """Engines that are installed here, and that it would have if it were built now."""
        if self.build != GLIBC:
            return ()
        absent = engines.native().keys() - self.engines.keys()
        return tuple(sorted(name for name in absent if installed_version(name)))


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


def other_versions(kit: Kit) -> dict[str, tuple[str, str]]:
    """Return the engines whose version here is another than in a kit: both versions, by name.

    Files are exported and verified with the one, and measured with the other.
    """
    pairs = {name: (there, installed_version(name)) for name, there in kit.engines.items()}
    return {name: pair for name, pair in pairs.items() if pair[1] and not same_release(*pair)}


def place(architecture: str, build: str) -> Path:
    """Return the folder of the kit that is built here; it may not exist."""
    return _folder() / f"{architecture}-{build}"


def earlier_place(architecture: str) -> Path:
    """Return the folder in which kits were when there was one for each architecture."""
    return _folder() / architecture


def _folder() -> Path:
    return files.user_folder("cache") / "kits"


def find(
    architecture: str,
    given: str | Path | None = None,
    builds: Sequence[str] = BUILDS,
    needs: Collection[str] = (),
) -> tuple[Path, Kit] | None:
    """Return the kit for a device and its folder; None when it is to be built, or built anew.

    Args:
        architecture: of the device's programs.
        given: the build to use, or the folder of a kit to use instead of those built here.
        builds: that the device runs, the preferred one first.
        needs: engines that a kit which is not given is to have; one that lacks them is passed over.

    Raises:
        UsageError: the folder that was given has none, or one for other devices; the build that was
            given is not there; a kit is damaged; or an Android kit is an old one. That is not
            passed over: the next one would be measured instead of it, and nobody told.
    """
    if given in BUILDS:
        return _of_build(architecture, str(given), builds)
    if given:
        folder = Path(given)
        kit = load(folder, "Give another with --kit, or leave it out.")
        if kit.architecture != architecture:
            raise UsageError(
                f"The kit in {folder} is for {kit.architecture}, and the device is {architecture}.",
                "Give another with --kit, or leave it out.",
            )
        _demand_run(kit.build, builds)
        return folder, kit
    found = next(filter(None, (_current(architecture, build, needs) for build in builds)), None)
    if found is None and needs and _current(architecture, GLIBC) is not None:
        # One that is built now would lack them as well: its runner will say so.
        return find(architecture, None, builds)
    return found


def _of_build(architecture: str, build: str, builds: Sequence[str]) -> tuple[Path, Kit] | None:
    _demand_run(build, builds)
    found = _current(architecture, build)
    if found is None and build == ANDROID:  # it is not known from which engines to make it
        raise UsageError(
            f"There is no {build} kit for {architecture}.",
            f"Build it with 'mvdeploy devices setup DEVICE --build {build}', or leave --kit out.",
        )
    return found


def _demand_run(build: str, builds: Sequence[str]) -> None:
    if build not in builds:
        raise UsageError(
            f"The device does not run the {build} build of a kit.",
            f"Give one of the {' or '.join(builds)} build with --kit, or leave it out.",
        )


def _current(architecture: str, build: str, needs: Collection[str] = ()) -> tuple[Path, Kit] | None:
    """Return the kit of a build; None if there is none, or it lacks engines, or is an old one."""
    folder = place(architecture, build)
    if not (folder / FILE).is_file():
        earlier = earlier_place(architecture)
        if build != ANDROID or earlier_build(earlier) != ANDROID:
            return None
        folder = earlier
    other = f", or measure with '--kit {GLIBC}'" if build == ANDROID else ""
    kit = load(folder, f"Build it again with {anew(build)}{other}.")
    if not kit.engines.keys() >= set(needs):
        return None
    if kit.is_current and folder == place(architecture, build):
        return folder, kit
    if build == ANDROID:
        raise _old(architecture)
    return None


def earlier_build(folder: Path) -> str:
    """Return the build of the kit in a folder of an earlier release; empty when there is none."""
    try:
        return load(folder).build
    except UsageError:
        return ""


def _old(architecture: str) -> UsageError:
    return UsageError(
        f"The {ANDROID} kit for {architecture} was built by another release of mvdeploy.",
        f"Build it again with {anew(ANDROID)}, which takes its engines where it can, or measure "
        f"with '--kit {GLIBC}'.",
    )


def others(kit: Kit, builds: Sequence[str] = BUILDS) -> tuple[str, ...]:
    """Return the other builds of a kit that are there for the same device."""
    return tuple(
        build
        for build in builds
        if build != kit.build and (place(kit.architecture, build) / FILE).is_file()
    )


def described(kit: Kit, builds: Sequence[str] = BUILDS) -> str:
    """Say what a kit is, which engines are of other versions here, and what else is there."""
    differing = other_versions(kit)
    engines_of = ", ".join(
        f"{name} {version}" + (f" (here {differing[name][1]})" if name in differing else "")
        for name, version in kit.engines.items()
    )
    also = "".join(
        f"; the {build} build is there too (--kit {build}){_lacking(kit, build)}"
        for build in others(kit, builds)
    )
    return f"{kit.build} build: {engines_of}{also}"


def _lacking(kit: Kit, build: str) -> str:
    """Say which engines of a kit another build of it is without."""
    try:
        there = load(place(kit.architecture, build)).engines
    except UsageError:  # it is damaged, and not the one that is used
        return ""
    lacking = [name for name in kit.engines if name not in there]
    return f", without {', '.join(lacking)}" if lacking else ""


def anew(build: str, device: str = "DEVICE") -> str:
    """Return what is typed to have a kit built anew, in quotes.

    Args:
        build: of the kit; empty when that is not known.
        device: that it is for, as it is typed.
    """
    which = f"--build {build} " if build == ANDROID else ""
    return f"'mvdeploy devices setup {device} {which}--rebuild'"


def used(architecture: str, builds: Sequence[str] = BUILDS) -> str:
    """Return the build of the kit that a device is sent; empty when none is there."""
    there = (build for build in builds if (place(architecture, build) / FILE).is_file())
    return next(there, "")


def load(folder: Path, remedy: str = f"Build it again with {anew('')}.") -> Kit:
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
    return dataclasses.replace(kit, build=ANDROID) if kit.build == _FORMERLY else kit


def _is_whole(folder: Path, name: str, sha256: str) -> bool:
    path = folder / name
    try:
        return Path(name).name == name and path.is_file() and files.sha256(path) == sha256
    except OSError:  # such as a name that no file can have
        return False
