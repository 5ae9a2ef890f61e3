"""Build a runner kit (see `mvdeploy.kits`) on this machine.

The engines come from their wheels for the device's architecture, of the versions that are installed
here, and the C library from the compiler: such a kit (glibc) runs on any Linux kernel, Android's
too. With Android builds of the engines the kit uses Android's own C library (android). It takes an
Android NDK, or, for engines whose plug-ins are C, the package ziglang.
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

from mvdeploy import engines, files, kits
from mvdeploy.engines import AndroidBuild, NativePlugin
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.files import elf, writing
from mvdeploy.kits import Kit, Source, check, npm, zig
from mvdeploy.kits import toolchain as toolchains
from mvdeploy.kits.toolchain import Toolchain
from mvdeploy.plugins import Option
from mvdeploy.records.codec import dumps

RUNNER = "mvdeploy-runner"

_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
OnStep = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Android:
    """What it takes to build a kit that uses Android's own C library.

    Attributes:
        ndk: folder of the NDK; None to build without one.
        builds: the engines' own builds for Android, by the names of the options that they are given
            with; none for the kit that is there.
        earlier: folder of a kit whose engines are taken, where none are given.
    """

    ndk: Path | None
    builds: Mapping[str, str | Path]
    earlier: Path | None = None


def android(builds: Mapping[str, str | Path], *, wanted: bool = False) -> Android | None:
    """Return what an Android kit is built from; None to build one with a C library of its own.

    Args:
        builds: the engines' own builds for Android, by the names of their options; may be none.
        wanted: an Android kit is to be used also if none is given: the one that is there.

    Raises:
        UsageError: two builds of one engine are given.
        DeviceUnavailable: engines for Android are given, and there is nothing to build a kit with.
    """
    if not builds:
        return Android(None, {}) if wanted else None
    plugins = _given_plugins(builds)
    ndk = _ndk()
    if ndk is not None:
        return Android(ndk, builds)
    for engine, (option, plugin) in plugins.items():
        if not plugin.sources:
            raise DeviceUnavailable(
                f"The plug-in of {engine} is C++, which takes an Android NDK, and there is none.",
                f"Set ANDROID_NDK_HOME to the folder of an unpacked NDK, or leave {option.flag} "
                "out.",
            )
    return Android(None, builds)


def _ndk() -> Path | None:
    """Return the folder of an NDK; None where the package that does without is there instead."""
    ndk = toolchains.find_ndk()
    if ndk is None and zig.installed() is None:
        raise DeviceUnavailable(
            f"To build for Android there is neither an Android NDK nor the package {zig.PACKAGE}.",
            f"Install that: pip install '{zig.REQUIREMENT}'; or set ANDROID_NDK_HOME to the folder "
            "of an unpacked NDK.",
        )
    return ndk


def _given_plugins(builds: Mapping[str, str | Path]) -> dict[str, tuple[Option, NativePlugin]]:
    """Return the plug-ins of engines that are given, and the options that they are given with."""
    found: dict[str, tuple[Option, NativePlugin]] = {}
    for engine, plugin in engines.native().items():
        given = [form.option for form in plugin.android if form.option.name in builds]
        if len(given) > 1:
            flags = " and ".join(option.flag for option in given)
            raise UsageError(f"{flags} both give {engine}.", "Give one of them.")
        if given:
            found[engine] = given[0], plugin
    return found


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
        given: what an Android kit is built from; None for one with a C library of its own.
        rebuild: build it even if there is one.
        on_step: is told what begins.

    Returns:
        its folder, and what it is.

    Raises:
        DeviceUnavailable: something that it takes is not installed, cannot be fetched or built.
        UsageError: what is given for Android cannot be used, or nothing is given.
    """
    place = kits.place(architecture, kits.GLIBC if given is None else kits.ANDROID)
    with_engines = given is not None and bool(given.builds)
    current = None if rebuild or with_engines else _up_to_date(place)
    if current is not None:
        return place, current
    if given is not None and not with_engines:
        given = _again(architecture)
    toolchain = _toolchain(architecture, given)
    with writing.worded(place), writing.folder(place.parent, ".building") as work:
        built = _build(toolchain, given, work, on_step)
        files.move(work / "kit", place, work / "aside")
    _remove_earlier(built)
    return place, built


