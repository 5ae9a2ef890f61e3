"""Engines for browsers, out of npm packages: where they are taken from, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy import engines
from mvdeploy.engines import WebPlugin
from mvdeploy.errors import DeviceUnavailable, MvdeployError, UsageError
from mvdeploy.kits import web
from mvdeploy.records.codec import dumps, loads
from tests.kits.test_build import executable
from tests.web_engines import ENGINES, web_engines

__all__ = ["web_engines"]

LITERT = engines.web("litert-web")
ORT = engines.web("onnxruntime-web")


@pytest.fixture(autouse=True)
def cache(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path | None:
    """A cache with nothing in it, but for tests that ask for the engines."""
    if "web_engines" in request.fixturenames:
        return None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def content(path: str, plugin: WebPlugin) -> bytes:
    imported = "".join(f'import {{a}} from "{name}";\n' for name in plugin.imports)
    return f"{imported}// {path}\n".encode()


def make_packages(folder: Path, *plugins: WebPlugin, version: str = "1.2.3") -> Path:
    """Lay packages in a folder as npm does in node_modules."""
    for plugin in plugins:
        for path in plugin.files:
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content(path, plugin))
        said = json.dumps({"name": plugin.package, "version": version})
        (folder / plugin.package / "package.json").write_text(said)
    return folder


def lacking(call: Callable[[], object], kind: type[MvdeployError] = UsageError) -> str:
    with pytest.raises(MvdeployError) as caught:
        call()
    assert type(caught.value) is kind
    for sentence in (caught.value.message, caught.value.remedy):
        assert re.fullmatch(r"\S[^\n]*\S\.", sentence), sentence
    return str(caught.value)


# The engines themselves


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("web_engines")
def test_an_engine_that_npm_fetched_is_found(engine: str) -> None:
    folder, kit = web.find(engine)
    assert (kit.engine, kit.package) == (engine, engines.web(engine).package)
    assert {path.name for path in folder.iterdir()} == {*kit.sums, web.FILE}


@pytest.mark.usefixtures("web_engines")
def test_no_module_imports_a_package_by_its_name() -> None:
    folder, kit = web.find("litert-web")
    assert b'from "./wasm-utils.js"' in (folder / "index.js").read_bytes()
    for name in kit.sums:
        assert b'"@litertjs/' not in (folder / name).read_bytes()


# A folder that is given


@pytest.mark.parametrize("given", ["project", "project/node_modules", "project/node_modules/{}"])
@pytest.mark.parametrize("plugin", [ORT, LITERT], ids=["plain", "scoped"])
def test_the_folder_may_be_any_of_three(tmp_path: Path, given: str, plugin: WebPlugin) -> None:
    make_packages(tmp_path / "project" / "node_modules", plugin)
    engine = "onnxruntime-web" if plugin is ORT else "litert-web"
    kit = web.install(engine, tmp_path / given.format(plugin.package))
    assert kit.version == "1.2.3"
    folder, found = web.find(engine)
    assert found == kit
    path, name = next(iter(plugin.files.items()))
    assert (folder / name).read_bytes().endswith(f"// {path}\n".encode())


def test_the_folder_may_be_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_packages(tmp_path / "node_modules", ORT)
    monkeypatch.chdir(tmp_path / "node_modules" / "onnxruntime-web")
    assert web.install("onnxruntime-web", Path()).version == "1.2.3"


def test_modules_import_the_copies(tmp_path: Path) -> None:
    make_packages(tmp_path / "node_modules", LITERT)
    kit = web.install("litert-web", tmp_path)
    folder, _ = web.find("litert-web")
    assert 'from "./wasm-utils.js";' in (folder / "index.js").read_text()
    script = (folder / "litert_wasm_internal.js").read_text()
    module = (folder / "litert_wasm_internal.module.mjs").read_text()
    assert module == f"{script}\nexport default ModuleFactory;\n"
    assert set(kit.sums) == {path.name for path in folder.iterdir()} - {web.FILE}


def nothing(modules: Path) -> None:
    pass


def no_version(modules: Path) -> None:
    make_packages(modules, ORT)
    (modules / "onnxruntime-web" / "package.json").write_text("{}")


def no_json(modules: Path) -> None:
    make_packages(modules, ORT)
    (modules / "onnxruntime-web" / "package.json").write_bytes(b"\xff")


def older(modules: Path) -> None:
    make_packages(modules, ORT, version="1.9.0")
    (modules / "onnxruntime-web/dist/ort.wasm.min.mjs").unlink()


def a_folder(modules: Path) -> None:
    older(modules)
    (modules / "onnxruntime-web/dist/ort.wasm.min.mjs").mkdir()


@pytest.mark.parametrize(
    ("lay", "said"),
    [
        (nothing, "There is no package onnxruntime-web in "),
        (no_version, "does not say the version of onnxruntime-web ('version')"),
        (no_json, "does not say the version of onnxruntime-web ("),
        (older, "has no onnxruntime-web/dist/ort.wasm.min.mjs (No such file"),
        (a_folder, "has no onnxruntime-web/dist/ort.wasm.min.mjs (Is a directory"),
    ],
)
def test_a_folder_that_cannot_be_used(
    tmp_path: Path, lay: Callable[[Path], None], said: str
) -> None:
    lay(tmp_path / "node_modules")
    assert said in lacking(lambda: web.install("onnxruntime-web", tmp_path))
    assert not web.place("onnxruntime-web").exists()


def test_a_folder_that_cannot_be_used_leaves_the_engine_that_is_there(tmp_path: Path) -> None:
    make_packages(tmp_path / "node_modules", ORT)
    kit = web.install("onnxruntime-web", tmp_path)
    (tmp_path / "node_modules/onnxruntime-web/dist/ort.wasm.min.mjs").unlink()
    lacking(lambda: web.install("onnxruntime-web", tmp_path))
    assert web.find("onnxruntime-web")[1] == kit


# What is kept


def laid(tmp_path: Path) -> Path:
    make_packages(tmp_path / "node_modules", ORT)
    web.install("onnxruntime-web", tmp_path)
    return web.place("onnxruntime-web")


def find() -> str:
    said = lacking(lambda: web.find("onnxruntime-web"))
    assert "'mvdeploy devices setup chrome'" in said
    return said


def test_nothing_was_fetched_yet() -> None:
    said = lacking(lambda: web.find("onnxruntime-web"), DeviceUnavailable)
    assert said.startswith("ONNX Runtime Web for browsers is not there yet. Fetch it with ")


def test_a_file_that_changed(tmp_path: Path) -> None:
    path = laid(tmp_path) / "ort.wasm.min.mjs"
    path.write_bytes(path.read_bytes() + b" ")
    assert find().startswith("The file ort.wasm.min.mjs of onnxruntime-web in ")


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    (laid(tmp_path) / "ort.wasm.min.mjs").unlink()
    assert "is damaged" in find()


@pytest.mark.parametrize("text", ["", "{}", "\0", '{"schema_version": 99}'])
def test_what_is_said_of_it_is_damaged(tmp_path: Path, text: str) -> None:
    (laid(tmp_path) / web.FILE).write_text(text)
    assert "cannot be used (" in find()


def with_sums(folder: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    kit = loads(web.WebKit, (folder / web.FILE).read_text(), web.FILE)
    changed = dataclasses.replace(kit, sums=change(kit.sums))
    (folder / web.FILE).write_text(dumps(changed))


def test_an_engine_that_another_version_of_this_program_has_laid_there(tmp_path: Path) -> None:
    # It has no module of the script that this version serves.
    with_sums(laid(tmp_path), lambda sums: dict(list(sums.items())[1:]))
    assert "was made by another version of mvdeploy" in find()


def test_a_path_among_the_names_is_not_followed(tmp_path: Path) -> None:
    with_sums(laid(tmp_path), lambda sums: {**sums, "../../../secret": "ab" * 32})
    find()


def test_all_files_make_one_checksum(tmp_path: Path) -> None:
    laid(tmp_path)
    _, kit = web.find("onnxruntime-web")
    first, *_ = kit.sums
    other = dataclasses.replace(kit, sums={**kit.sums, first: "ab" * 32})
    turned = dataclasses.replace(kit, sums=dict(reversed(kit.sums.items())))
    assert len(kit.sha256) == 64 and kit.sha256 == turned.sha256 != other.sha256


def test_an_engine_that_is_none_of_browsers() -> None:
    said = lacking(lambda: web.install("onnxruntime", None))
    assert said.startswith("onnxruntime does not run in browsers. Choose one of: litert-web, ")


# What npm fetches


def with_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    executable(tmp_path / "bin/npm", does)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


def pack(tmp_path: Path, plugin: WebPlugin) -> Path:
    """Make an archive of each package of an engine, as npm does; return their folder."""
    modules = make_packages(tmp_path / "all", plugin)
    packages = {"/".join(path.split("/")[: 1 + path.startswith("@")]) for path in plugin.files}
    for package in packages:
        archive = tmp_path / "packed" / f"{package.replace('/', '-').lstrip('@')}.tgz"
        archive.parent.mkdir(exist_ok=True)
        with tarfile.open(archive, "w:gz") as packed:
            packed.add(modules / package, "package")
    return tmp_path / "packed"


FETCH = """
for last; do :; done
name=$(echo "${last%@*}" | sed 's,/,-,; s,^@,,')
echo "$@" >>WORDS
cp PACKED/$name.tgz .
"""


def test_npm_fetches_the_version_that_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, words = pack(tmp_path, LITERT), tmp_path / "words"
    does = FETCH.replace("PACKED", shlex.quote(str(packed))).replace(
        "WORDS", shlex.quote(str(words))
    )
    with_npm(tmp_path, monkeypatch, does)
    steps: list[str] = []
    kit = web.install("litert-web", None, steps.append)
    assert (kit.version, web.find("litert-web")[1]) == ("1.2.3", kit)  # of the package's own file
    tried = LITERT.tried
    assert [line.split()[-1] for line in words.read_text().splitlines()] == [
        f"@litertjs/core@{tried}",
        f"@litertjs/wasm-utils@{tried}",
    ]
    assert all("--ignore-scripts" in line for line in words.read_text().splitlines())
    assert steps == [f"fetch @litertjs/core {tried}", f"fetch @litertjs/wasm-utils {tried}"]


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("echo 'npm error code E404' >&2; exit 1", "could not be fetched: npm failed: npm error"),
        ("exit 0", "could not be fetched: npm left no file"),
        ("echo no >onnxruntime-web.tgz", "What npm fetched of onnxruntime-web is damaged ("),
    ],
)
def test_what_npm_cannot_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, said: str
) -> None:
    with_npm(tmp_path, monkeypatch, does)
    assert said in lacking(lambda: web.install("onnxruntime-web", None), DeviceUnavailable)


def test_there_is_no_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = lacking(lambda: web.install("onnxruntime-web", None), DeviceUnavailable)
    assert "there is no npm. Install npm, or fetch the package by other means" in said


def test_a_link_in_a_package_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "packed.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        for path in (*(path.partition("/")[2] for path in ORT.files), "package.json"):
            info = tarfile.TarInfo(f"package/{path}")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
            archive.addfile(info)
    with_npm(tmp_path, monkeypatch, f"cp {shlex.quote(str(packed))} onnxruntime-web.tgz")
    said = lacking(lambda: web.install("onnxruntime-web", None))
    assert "does not say the version of onnxruntime-web (" in said
    assert not web.place("onnxruntime-web").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_there_is_no_room(tmp_path: Path, cache: Path) -> None:
    make_packages(tmp_path / "node_modules", ORT)
    cache.mkdir(mode=0o500)
    assert "cannot be written" in lacking(lambda: web.install("onnxruntime-web", tmp_path))
