"""A toolchain for Android without an NDK: clang and lld, as the package ziglang brings them.

What else an NDK has is made here. Headers are musl's, which are in the package as well: on 64-bit
processors its types are laid out as Android's for what the runner uses. Android's libraries are
stood in for, when something is linked, by ones that have nothing but the names in `SYMBOLS`. So it
builds C only; C++ needs an NDK, which has a C++ library.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import mvdeploy
from mvdeploy.engines import NativePlugin
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.kits import ANDROID
from mvdeploy.kits.toolchain import ANDROID_LEVEL, Toolchain, demand_known, run

PACKAGE = "ziglang"
REQUIREMENT = "ziglang>=0.17,<0.18"
"""As pyproject.toml has it: what its compiler takes and where headers are changes with releases."""

LINKER = "/system/bin/linker64"
"""The program that loads programs on Android."""

PAGE = 65536
"""What programs and libraries are aligned to, in bytes: as large as pages of Linux on arm64 get."""

_LIBC = """
    __errno __libc_init _exit access alphasort calloc clock_getres clock_gettime close closedir
    dprintf dup2 fclose fcntl fgets fileno fopen fork fread free fscanf fstat ftell fwrite
    getpid getrusage memchr memcmp memcpy memmove memset mkdir mmap munmap open opendir
    posix_memalign prctl qsort read readdir readlink realloc remove rename scandir
    sched_getaffinity sched_setaffinity setenv signal snprintf stat stderr strchr strcmp strcspn
    strdup strerror strlen strncmp strrchr strsignal strspn strstr strtod strtol strtoll tolower
    vsnprintf waitpid write
"""
_LIBDL = "dladdr dlerror dlopen dlsym"

SYMBOLS: Mapping[str, frozenset[str]] = {
    "libc.so": frozenset(_LIBC.split()),
    "libdl.so": frozenset(_LIBDL.split()),
}
"""What may be used of Android's libraries, by library; all of it is there at API level 28.

