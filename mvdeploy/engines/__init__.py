"""Engines: how each runs an artifact, and how its profile is read.

An engine is one file in this folder, called as the engine is, with ``_`` for ``-``. It is light to
import (the engine itself is imported when a session is opened) and has:

``TITLE``
    its name as its makers write it, for reports; an engine without it is called by its file's.
``FORMATS``
    the export formats it runs.
``PACKAGES``
    the distributions that it is.
``PROFILE_COMPANIONS``
    names of the files beside a profile that are needed to read it.
``version()``
    the engine's version, without importing the engine.
``start()``
    imports the engine, so that its import does not count as loading a model.
``open_session(request)``
    an `EngineSession` ready to run what a `SessionRequest` asks for; called in a runner's own
    process.
``options(threads)``
    what `open_session` sets when no option is chosen, by name: the conditions that a latency was
    taken under. An engine with nothing to set may lack it.
``OPTIONS``
    what a user may choose about its sessions, a tuple of `mvdeploy.plugins.Option`; an engine may
    lack it.
``for_precision(precision)``
    values of its `OPTIONS`, by name, that its sessions have for a file of a precision unless others
    are chosen; an engine whose files say in what they are computed lacks it.
``lacks(precision, architecture)``
    in a clause, why it cannot run a precision on chips of an architecture (``x86_64``,
    ``aarch64``); empty where it can. An engine without it can run all that its formats have.
``emulated(precision, architecture)``
    in a clause, why what it runs is not computed in the precision's own numbers there, so that its
    latency is not that of the precision; empty where it is. An engine may lack it.
``prefers(format_name, precision)``
    the format's own options, by name, with which it runs a program of a precision fastest. A
    network is exported so for being measured in it, unless a program for any engine is asked for;
    an engine without it takes what the format writes of itself.
``RUNNING_SUMS``
    names of precisions in which its kernels add up products, where they are not emulated, which
    costs more digits than rounding the results; an engine may lack it.
``TIE``
    how many steps a whole number may be from what is computed in floats, where that is more than a
    half for its kernels; see `mvdeploy.verify.emulated`. An engine may lack it.
``RUNNERS``
    the programs that it can be run by: ``host`` (on this machine, in Python), ``native`` (on phones
    and boards, by a plug-in that `NATIVE` describes), or one of its own. An engine without it is
    run on this machine.
``MAY_CRASH``
    whether a damaged file can end the process that runs it. Files that are opened are then run once
    in a process of their own before. An engine without it returns from all files.
``ENVIRONMENT``
    the environment variables by which its kernels or threads are chosen, a tuple of names in which
    a ``*`` stands for any letters; an engine may lack it. See `chosen_by_environment`.
``WORDS``
    a sentence and a remedy for each code of a finding that only its profiles give; figures stand in
    braces. An engine may lack it.
``NATIVE``
    what its plug-in for the native runner is built from, a `NativePlugin`.
``WEB``
    what it is in a browser, a `WebPlugin`. One that is another engine, compiled for browsers, is
    called as that with ``-web`` behind it: reports hold the two against each other.
``ARCHITECTURE``
    what its code is compiled for, where that is not the processor: ``wasm``; see `lacks`.
``NO_PROFILER``
    why its operators cannot be timed, a clause; only engines without a profiler have it.
``complete_profile(model, folder)``
    writes what `read_profile` needs beside a profile that was fetched, and the device cannot give;
    an engine may lack it.
``read_tensors(request, names)``
    tensors inside the program, by name, for finding where an export departs from its reference.
``read_profile(artifact, path, runs)``
    the `OperatorTimes` of the last `runs` inferences in the profile file `path`; called where the
    report is made, without the engine.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib.metadata
import platform
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from mvdeploy import plugins
from mvdeploy.errors import EngineError, UsageError
from mvdeploy.plugins import Option
from mvdeploy.records import Artifact, DeviceProfile, Job, OperatorTimes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Tensor = npt.NDArray[np.generic]


REQUIRED = (
    *("FORMATS", "PACKAGES", "PROFILE_COMPANIONS", "version", "start", "open_session"),
    *("read_tensors", "read_profile"),
)
"""What every engine's file has."""