def _again(architecture: str) -> Android:
    """Return what it takes to build the Android kit that is there anew, with the same engines."""
    plugins = engines.native()
    for folder in (kits.place(architecture, kits.ANDROID), kits.earlier_place(architecture)):
        with contextlib.suppress(UsageError):  # there is none, or it is damaged
            kit = kits.load(folder)
            is_android = kit.build == kits.ANDROID
            # C++ plug-ins are built against more than a kit has.
            if is_android and all(n in plugins and plugins[n].sources for n in kit.engines):
                return Android(_ndk(), {}, folder)
    raise _no_engines()


def _no_engines() -> UsageError:
    flags = [form.option.flag for plugin in engines.native().values() for form in plugin.android]
    return UsageError(
        "An Android kit is built from engines for Android, and none is given.",
        f"Give one or more of {', '.join(flags)}.",
    )


def _toolchain(architecture: str, given: Android | None) -> Toolchain:
    if given is not None and given.ndk is None:
        return zig.find(architecture)
    return toolchains.find(architecture, given.ndk if given else None)


def _remove_earlier(built: Kit) -> None:
    """Remove the kit that an earlier release left where this one is not any more."""
    folder = kits.earlier_place(built.architecture)
    if kits.earlier_build(folder) == built.build:
        shutil.rmtree(folder, ignore_errors=True)


def _up_to_date(place: Path) -> Kit | None:
    with contextlib.suppress(UsageError):  # a damaged one is built anew
        existing = kits.load(place)
        return existing if existing.is_current and not existing.lacking else None
    return None


def _build(toolchain: Toolchain, given: Android | None, work: Path, on_step: OnStep) -> Kit:
    into = work / "kit"
    into.mkdir()
    libraries = _Engines(toolchain, given, work, on_step)
    versions = libraries.collect(into)
    check.files(into, toolchain.architecture, toolchain.build)
    by = toolchain.version
    on_step(f"build the runner for {toolchain.architecture} ({toolchain.build}, by {by})")
    flags = (*toolchain.library_flags(_needed_in(into)), *libraries.flags)
    plugins = engines.native()
    wanted = {name: plugins[name] for name in versions}
    toolchain.make(kits.code(), work / "build", wanted, flags)
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
        compiler=by,
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
            packages = {name: self._plugins[name].package for name in versions}
            self.sources += [Source(packages[name], versions[name]) for name in versions]
            return {name: _site(package) for name, package in packages.items()}
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
        if given.earlier is not None:
            return self._from_kit(given.earlier, into)
        versions: dict[str, str] = {}
        for name, plugin in self._plugins.items():
            for form in plugin.android:
                if form.option.name in given.builds:
                    value = given.builds[form.option.name]
                    versions[name] = self._from_form(plugin, form, str(value), into)
        return versions

    def _from_kit(self, folder: Path, into: Path) -> dict[str, str]:
        kit = kits.load(folder)
        for name, version in kit.engines.items():
            self._on_step(f"take {name} {version} from the kit that is there")
            self.flags += self._plugins[name].flags(folder, version)
        for file in kit.sums:
            if file not in kit.programs and not file.startswith("libmvdeploy_"):
                shutil.copyfile(folder / file, into / file)
        self.sources += kit.sources
        return dict(kit.engines)

    def _from_form(self, plugin: NativePlugin, form: AndroidBuild, given: str, into: Path) -> str:
        """Copy the libraries of an engine's own build to a kit; return its version."""
        work = self._work / form.option.name
        work.mkdir()
        path = source = Path(given)
        if form.npm is not None:
            source = npm.archive(given, form.npm, work, self._on_step)
            path = npm.unpack(source, form.npm, work)
        architecture = self._toolchain.architecture
        unpacked = form.unpack(path, architecture, work)
        version = form.take(unpacked, architecture, into)
        for concern in form.concerns(unpacked, version):
            self._on_step(f"Warning: {concern.replace(str(unpacked), given)}")
        self.flags += plugin.flags(unpacked, version)
        sha256 = files.sha256(source) if source.is_file() else ""
        self.sources.append(Source(source.name, version, sha256))
        return version


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