Before a function is added here, see that musl's headers and Android's agree on the types and the
constants that it is used with: they do not on ``struct sigaction``, ``jmp_buf``, the numbers of
``sysconf`` and the types of pthreads.
"""

_VARIABLES = frozenset(("stderr",))
"""Those that are no functions, but pointers."""

_C_FLAGS = (
    *("-std=gnu11", "-O2", "-DNDEBUG", "-fPIC", "-fvisibility=hidden", "-fno-sanitize=all"),
    # Android's own compilers define the first; the second is musl's name for the function.
    *("-D__BIONIC__=1", "-D__errno_location=__errno", "-nostdinc"),
)
_RUNNER_FLAGS = (
    "-D_POSIX_C_SOURCE=200809L",
    f'-DMVDEPLOY_VERSION="{mvdeploy.__version__}"',
)
_LINK_FLAGS = (
    *("-s", "-z", f"max-page-size={PAGE}", "-z", "now", "-z", "relro", "-z", "defs"),
    *("--hash-style=gnu", "--eh-frame-hdr", "--build-id", "--as-needed"),
    # A kit is moved after it was built: libraries are looked for beside what needs them.
    *("-rpath", "$ORIGIN", "--enable-new-dtags"),
)
_KERNEL_HEADERS = {"aarch64": "aarch64-linux-any", "x86_64": "x86-linux-any"}
_START = "android/start.c"


def installed() -> Path | None:
    """Return the folder of the package; None when it is not installed."""
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    return Path(str(package.locate_file(PACKAGE)))


def find(architecture: str) -> Toolchain:
    """Return what builds programs for Android without an NDK.

    Raises:
        DeviceUnavailable: there is no runner for that architecture, or no such package.
    """
    demand_known(architecture)
    folder = installed()
    if folder is None:
        raise DeviceUnavailable(
            f"The runner cannot be built for Android: there is no package {PACKAGE}.",
            f"Install it: pip install '{REQUIREMENT}'; or set ANDROID_NDK_HOME to the folder of "
            "an unpacked NDK.",
        )
    program = str(folder / "zig")
    return ZigToolchain(architecture, ANDROID, program, program, ())


class ZigToolchain(Toolchain):
    """Builds C for Android with what is in the package."""

    @property
    def version(self) -> str:
        """The package and its version."""
        return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"

    def library_flags(self, _needed: Collection[str]) -> tuple[str, ...]:
        """Return none: there is no C++ library."""
        return ()

    def system_libraries(self, _needed: Collection[str]) -> tuple[tuple[Path, str], ...]:
        """Return none: the C library is the device's."""
        return ()

    def make(
        self,
        source: Path,
        work: Path,
        engines: Mapping[str, NativePlugin],
        flags: Sequence[str],
    ) -> None:
        """Build the runner and the plug-ins of engines, all of them of C; see `Toolchain.make`.

        What CMake would be given as variables, the plug-ins' code has as texts.
        """
        work.mkdir()
        runner = [path.name for path in sorted(source.glob("*.c"))]
        objects = [self._compile(source, work, name, _RUNNER_FLAGS) for name in (_START, *runner)]
        libraries = [self._stand_in(work, name) for name in SYMBOLS]
        words = ("-pie", "--dynamic-linker", LINKER)
        self._link(work, "mvdeploy-runner", (*words, *objects), libraries)
        given = (flag.partition("=") for flag in flags if flag.startswith("-D"))
        texts = tuple(f'{name}="{value}"' for name, _, value in given)
        for name, plugin in engines.items():
            library = f"libmvdeploy_{name}.so"
            own = [self._compile(source, work, file, texts) for file in plugin.sources]
            self._link(work, library, ("-shared", "-soname", library, *own), libraries)

    def _compile(self, source: Path, work: Path, name: str, more: Sequence[str] = ()) -> str:
        made = f"{name.replace('/', '-')}-{len(more)}.o"
        include = Path(self.compiler).parent / "lib"
        libc = include / "libc" / "include"
        headers = (
            include / "include",  # the compiler's own
            libc / f"{self.architecture}-linux-musl",
            libc / "generic-musl",
            libc / _KERNEL_HEADERS[self.architecture],
            libc / "any-linux-any",
        )
        folders = (word for folder in headers for word in ("-isystem", str(folder)))
        target = f"{self.architecture}-linux-android.{ANDROID_LEVEL}"
        words = ("-target", target, *_C_FLAGS, *more, *folders)
        self._zig(work, "cc", *words, "-c", str(source / name), "-o", made)
        return made

    def _stand_in(self, work: Path, name: str) -> str:
        """Make a library that has the names of one of Android's, and nothing else."""
        lines = []
        for symbol in sorted(SYMBOLS[name]):
            if symbol in _VARIABLES:
                lines += [".data", f".globl {symbol}", f".type {symbol}, %object"]
                lines += [f".size {symbol}, 8", f"{symbol}: .quad 0"]
            else:
                lines += [".text", f".globl {symbol}", f".type {symbol}, %function"]
                lines += [f"{symbol}: .byte 0"]
        lines += ['.section .note.GNU-stack, "", %progbits', ""]
        (work / f"{name}.s").write_text("\n".join(lines), encoding="utf-8")
        target = f"{self.architecture}-linux-musl"
        self._zig(work, "cc", "-target", target, "-c", f"{name}.s", "-o", f"{name}.o")
        self._zig(work, "ld.lld", "-shared", "-soname", name, f"{name}.o", "-o", name)
        return name

    def _link(self, work: Path, made: str, words: Sequence[str], libraries: Sequence[str]) -> None:
        try:
            self._zig(work, "ld.lld", *_LINK_FLAGS, "-o", made, *words, *libraries)
        except DeviceUnavailable as error:
            missing = re.search(r"undefined (?:\w+ )?symbol: (\w+)", error.message)
            if missing is None:
                raise
            raise DeviceUnavailable(
                f"{made} needs {missing[1]}, which is not among what is known of the libraries of "
                f"Android with API level {ANDROID_LEVEL}.",
                "Build the kit with an Android NDK: set ANDROID_NDK_HOME to the folder of one.",
            ) from error

    def _zig(self, work: Path, *words: str) -> None:
        # Its caches would be left in the user's folder, and in that of the command.
        caches = {f"ZIG_{kind}_CACHE_DIR": str(work / "cache") for kind in ("GLOBAL", "LOCAL")}
        run([self.compiler, *words], work, caches)