_SHARED = (
    *("OMP_*", "GOMP_*", "KMP_*", "MKL_*", "DNNL_*", "ONEDNN_*", "OPENBLAS_*", "VECLIB_*"),
    *("LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "GLIBC_TUNABLES", "MALLOC_*"),
)
"""Environment variables of libraries that engines share."""


@dataclasses.dataclass(frozen=True)
class SessionRequest:
    """What an engine is to load, and how.

    Attributes:
        path: the artifact.
        inputs: input tensors by name, in the program's order.
        threads: inference threads.
        profile_to: folder for the engine's own profile; None to run without.
        outputs: names of the outputs in the program's order, for engines whose files do not name
            them; others ignore it. Without it these outputs are ``output_0``, ``output_1``, …
        options: chosen values of the engine's `OPTIONS`, by name; its defaults hold for the rest.
    """

    path: Path
    inputs: Mapping[str, Tensor]
    threads: int = 1
    profile_to: Path | None = None
    outputs: tuple[str, ...] = ()
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)


class EngineSession(Protocol):
    """A loaded model with its input in place."""

    @property
    def infer(self) -> Callable[[], object]:
        """What runs one inference, and returns when its outputs are there.

        A plain callable, so that the timed loop pays for nothing else.
        """

    def feed(self, inputs: Mapping[str, Tensor]) -> None:
        """Replace the input tensors."""

    def outputs(self) -> dict[str, Tensor]:
        """Return the output tensors of the last inference, by name."""

    def end_profile(self) -> Path | None:
        """Finish the engine's profile and return its file; None when it was not profiled."""


@dataclasses.dataclass(frozen=True)
class NpmFile:
    """A file in an npm package.

    Attributes:
        package: its name.
        path: of the file in it.
    """

    package: str
    path: str


@dataclasses.dataclass(frozen=True)
class AndroidBuild:
    """An engine's own build for Android, in one of the forms in which a user may have it.

    Attributes:
        option: how it is given; no two share a name.
        take: copies its libraries for an architecture (``aarch64``) into a kit; returns its
            version, or raises a `UsageError`.
        concerns: sentences about what a user should know of it, by its path and version.
        unpack: what was given, the architecture and an empty folder → what `take`, `concerns` and
            the flags of the plug-in are given; raises a `UsageError`.
        npm: where it is an npm package that is given, as a file or as a version: which, and the
            file in it that `unpack` is given.
    """

    option: Option
    take: Callable[[Path, str, Path], str]
    concerns: Callable[[Path, str], tuple[str, ...]] = lambda _path, _version: ()
    unpack: Callable[[Path, str, Path], Path] = lambda given, _architecture, _into: given
    npm: NpmFile | None = None


def _no_flags(_folder: Path, _version: str) -> tuple[str, ...]:
    return ()


@dataclasses.dataclass(frozen=True)
class NativePlugin:
    """What an engine's plug-in for the native runner is built from.

    Attributes:
        package: distribution that has the libraries, in its wheel for the device's architecture.
        libraries: patterns of their paths in it; of each the first is taken.
        flags: CMake's, by the folder that the package is in (or an Android build) and its version.
        android: the forms in which a build for Android is given; empty when there is none.
        sources: its files, by their path in the native runner's folder, where these are C and need
            nothing else; empty where it takes CMake and a C++ compiler.
    """

    package: str
    libraries: tuple[str, ...]
    flags: Callable[[Path, str], tuple[str, ...]] = _no_flags
    android: tuple[AndroidBuild, ...] = ()
    sources: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class WebPlugin:
    """What an engine is in a browser: files out of npm packages.

    Attributes:
        package: that has the engine; its version is the engine's.
        tried: the version that was tried, which is fetched when none is given.
        files: paths of its files in the packages (``package/path``) → names of the copies that are
            served; files are not in folders.
        imports: what its modules import by the name of a package → the name of the copy.
        modules: scripts, by the names of their copies, that are also served as modules, as
            ``NAME.module.mjs`` → the variable that such a module exports.
        for_gpu: names of the copies that WebAssembly does without.
    """

    package: str
    tried: str
    files: Mapping[str, str]
    imports: Mapping[str, str] = dataclasses.field(default_factory=dict)
    modules: Mapping[str, str] = dataclasses.field(default_factory=dict)
    for_gpu: tuple[str, ...] = ()


class Engine(Protocol):
    """What an engine's file has; see the module's docstring, also for what it may lack."""

    FORMATS: tuple[str, ...]
    PACKAGES: tuple[str, ...]
    PROFILE_COMPANIONS: tuple[str, ...]

    def start(self) -> None:
        """Import the engine."""

    def version(self) -> str:
        """Return the engine's version."""

    def open_session(self, request: SessionRequest) -> EngineSession:
        """Load an artifact."""

    def read_tensors(self, request: SessionRequest, names: Collection[str]) -> dict[str, Tensor]:
        """Run an artifact once and return those of its inner tensors that it has."""

    def read_profile(self, artifact: Artifact, path: Path, runs: int) -> OperatorTimes:
        """Read what `EngineSession.end_profile` left."""


