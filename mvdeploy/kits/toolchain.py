"""The programs that build the native runner, and what they bring along for a device.

These are a compiler with its own C library, or an Android NDK; `mvdeploy.kits.zig` is one more.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import platform
import re
import shutil
import signal
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import mvdeploy
from mvdeploy.engines import NativePlugin
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.kits import ANDROID, GLIBC, Source

_BUILD_S = 900.0

_LOADERS = {"aarch64": "ld-linux-aarch64.so.1", "x86_64": "ld-linux-x86-64.so.2"}
_LIBRARIES = (
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"),
    *("libstdc++.so.6", "libgcc_s.so.1"),
)
_NDK_TOOLCHAIN = Path("build", "cmake", "android.toolchain.cmake")
_NDK_LIBRARY = "libc++_shared.so"
_ABIS = {"aarch64": "arm64-v8a", "x86_64": "x86_64"}
ANDROID_LEVEL = 28
"""Android 9: what a Pixel 4 came with had 10."""


@dataclasses.dataclass(frozen=True)
class Toolchain:
    """How programs for a device are built.

    Attributes:
        architecture: of the device.
        build: of the kit that it makes.
        compiler: C compiler, as is `cpp` the one for C++.
        flags: for CMake.
    """

    architecture: str
    build: str
    compiler: str
    cpp: str
    flags: tuple[str, ...]

    @property
    def version(self) -> str:
        """What the compiler says of itself."""
        return run([self.compiler, "--version"]).partition("\n")[0].strip()

    def command(self, runner: str) -> tuple[str, ...]:
        """Return the words that start a runner in the folder of its kit."""
        if self.build == ANDROID:
            return ("env", "LD_LIBRARY_PATH=.", f"./{runner}")
        return (f"./{_LOADERS[self.architecture]}", "--library-path", ".", f"./{runner}")

    def library_flags(self, needed: Collection[str]) -> tuple[str, ...]:
        """Return CMake's flags for the C++ library, by what the engines' libraries need.

        A program has one C++ library. Where the engines bring none along that is shared, plug-ins
        have it inside: that of an NDK before r27 is not aligned to pages of 16 KB.
        """
        if self.build != ANDROID:
            return ()
        return (f"-DANDROID_STL={'c++_shared' if _NDK_LIBRARY in needed else 'c++_static'}",)

    def system_libraries(self, needed: Collection[str]) -> tuple[tuple[Path, str], ...]:
        """Return the C and C++ libraries that the programs bring along: file, and name in a kit.

        Args:
            needed: names of the libraries that programs, plug-ins and engines need.

        Raises:
            DeviceUnavailable: one of them is not there.
        """
        if self.build == ANDROID:
            if _NDK_LIBRARY not in needed:
                return ()
            path = _ndk_library(Path(self.compiler), self.architecture)
            return ((path, path.name),)
        names = (_LOADERS[self.architecture], *_LIBRARIES)
        return tuple((_library(self.cpp, name), name) for name in names)

    def make(
        self,
        source: Path,
        work: Path,
        engines: Mapping[str, NativePlugin],
        flags: Sequence[str],
    ) -> None:
        """Build the runner and the plug-ins of engines.

        Args:
            source: folder of the code.
            work: where they are built.
            engines: what the plug-ins are built from.
            flags: for CMake, beside the toolchain's.

        Raises:
            DeviceUnavailable: they cannot be built.
        """
        own = (
            f"-DMVDEPLOY_VERSION={mvdeploy.__version__}",
            f"-DMVDEPLOY_ENGINES={';'.join(engines)}",
        )
        build(self, source, work, (*own, *flags))

    def programs(self, runner: str) -> tuple[str, ...]:
        """Return the names of the files that are executed on the device."""
        return (runner,) if self.build == ANDROID else (_LOADERS[self.architecture], runner)


def find(architecture: str, ndk: Path | None = None) -> Toolchain:
    """Return what builds programs for an architecture.

    Args:
        architecture: ``aarch64`` or ``x86_64``.
        ndk: folder of an Android NDK, for programs that use Android's own C library.

    Raises:
        DeviceUnavailable: something that it takes is not installed.
    """
    demand_known(architecture)
    _need("cmake", "cmake")
    if ndk is not None:
        return _from_ndk(architecture, ndk)
    prefix = "" if platform.machine() == architecture else f"{architecture}-linux-gnu-"
    package = f"g++-{architecture.replace('_', '-')}-linux-gnu" if prefix else "g++"
    compiler, cpp = (_need(f"{prefix}{name}", package) for name in ("gcc", "g++"))
    flags: tuple[str, ...]
    flags = (f"-DCMAKE_C_COMPILER={compiler}", f"-DCMAKE_CXX_COMPILER={cpp}")
    if prefix:
        flags += ("-DCMAKE_SYSTEM_NAME=Linux", f"-DCMAKE_SYSTEM_PROCESSOR={architecture}")
    return Toolchain(architecture, GLIBC, compiler, cpp, flags)


def demand_known(architecture: str) -> None:
    """Refuse an architecture that no runner can be built for."""
    if architecture not in _LOADERS:
        raise DeviceUnavailable(
            f"There is no runner for {architecture}.", f"There is one for {', '.join(_LOADERS)}."
        )


def find_ndk() -> Path | None:
    """Return the folder of the Android NDK that the environment names; None when there is none.

    One that is named itself comes before those of an SDK, of which the newest is taken.
    """
    folders = [
        Path(given)
        for variable in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK")
        if (given := os.environ.get(variable))
    ]
    for variable in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        if given := os.environ.get(variable):
            folders += sorted(Path(given).glob("ndk/*"), key=_version, reverse=True)
    return next((folder for folder in folders if (folder / _NDK_TOOLCHAIN).is_file()), None)


def _version(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder.name)]


def _from_ndk(architecture: str, ndk: Path) -> Toolchain:
    file = ndk / _NDK_TOOLCHAIN
    clang = next(iter(sorted(ndk.glob("toolchains/llvm/prebuilt/*/bin/clang"))), None)
    if not file.is_file() or clang is None:
        raise DeviceUnavailable(
            f"{ndk} is no Android NDK: it lacks {_NDK_TOOLCHAIN} or its compiler.",
            "Give the folder of an unpacked NDK, r25 or newer.",
        )
    flags = (
        f"-DCMAKE_TOOLCHAIN_FILE={file}",
        f"-DANDROID_ABI={_ABIS[architecture]}",
        f"-DANDROID_PLATFORM=android-{ANDROID_LEVEL}",
    )
    return Toolchain(architecture, ANDROID, str(clang), f"{clang}++", flags)


def _ndk_library(clang: Path, architecture: str) -> Path:
    sysroot = clang.parents[1] / "sysroot" / "usr" / "lib" / f"{architecture}-linux-android"
    library = sysroot / _NDK_LIBRARY
    if not library.is_file():
        raise DeviceUnavailable(
            f"The Android NDK is incomplete: it has no {library}.",
            "Unpack it again, or another one, r25 or newer.",
        )
    return library


def _need(program: str, package: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise DeviceUnavailable(
            f"The runner cannot be built: there is no {program}.",
            f"Install it: on Debian 'apt install {package}'.",
        )
    return path


def _library(cpp: str, name: str) -> Path:
    # The compiler answers with the bare name when it has no such file.
    library = Path(run([cpp, f"-print-file-name={name}"]).strip())
    if not library.is_absolute() or not library.exists():
        raise DeviceUnavailable(
            f"The C library for the device is incomplete: {cpp} has no {name}.",
            "Install the compiler's own libraries: on Debian they come with it.",
        )
    return library.resolve()


def package_of(path: Path) -> Source | None:
    """Return the Debian package that a file is from; None where that cannot be told."""
    if shutil.which("dpkg-query") is None:
        return None
    # Debian's own lists have many libraries in /lib, which is a link to /usr/lib.
    for name in (str(path), str(path).removeprefix("/usr")):
        try:
            owner = run(["dpkg-query", "--search", name]).partition(": ")[0].split(",")[0]
            version = run(["dpkg-query", "--show", "--showformat=${Version}", owner]).strip()
        except DeviceUnavailable:
            continue
        return Source(owner.partition(":")[0], version)
    return None


def build(toolchain: Toolchain, source: Path, work: Path, flags: Sequence[str]) -> None:
    """Configure and build the runner.

    Args:
        toolchain: for the device.
        source: folder of the code.
        work: where runner and plug-ins are built.
        flags: for CMake, beside the toolchain's.

    Raises:
        DeviceUnavailable: it cannot be built.
    """
    cmake = shutil.which("cmake") or "cmake"
    settings = ("-DCMAKE_BUILD_TYPE=Release", *toolchain.flags, *flags)
    run([cmake, "-S", str(source), "-B", str(work), *settings])
    run([cmake, "--build", str(work), "--parallel", "2"])


def run(
    words: Sequence[str], folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Run a program and return what it writes.

    Args:
        words: of the command.
        folder: to run it in; None for this one.
        environment: variables for it, beside those that are set.

    Raises:
        DeviceUnavailable: it fails.
    """
    try:
        status, output, errors = _run(words, folder, {**os.environ, **(environment or {})})
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceUnavailable(
            f"{words[0]} could not be run ({error}).", "Check its installation."
        ) from error
    if status != 0:
        raise DeviceUnavailable(
            f"{Path(words[0]).name} failed: {_reason(errors, output)}.",
            "Correct what it says and run again.",
        )
    return output


def _run(
    words: Sequence[str], folder: Path | None, environment: Mapping[str, str]
) -> tuple[int, str, str]:
    """Run a program; it and the compilers that it starts end when this is interrupted."""
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,  # nobody sees what pip may ask for
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        cwd=folder,
        env=environment,
    ) as process:
        try:
            output, error = process.communicate(timeout=_BUILD_S)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, output, error


def _reason(*outputs: str) -> str:
    """Return the first error of some outputs, or else the last line of the first that has one."""
    texts = [[line.strip() for line in text.splitlines() if line.strip()] for text in outputs]
    errors = (_error(lines) for lines in texts)
    last = (lines[-1] for lines in texts if lines)
    reason = next(filter(None, errors), None) or next(last, "it does not say why")
    return reason[:300].rstrip(".:")


def _error(lines: Sequence[str]) -> str:
    for line, following in itertools.pairwise((*lines, "")):
        if "error" in line.lower():
            # CMake says where in a line of its own.
            return f"{line} {following}".strip() if line.endswith(":") else line
    return ""
