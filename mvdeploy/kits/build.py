"""Build a runner kit (see `mvdeploy.kits`) on this machine.

The engines come from their wheels for the device's architecture, of the versions that are installed
here, and the C library from the compiler: such a kit runs on any Linux kernel, Android's too. With
an Android NDK and Android builds of the engines the kit uses Android's own C library.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import platform
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import mvdeploy
from mvdeploy import engines, files, kits
from mvdeploy.engines import NativePlugin
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.files import elf, writing
from mvdeploy.kits import Kit, Source, check
from mvdeploy.kits import toolchain as toolchains
from mvdeploy.kits.toolchain import Toolchain
from mvdeploy.records.codec import dumps

RUNNER = "mvdeploy-runner"

_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
OnStep = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Android:
    """What it takes to build a kit that uses Android's own C library.

    Attributes:
        ndk: folder of the NDK.
        builds: the engines' own builds for Android, by engine.
    """

    ndk: Path
    builds: Mapping[str, Path]


def android(builds: Mapping[str, Path]) -> Android | None:
    """Return what an Android kit is built from; None to build one with a C library of its own.

    Args:
        builds: the engines' own builds for Android, by engine; may be none.

    Raises:
        DeviceUnavailable: engines for Android are given, and there is no NDK.
    """
    if not builds:
        return None
    ndk = toolchains.find_ndk()
    if ndk is None:
        raise DeviceUnavailable(
            "Engines for Android are given, but there is no Android NDK.",
            "Set ANDROID_NDK_HOME to the folder of an unpacked NDK.",
        )
    return Android(ndk, builds)


def kit(
    architecture: str,
    given: Android | None = None,
    *,
    rebuild: bool = False,
    on_step: OnStep = lambda _: None,
) -> tuple[Path, Kit]:
    """Return the kit for an architecture, built if there is none, or none that is up to date.

    Args:
        architecture: ``aarch64`` or ``x86_64``.
        given: what an Android kit is built from.
        rebuild: build it even if there is one.
        on_step: is told what begins.

    Returns:
        its folder, and what it is.

    Raises:
        DeviceUnavailable: something that it takes is not installed, cannot be fetched or built.
        UsageError: what is given for Android cannot be used.
    """
    place = kits.place(architecture)
    current = None if rebuild or given else _up_to_date(place)
    if current is not None:
        return place, current
    toolchain = toolchains.find(architecture, given.ndk if given else None)
    with writing.worded(place), writing.folder(place.parent, ".building") as work:
        built = _build(toolchain, given, work, on_step)
        files.move(work / "kit", place, work / "aside")
    return place, built


def _up_to_date(place: Path) -> Kit | None:
    with contextlib.suppress(UsageError):  # a damaged one is built anew
        existing = kits.load(place)
        return existing if existing.is_current else None
    return None


def _build(toolchain: Toolchain, given: Android | None, work: Path, on_step: OnStep) -> Kit:
    into = work / "kit"
    into.mkdir()
    libraries = _Engines(toolchain, given, work, on_step)
    versions = libraries.collect(into)
    check.files(into, toolchain.architecture, toolchain.build)
    on_step(f"build the runner for {toolchain.architecture} ({toolchain.build})")
    flags = (
        f"-DMVDEPLOY_VERSION={mvdeploy.__version__}",
        f"-DMVDEPLOY_ENGINES={';'.join(versions)}",
        *toolchain.library_flags(_needed_in(into)),
        *libraries.flags,
    )
    toolchains.build(toolchain, kits.code(), work / "build", flags)
    for path in (work / "build" / RUNNER, *sorted((work / "build").glob("libmvdeploy_*.so"))):
        shutil.copyfile(path, into / path.name)
    system = toolchain.system_libraries(_needed_in(into))
    for path, name in system:
        shutil.copyfile(path, into / name)
    check.files(into, toolchain.architecture, toolchain.build)
    check.needs(into, toolchain.build)
    programs = toolchain.programs(RUNNER)
    for name in programs:
        (into / name).chmod(0o755)
    packages = filter(None, (toolchains.package_of(path) for path, _ in system))
    built = Kit(
        architecture=toolchain.architecture,
        build=toolchain.build,
        engines=versions,
        command=toolchain.command(RUNNER),
        programs=programs,
        sums={path.name: files.sha256(path) for path in sorted(into.iterdir())},
        code=kits.code_hash(),
        sources=(*libraries.sources, *dict.fromkeys(packages)),
        compiler=toolchain.version,
    )
    (into / kits.FILE).write_text(dumps(built), encoding="utf-8")
    return built


def _needed_in(folder: Path) -> frozenset[str]:
    """Return the libraries that those in a folder need; `check` says which cannot be read."""
    needed: set[str] = set()
    for path in folder.iterdir():
        with contextlib.suppress(elf.ElfError):
            needed.update(elf.read(path).needed)
    return frozenset(needed)


class _Engines:
    """The libraries of the engines for a device.

    Args:
        toolchain: for the device.
        given: builds of the engines for Android; None to take their wheels.
        work: a temporary folder.
        on_step: is told what begins.

    Attributes:
        flags: that CMake needs to build their plug-ins.
        sources: what they are from.
    """

    def __init__(
        self, toolchain: Toolchain, given: Android | None, work: Path, on_step: OnStep
    ) -> None:
        self._toolchain, self._given, self._work, self._on_step = toolchain, given, work, on_step
        self._plugins = engines.native()
        self.flags: list[str] = []
        self.sources: list[Source] = []

    def collect(self, into: Path) -> dict[str, str]:
        """Copy the libraries to a kit; return the engines' versions by name."""
        if self._given is not None:
            return self._from_android(self._given, into)
        versions = {name: kits.installed_version(name) for name in self._plugins}
        versions = {name: version for name, version in versions.items() if version}
        if not versions:
            packages = " ".join(plugin.package for plugin in self._plugins.values())
            raise DeviceUnavailable(
                f"None of {', '.join(self._plugins)} is installed here, so it is not known which "
                "version the device is to have.",
                f"Install one of them, or all: pip install {packages}.",
            )
        for name, folder in self._folders(versions).items():
            _copy_libraries(self._plugins[name], folder, into)
            self.flags += self._plugins[name].flags(folder, versions[name])
        return versions

    def _folders(self, versions: dict[str, str]) -> dict[str, Path]:
        """Return the folder in which each engine's package is, for the device's architecture."""
        if self._toolchain.architecture == platform.machine():
            self.sources += [Source(name, version) for name, version in versions.items()]
            return {name: _site(self._plugins[name].package) for name in versions}
        return {
            name: self._wheel(self._plugins[name].package, version)
            for name, version in versions.items()
        }

    def _wheel(self, name: str, version: str) -> Path:
        """Fetch an engine's wheel for the device, and unpack it."""
        self._on_step(f"fetch {name} {version} for {self._toolchain.architecture}")
        folder = self._work / "wheels" / name
        tags = [f"--platform={p}_{self._toolchain.architecture}" for p in _PLATFORMS]
        python = f"--python-version={sys.version_info.major}.{sys.version_info.minor}"
        words = ("--no-deps", "--only-binary=:all:", *tags, python, f"--dest={folder}")
        pip = (sys.executable, "-m", "pip", "download", "--quiet")
        try:
            toolchains.run([*pip, *words, f"{name}=={version}"])
        except DeviceUnavailable as error:
            raise DeviceUnavailable(
                f"{name} {version} for {self._toolchain.architecture} could not be fetched: "
                f"{error.message}",
                "Check the connection to the package index that pip uses, and that pip is there.",
            ) from error
        wheel = next(folder.glob("*.whl"))
        self.sources.append(Source(wheel.name, version, files.sha256(wheel)))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        return folder

    def _from_android(self, given: Android, into: Path) -> dict[str, str]:
        versions: dict[str, str] = {}
        for name, path in given.builds.items():
            plugin = self._plugins[name]
            if plugin.android is None:
                raise UsageError(f"There is no build of {name} for Android.", "Leave it out.")
            versions[name] = plugin.android.take(path, self._toolchain.architecture, into)
            for concern in plugin.android.concerns(path, versions[name]):
                self._on_step(f"Warning: {concern}")
            self.flags += plugin.flags(path, versions[name])
            sha256 = files.sha256(path) if path.is_file() else ""
            self.sources.append(Source(path.name, versions[name], sha256))
        return versions


def _site(package: str) -> Path:
    return Path(str(importlib.metadata.distribution(package).locate_file("")))


def _copy_libraries(plugin: NativePlugin, folder: Path, into: Path) -> None:
    for pattern in plugin.libraries:
        libraries = sorted(folder.glob(pattern))
        if not libraries:
            raise DeviceUnavailable(
                f"The package of {plugin.package} has no {Path(pattern).name}.",
                f"Install another version of {plugin.package}, and build the kit again.",
            )
        # Plug-ins look for libraries without a version in their names.
        bare = libraries[0].name.partition(".so")[0]
        shutil.copyfile(libraries[0], into / f"{bare}.so")