def names() -> tuple[str, ...]:
    """Return the names of all engines."""
    return tuple(name.replace("_", "-") for name in plugins.names(__name__))


def get(name: str) -> Engine:
    """Return an engine by name.

    Raises:
        UsageError: there is no such engine.
    """
    if name.replace("_", "-") not in names():
        raise plugins.unknown("engine", name, names())
    return cast(Engine, plugins.load(__name__, name.replace("-", "_"), "engine"))


def title(name: str) -> str:
    """Return what reports call an engine; one that is not known here, by its name."""
    if name not in names():
        return name
    said: str = getattr(get(name), "TITLE", name)
    return said


def options(
    engine: Engine, threads: int, chosen: Mapping[str, str] | None = None
) -> dict[str, str | int]:
    """Return what an engine's sessions are opened with, by name; empty if its file does not say.

    Args:
        engine: the engine.
        threads: inference threads.
        chosen: values of its options, by name.

    Raises:
        UsageError: the engine has no such option, or the option no such value.
    """
    defaults: Callable[[int], dict[str, str | int]] = getattr(engine, "options", lambda _: {})
    return with_chosen(getattr(engine, "OPTIONS", ()), defaults(threads), chosen or {})


def with_chosen(
    available: Sequence[Option], defaults: Mapping[str, str | int], chosen: Mapping[str, str]
) -> dict[str, str | int]:
    """Return an engine's defaults with what was chosen in their place.

    Args:
        available: its options.
        defaults: what it sets otherwise, by name.
        chosen: values of options, by name.

    Raises:
        UsageError: there is no such option, or the option has no such value.
    """
    by_name = {option.name: option for option in available}
    for name, value in chosen.items():
        if name not in by_name:
            raise UsageError(
                f"The engine has no option '{name}'.",
                f"Options it has: {', '.join(by_name) or 'none'}.",
            )
        choices = by_name[name].choices
        if choices and value not in choices:
            raise UsageError(
                f"The engine's option '{name}' cannot be '{value}'.",
                f"Choose one of: {', '.join(choices)}.",
            )
    return {**defaults, **chosen}


def options_of(job: Job) -> dict[str, dict[str, str | int]]:
    """Return what the sessions of a job will be opened with, by engine.

    An option that the models of one engine do not share has all its values, separated by commas.

    Raises:
        UsageError: an engine has no such option, or the option no such value.
    """
    merged: dict[str, dict[str, list[str | int]]] = {}
    for model in job.models:
        values = merged.setdefault(model.engine, {})
        for name, value in options(get(model.engine), job.threads, model.options).items():
            values.setdefault(name, []).append(value)
    return {
        engine: {name: _joined(values) for name, values in by_name.items()}
        for engine, by_name in merged.items()
    }


