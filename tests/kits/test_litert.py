"""LiteRT for Android, as an archive that a user has."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from mvdeploy import engines
from mvdeploy.errors import UsageError
from mvdeploy.files import elf
from mvdeploy.kits import ANDROID, build, zig
from mvdeploy.kits.build import Android
from tests.android.fixtures import demand
from tests.files.elves import make_elf

PLUGIN = engines.native()["litert"]
(FORM,) = PLUGIN.android
NEEDED = "LiteRtGetProfilerEvents"
ABIS = {"aarch64": "arm64-v8a", "x86_64": "x86_64"}


def library(architecture: str = "aarch64", *defined: str) -> bytes:
    return make_elf(
        "libLiteRt.so",
        machine=architecture,
        needed=("libc.so", "liblog.so"),
        defined=defined or (NEEDED, "LiteRtRunCompiledModel"),
    )


def make_aar(path: Path, content: bytes, abi: str = "arm64-v8a") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("AndroidManifest.xml", "<manifest/>")
        archive.writestr(f"jni/{abi}/libLiteRt.so", content)
    return path


@pytest.mark.parametrize("architecture", ABIS)
def test_a_kit_is_built_of_an_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    demand(f"the package {zig.PACKAGE}", zig.installed() is not None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    aar = make_aar(tmp_path / "litert-2.4.1.aar", library(architecture), ABIS[architecture])
    folder, kit = build.kit(architecture, Android(None, {"litert_aar": str(aar)}))
    assert (kit.build, kit.engines) == (ANDROID, {"litert": "2.4.1"})
    assert set(kit.sums) == {"mvdeploy-runner", "libmvdeploy_litert.so", "libLiteRt.so"}
    about = elf.read(folder / "libmvdeploy_litert.so")
    assert (about.machine, about.alignment) == (architecture, 65536)
    assert set(about.needed) <= {"libc.so", "libdl.so"}
    # The library does not say its version: the plug-in has it from the archive's name.
    assert b"2.4.1\0" in (folder / "libmvdeploy_litert.so").read_bytes()
    assert (folder / "libLiteRt.so").read_bytes() == library(architecture)


REFUSED: dict[str, tuple[str, bytes, str, str]] = {
    "no archive": ("litert-2.3.0.aar", b"", "", "is no archive of LiteRT for Android"),
    "of another architecture": (
        *("litert-2.3.0.aar", library(), "x86"),
        "is no archive of LiteRT for Android",
    ),
    "damaged": ("litert-2.3.0.aar", library()[:80], "arm64-v8a", "cannot be used"),
    "too old": (
        *("litert-2.3.0.aar", library("aarch64", "LiteRtOther"), "arm64-v8a"),
        f"is too old: it lacks {NEEDED}",
    ),
    "of no version": ("litert.aar", library(), "arm64-v8a", "version of LiteRT in"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused(tmp_path: Path, case: str) -> None:
    name, content, abi, said = REFUSED[case]
    path = make_aar(tmp_path / name, content, abi) if abi else tmp_path / name
    if not abi:
        path.write_bytes(b"no archive")
    with pytest.raises(UsageError) as error:
        FORM.take(path, "aarch64", tmp_path)
    assert said in error.value.message and error.value.message.endswith(".")
    assert "litert-VERSION.aar" in error.value.remedy


def test_the_files_of_the_plug_in_are_those_that_cmake_is_told() -> None:
    from mvdeploy import kits

    told = (kits.code() / "engines" / "litert.cmake").read_text()
    assert set(PLUGIN.sources) == {"engines/litert.c", "dtypes.c"}
    assert "PRIVATE dtypes.c)" in told
    assert PLUGIN.flags(Path(), "2.3.0") == ("-DLITERT_VERSION=2.3.0",)
