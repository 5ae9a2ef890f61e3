"""Engines for browsers: taken out of npm packages, and kept until a browser is given them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mvdeploy import engines, files
from mvdeploy.engines import WebPlugin
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.files import writing
from mvdeploy.kits import npm
from mvdeploy.records.codec import RecordError, dumps, loads

FILE = "web.json"

OnStep = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class WebKit:
    """What ``web.json`` says.

    Attributes:
        engine: its name.
        package: npm's.
        version: of the package.
        sums: SHA-256 of every file, by name; files are not in folders.
    """

    engine: str
    package: str
    version: str
    sums: dict[str, str]

    @property
    def sha256(self) -> str:
        """Return a checksum of all files."""
        lines = (f"{name} {sha256}\n" for name, sha256 in sorted(self.sums.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def place(engine: str) -> Path:
    """Return the folder of an engine's files; it may not exist."""
    return files.user_folder("cache") / "kits" / "web" / engine


def find(engine: str) -> tuple[Path, WebKit]:
    """Return an engine's folder, and what is in it.

    Raises:
        DeviceUnavailable: it is not there.
        UsageError: it is damaged, or lacks files that are needed now.
    """
    folder = place(engine)
    anew = "Fetch it with 'mvdeploy devices setup chrome', or take it from a folder with --npm DIR."
    try:
        kit = loads(WebKit, (folder / FILE).read_text(encoding="utf-8"), str(folder / FILE))
    except OSError as error:
        title = engines.title(engine)
        raise DeviceUnavailable(f"{title} for browsers is not there yet.", anew) from error
    except (UnicodeDecodeError, RecordError) as error:
        raise UsageError(f"{folder} cannot be used ({error}).", anew) from error
    if set(kit.sums) != set(_names(engines.web(engine))):
        raise UsageError(f"{folder} was made by another version of mvdeploy.", anew)
    for name, sha256 in kit.sums.items():
        path = folder / name
        if Path(name).name != name or not path.is_file() or files.sha256(path) != sha256:
            raise UsageError(f"The file {name} of {engine} in {folder} is damaged.", anew)
    return folder, kit


def install(engine: str, given: Path | None, on_step: OnStep = lambda _: None) -> WebKit:
    """Take an engine out of a folder of npm's, or have npm fetch the version that was tried.

    Args:
        engine: its name.
        given: a folder with ``node_modules``, that folder, or the package's own; None to fetch it.
        on_step: is told what begins.

    Raises:
        UsageError: the package is not in the folder, or lacks a file.
        DeviceUnavailable: it cannot be fetched.
        NotWritten: there is no room for it.
    """
    plugin = engines.web(engine)
    with _source(plugin, given, on_step) as source:
        version = _version(source, plugin.package)
        contents = {name: _read(source, path, plugin) for path, name in plugin.files.items()}
    for package, name in plugin.imports.items():
        contents = {k: _with_import(k, text, package, name) for k, text in contents.items()}
    for name, variable in plugin.modules.items():
        module = contents[name] + f"\nexport default {variable};\n".encode()
        contents[_module(name)] = module
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    kit = WebKit(engine, plugin.package, version, sums)
    folder = place(engine)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with writing.whole(folder) as part:
        part.mkdir()
        for name, content in contents.items():
            writing.fill(part / name, content)
        writing.fill(part / FILE, dumps(kit).encode())
    return kit


def _names(plugin: WebPlugin) -> tuple[str, ...]:
    """Return the names of all files that an engine is served as."""
    return (*plugin.files.values(), *map(_module, plugin.modules))


def _module(script: str) -> str:
    return f"{script.removesuffix('.js')}.module.mjs"


def _with_import(name: str, content: bytes, package: str, copy: str) -> bytes:
    """Have a module import the copy of a package by its path: workers know no names of packages."""
    if not name.endswith("js"):
        return content
    return re.sub(
        rb'(["\'])' + re.escape(package.encode()) + rb"\1", f'"./{copy}"'.encode(), content
    )


@contextlib.contextmanager
def _source(plugin: WebPlugin, given: Path | None, on_step: OnStep) -> Iterator[Path]:
    """Give a folder in which packages lie by their names."""
    if given is not None:
        yield _modules(given, plugin)
        return
    with writing.temporary() as work:
        for package in dict.fromkeys(_package(path) for path in plugin.files):
            packed = work / "packed"
            packed.mkdir()
            on_step(f"fetch {package} {plugin.tried}")
            archive = npm.fetch(package, plugin.tried, packed)
            _unpack(archive, package, plugin, work / "node_modules" / package)
            shutil.rmtree(packed)
        yield work / "node_modules"


def _package(path: str) -> str:
    parts = path.split("/")
    return "/".join(parts[: 2 if path.startswith("@") else 1])


def _unpack(archive: Path, package: str, plugin: WebPlugin, into: Path) -> None:
    wanted = {path.removeprefix(f"{package}/") for path in plugin.files} | {"package.json"}
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:gz") as packed:
            for member in packed:
                name = member.name.partition("/")[2]
                file = packed.extractfile(member) if name in wanted and member.isreg() else None
                if file is not None:
                    contents[name] = file.read()
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DeviceUnavailable(
            f"What npm fetched of {package} is damaged ({error}).", "Try again."
        ) from error
    for name, content in contents.items():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        writing.fill(into / name, content)


def _modules(given: Path, plugin: WebPlugin) -> Path:
    """Return the folder in which packages lie by their names, of what somebody gave."""
    depth = plugin.package.count("/") + 1
    above = given.resolve().parents[depth - 1] if len(given.resolve().parents) >= depth else given
    for folder in (given / "node_modules", given, above):
        if (folder / plugin.package / "package.json").is_file():
            return folder
    raise UsageError(
        f"There is no package {plugin.package} in {given}.",
        f"Give the folder in which 'npm install {plugin.package}' was run.",
    )


def _version(source: Path, package: str) -> str:
    path = source / package / "package.json"
    try:
        found: Mapping[str, object] = json.loads(path.read_text(encoding="utf-8"))
        return str(found["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} does not say the version of {package} ({error}).", "Install it again with npm."
        ) from error


def _read(source: Path, path: str, plugin: WebPlugin) -> bytes:
    try:
        return (source / path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"The package {plugin.package} in {source} has no {path} ({error.strerror}).",
            f"Install the version {plugin.tried}, which was tried.",
        ) from error