def _joined(values: Iterable[str | int]) -> str | int:
    distinct = list(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else ", ".join(map(str, distinct))


def output_names(path: Path, given: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return the names of a program's outputs, whose file does not name them.

    Args:
        path: of the program.
        given: names in its order; empty for ``output_0``, ``output_1``, …
        count: how many outputs it has.

    Raises:
        EngineError: there are more or fewer names than outputs.
    """
    if given and len(given) != count:
        raise EngineError(
            f"{path} has {count} outputs, and {len(given)} names were given for them "
            f"({', '.join(given)}).",
            "Give names as the program's manifest lists them, or export it anew.",
        )
    return given or tuple(f"output_{i}" for i in range(count))


def run_by(runner: str) -> tuple[str, ...]:
    """Return the engines that a program can run: ``host``, ``native``, or an engine's own."""
    return tuple(name for name in names() if runner in getattr(get(name), "RUNNERS", ("host",)))


def native() -> dict[str, NativePlugin]:
    """Return what the plug-ins for the native runner are built from, by engine."""
    return {name: get(name).NATIVE for name in run_by("native")}  # type: ignore[attr-defined]


def web(engine: str) -> WebPlugin:
    """Return what an engine is in a browser.

    Raises:
        UsageError: it runs in none.
    """
    plugin: WebPlugin | None = getattr(get(engine), "WEB", None)
    if plugin is None:
        known = ", ".join(name for name in names() if hasattr(get(name), "WEB"))
        raise UsageError(f"{engine} does not run in browsers.", f"Choose one of: {known}.")
    return plugin


def chosen_by_environment(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the environment variables that choose kernels or threads, as ``NAME=value``.

    Those are what engines declare, and what is read by libraries below them: thread pools, linear
    algebra, the loader, memory.

    Args:
        variables: of an environment, by name.
    """
    declared = (pattern for name in names() for pattern in getattr(get(name), "ENVIRONMENT", ()))
    read = re.compile("|".join(map(fnmatch.translate, (*_SHARED, *declared))))
    return tuple(
        f"{name}={value}"
        for name, value in sorted(variables.items())
        if value and read.match(name) and "TELEMETRY" not in name
    )


def declared(engine: str) -> tuple[Option, ...]:
    """Return what can be chosen about the sessions of an engine."""
    return getattr(get(engine), "OPTIONS", ())


def preferred(engine: str, format_name: str, precision: str) -> Mapping[str, str]:
    """Return the options of a format, by name, with which an engine runs programs fastest."""
    own: Callable[[str, str], Mapping[str, str]] | None = getattr(get(engine), "prefers", None)
    return own(format_name, precision) if own is not None else {}


def no_profiler(engine: str) -> str:
    """Return why the operators of an engine cannot be timed; empty if they can."""
    return str(getattr(get(engine), "NO_PROFILER", ""))


def words(engine: str) -> Mapping[str, tuple[str, str]]:
    """Return what the findings of an engine's profiles say."""
    own: Mapping[str, tuple[str, str]] = getattr(get(engine), "WORDS", {})
    return own


def lacks(engine: str, precision: str, architecture: str) -> str:
    """Return why an engine cannot run a precision on an architecture; empty where it can."""
    return _clause("lacks", engine, precision, architecture)


def emulated(engine: str, precision: str, architecture: str) -> str:
    """Return why an engine computes in other numbers than a precision's; empty for its own."""
    return _clause("emulated", engine, precision, architecture)


def _clause(function: str, engine: str, precision: str, architecture: str) -> str:
    say: Callable[[str, str], str] = getattr(get(engine), function, lambda *_: "")
    architecture = getattr(get(engine), "ARCHITECTURE", architecture)
    return say(precision, architecture) if architecture else ""


def has_running_sums(engine: str, precision: str, architecture: str) -> bool:
    """Say whether an engine's kernels add up products in a precision, on an architecture."""
    own: tuple[str, ...] = getattr(get(engine), "RUNNING_SUMS", ())
    return precision in own and not emulated(engine, precision, architecture)


_MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}


def architecture() -> str:
    """Return the architecture of this machine, by Linux's name on every system."""
    machine = platform.machine().lower()
    return _MACHINES.get(machine, machine)


def architecture_of(device: DeviceProfile) -> str:
    """Return the architecture of a device; empty when its chip is not known before it answers.

    Chips for x86-64 differ in what they compute in, which is known of this machine's alone.
    """
    return architecture() if device.link == "host" else device.architecture.replace("x86_64", "")


def missing(engine: str) -> tuple[str, ...]:
    """Return those distributions of an engine that are not installed here."""
    return tuple(name for name in get(engine).PACKAGES if not _is_installed(name))


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def demand(engine: str) -> None:
    """Check that an engine is installed here.

    Raises:
        UsageError: it is not.
    """
    absent = missing(engine)
    if absent:
        raise UsageError(
            f"The engine '{engine}' is not installed here ({', '.join(absent)}).",
            f"Install it: pip install {requirements(absent)}.",
        )


def requirements(packages: Iterable[str]) -> str:
    """Return packages as pip is told of them, in the versions that mvdeploy takes."""
    known = {
        re.split(r"[^\w.-]", line, maxsplit=1)[0]: line.partition(";")[0].replace(" ", "")
        for line in importlib.metadata.requires("mvdeploy") or ()
    }
    return " ".join(f"'{known.get(name, name)}'" for name in packages)


def session_options(engine: str, precision: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return what is chosen of an engine's options for a file of a precision.

    Args:
        engine: its name.
        precision: of the file.
        given: what a user chose, by name, also for other engines.
    """
    own: Callable[[str], Mapping[str, str]] = getattr(get(engine), "for_precision", lambda _: {})
    return {**own(precision), **own_options(engine, given)}


def own_options(engine: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return those of some options, by name, that an engine has."""
    known = {option.name for option in declared(engine)}
    return {name: value for name, value in given.items() if name in known}


def for_format(format_name: str, engines: tuple[str, ...]) -> str:
    """Return the first of a device's engines that runs a format.

    Raises:
        UsageError: none of them does.
    """
    for name in engines:
        if format_name in get(name).FORMATS:
            return name
    formats = sorted({f for name in engines for f in get(name).FORMATS})
    raise UsageError(
        f"No engine of this device runs the format '{format_name}'.",
        f"Formats it runs: {', '.join(formats)}; 'mvdeploy devices' lists devices with others.",
    )
