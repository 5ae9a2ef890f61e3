"""A file out of an npm package, which is given or downloaded."""

from __future__ import annotations

import io
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy import files, kits
from mvdeploy.engines import NpmFile
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.kits import build, npm, zig
from mvdeploy.kits.build import Android
from tests.android.fixtures import demand
from tests.files.elves import make_elf
from tests.kits.test_build import executable, lacking, make_aar

WANTED = NpmFile("com.example.engine", "Plugins/engine.aar")


def make_package(path: Path, name: str = f"package/{WANTED.path}", data: bytes = b"aar") -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for member, content in (("package/package.json", b"{}"), (name, data)):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return path


def told(given: str, work: Path) -> Path:
    return npm.archive(given, WANTED, work, lambda _: None)


# A file


def test_a_package_is_taken_as_it_is(tmp_path: Path) -> None:
    package = make_package(tmp_path / "engine-1.2.3.tgz")
    assert told(str(package), tmp_path / "nowhere") == package
    copy = npm.unpack(package, WANTED, tmp_path)
    assert copy == tmp_path / "engine.aar" and copy.read_bytes() == b"aar"


def other(path: Path) -> None:
    make_package(path, "package/other.aar")


def elsewhere(path: Path) -> None:
    make_package(path, WANTED.path)


def cut(path: Path) -> None:
    make_package(path, data=bytes(range(256)) * 400)
    path.write_bytes(path.read_bytes()[:-400])


def text(path: Path) -> None:
    path.write_text("<html>")


def empty(path: Path) -> None:
    path.touch()


def link(path: Path) -> None:
    with tarfile.open(path, "w:gz") as packed:
        info = tarfile.TarInfo(f"package/{WANTED.path}")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(info)


def folder_in_it(path: Path) -> None:
    with tarfile.open(path, "w:gz") as packed:
        info = tarfile.TarInfo(f"package/{WANTED.path}")
        info.type = tarfile.DIRTYPE
        packed.addfile(info)


@pytest.mark.parametrize("make", [other, elsewhere, cut, text, empty, link, folder_in_it])
def test_what_is_no_such_package(tmp_path: Path, make: Callable[[Path], None]) -> None:
    package = tmp_path / "engine.tgz"
    make(package)
    said = lacking(lambda: npm.unpack(package, WANTED, tmp_path), UsageError)
    assert said.startswith(f"{package} is no npm package com.example.engine (")
    assert "npm pack com.example.engine" in said
    assert not (tmp_path / "engine.aar").exists()


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npm, "_MOST", 2)
    package = make_package(tmp_path / "engine.tgz")
    assert "too large" in lacking(lambda: npm.unpack(package, WANTED, tmp_path), UsageError)


# A version


@pytest.mark.parametrize("given", ["nowhere.tgz", "latest", "^1.2.3", "1.2", "--help", "1.2.3 x"])
def test_what_is_neither_a_file_nor_a_version(tmp_path: Path, given: str) -> None:
    said = lacking(lambda: told(given, tmp_path), UsageError)
    assert said.startswith(f"{given} is neither a file nor a version of com.example.engine.")


def with_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    executable(tmp_path / "bin/npm", does)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


def test_a_version_is_downloaded_by_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(tmp_path / "engine.tgz")
    wanted = shlex.quote(str(package))
    with_npm(tmp_path, monkeypatch, f'echo "$@" >words; cp {wanted} engine-1.2.3.tgz')
    work = tmp_path / "work"
    work.mkdir()
    steps: list[str] = []
    found = npm.archive("1.2.3", WANTED, work, steps.append)
    assert found == work / "engine-1.2.3.tgz" and found.read_bytes() == package.read_bytes()
    assert (work / "words").read_text().split() == [
        *("pack", "--loglevel=error", "--ignore-scripts", "com.example.engine@1.2.3")
    ]
    assert steps == ["fetch com.example.engine 1.2.3"]


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("echo 'npm error code E404' >&2; exit 1", "could not be fetched: npm failed: npm error"),
        ("exit 0", "could not be fetched: npm left no file"),
    ],
)
def test_a_version_that_cannot_be_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, reason: str
) -> None:
    with_npm(tmp_path, monkeypatch, does)
    assert reason in lacking(lambda: told("1.2.3", tmp_path))


def test_there_is_no_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no npm" in lacking(lambda: told("1.2.3", tmp_path), DeviceUnavailable)


# A kit of one


def test_a_kit_from_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demand(f"the package {zig.PACKAGE}", zig.installed() is not None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    engine = make_elf("libonnxruntime.so", versions=("VERS_1.29.0",))
    aar = make_aar(tmp_path / "onnxruntime.aar", arm64_v8a=engine)
    inside = "package/Plugins/Android/onnxruntime.aar"
    package = make_package(tmp_path / "engine-0.4.9.tgz", inside, aar.read_bytes())
    given = Android(None, {"onnxruntime_npm": str(package)})
    place, kit = build.kit("aarch64", given)
    assert kit.engines == {"onnxruntime": "1.29.0"}
    assert (place / "libonnxruntime.so").read_bytes() == engine
    (source,) = kit.sources
    assert (source.name, source.sha256) == (package.name, files.sha256(package))
    assert kits.load(place) == kit
