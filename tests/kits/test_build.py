"""Building runner kits: what is missing is named, and nothing half is left."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
import platform
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy import engines, files, kits
from mvdeploy.engines import NativePlugin
from mvdeploy.engines.executorch import android as executorch_android
from mvdeploy.errors import DeviceUnavailable, MvdeployError, UsageError
from mvdeploy.kits import ANDROID, FILE, GLIBC, Kit, Source, build, zig
from mvdeploy.kits import toolchain as toolchains
from mvdeploy.kits.build import Android
from mvdeploy.kits.toolchain import Toolchain
from mvdeploy.records.codec import dumps
from tests.android.fixtures import demand
from tests.android.kit import aarch64_kit
from tests.files.elves import make_elf
from tests.runners.native_kit import NativeRunner, arm64_native, failure, with_model
from tests.runners.test_native_engines import executorch_job

__all__ = ["aarch64_kit", "arm64_native"]

HERE = platform.machine()
OTHER = "aarch64" if HERE == "x86_64" else "x86_64"
PREFIX = f"{OTHER}-linux-gnu-"

PLUGINS = engines.native()
take = PLUGINS["onnxruntime"].android[0].take

FLAGS = {f.option.name: f.option.flag for p in PLUGINS.values() for f in p.android}

NDK_VARIABLES = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK")
SDK_VARIABLES = ("ANDROID_HOME", "ANDROID_SDK_ROOT")
TOOLCHAIN_FILE = "build/cmake/android.toolchain.cmake"

MakePrograms = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own; no NDKs in the environment."""
    for name in (*NDK_VARIABLES, *SDK_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePrograms:
    """Return a function that leaves nothing but some programs on PATH; they do one thing."""

    def make(*names: str, does: str = "exit 0") -> Path:
        folder = tmp_path / "programs"
        folder.mkdir()
        for name in names:
            executable(folder / name, does)
        monkeypatch.setenv("PATH", str(folder))
        return folder

    return make


def executable(path: Path, does: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return path


def make_ndk(folder: Path, architecture: str = "aarch64") -> Path:
    """Make what is looked for in an NDK."""
    (folder / TOOLCHAIN_FILE).parent.mkdir(parents=True)
    (folder / TOOLCHAIN_FILE).touch()
    prebuilt = folder / "toolchains/llvm/prebuilt/linux-x86_64"
    executable(prebuilt / "bin/clang", "echo 'Android clang version 17.0.2'; echo 'Target: x'")
    library = prebuilt / f"sysroot/usr/lib/{architecture}-linux-android/libc++_shared.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"libc++")
    return folder


def make_aar(path: Path, **libraries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("AndroidManifest.xml", "<manifest/>")
        for abi, data in libraries.items():
            archive.writestr(f"jni/{abi.replace('_', '-', 1)}/libonnxruntime.so", data)
    return path


def lacking(call: Callable[[], object], kind: type[MvdeployError] = DeviceUnavailable) -> str:
    """Return message and remedy of what is refused, once both are sentences."""
    with pytest.raises(kind) as error:
        call()
    for sentence in (error.value.message, error.value.remedy):
        assert sentence.endswith(".") and not sentence.endswith("..")
    return str(error.value)


def assert_nothing_in(cache: Path) -> None:
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    assert list(cache.rglob(".building-*")) == []


# The compiler


@pytest.mark.parametrize("architecture", ["mips", "", "arm64-v8a", "../x"])
def test_an_unknown_architecture(architecture: str, cache: Path) -> None:
    said = lacking(lambda: build.kit(architecture))
    assert f"no runner for {architecture}." in said
    assert "aarch64, x86_64" in said
    assert_nothing_in(cache)


def test_no_cmake(only: MakePrograms, cache: Path) -> None:
    only()
    said = lacking(lambda: build.kit(HERE))
    assert "there is no cmake" in said and "apt install cmake" in said
    assert_nothing_in(cache)


@pytest.mark.parametrize(
    ("there", "architecture", "program", "package"),
    [
        (("cmake",), HERE, "gcc", "g++"),
        (("cmake", "gcc"), HERE, "g++", "g++"),
        (("cmake", "gcc", "g++"), "aarch64", "aarch64-linux-gnu-gcc", "g++-aarch64-linux-gnu"),
        (
            ("cmake", "gcc", "g++", "aarch64-linux-gnu-gcc"),
            *("aarch64", "aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu"),
        ),
    ],
)
def test_no_compiler(
    only: MakePrograms,
    monkeypatch: pytest.MonkeyPatch,
    there: tuple[str, ...],
    architecture: str,
    program: str,
    package: str,
) -> None:
    if architecture != HERE or HERE == "aarch64":
        monkeypatch.setattr(platform, "machine", lambda: "x86_64")
        architecture = architecture if architecture != HERE else "x86_64"
    only(*there)
    said = lacking(lambda: build.kit(architecture))
    assert f"there is no {program}." in said
    assert f"'apt install {package}'" in said


def test_the_compiler_of_this_machine(only: MakePrograms) -> None:
    folder = only("cmake", "gcc", "g++", does="echo 'gcc 12.2'; echo 'and more'")
    found = toolchains.find(HERE)
    assert (found.build, found.compiler, found.cpp) == (GLIBC, f"{folder}/gcc", f"{folder}/g++")
    assert found.version == "gcc 12.2"
    assert not any("SYSTEM_NAME" in flag for flag in found.flags)


def test_the_compiler_for_another_machine(only: MakePrograms) -> None:
    folder = only("cmake", f"{PREFIX}gcc", f"{PREFIX}g++")
    found = toolchains.find(OTHER)
    assert found.cpp == f"{folder}/{PREFIX}g++"
    assert f"-DCMAKE_SYSTEM_PROCESSOR={OTHER}" in found.flags
    assert found.version == ""


def test_how_a_runner_with_a_c_library_of_its_own_is_started() -> None:
    found = Toolchain("aarch64", GLIBC, "gcc", "g++", ())
    loader = "ld-linux-aarch64.so.1"
    assert found.command("run") == (f"./{loader}", "--library-path", ".", "./run")
    assert found.programs("run") == (loader, "run")


def test_a_c_library_that_is_not_there(only: MakePrograms) -> None:
    # A compiler answers with the bare name of what it does not have.
    only("cmake", "gcc", "g++", does='echo "${1#-print-file-name=}"')
    said = lacking(lambda: toolchains.find(HERE).system_libraries(()))
    assert f"{toolchains._LOADERS[HERE]}." in said


def test_the_c_library_of_this_machine() -> None:
    for program in ("cmake", "gcc", "g++"):
        demand(f"the program {program}", shutil.which(program) is not None)
    found = toolchains.find(HERE).system_libraries(())
    assert {"libc.so.6", "libm.so.6", "libstdc++.so.6"} <= {name for _, name in found}
    assert all(path.is_file() and not path.is_symlink() for path, _ in found)
    assert all(path.read_bytes()[:4] == b"\x7fELF" for path, _ in found)


# The NDK


def test_an_ndk_is_no_folder_of_one(tmp_path: Path, only: MakePrograms) -> None:
    only("cmake")
    for place in (tmp_path / "nowhere", tmp_path):
        said = lacking(functools.partial(toolchains.find, "aarch64", place))
        assert f"{place} is no Android NDK" in said


def test_an_ndk_without_its_compiler(tmp_path: Path, only: MakePrograms) -> None:
    only("cmake")
    ndk = make_ndk(tmp_path / "ndk")
    shutil.rmtree(ndk / "toolchains")
    assert "is no Android NDK" in lacking(lambda: toolchains.find("aarch64", ndk))


@pytest.mark.parametrize(("architecture", "abi"), [("aarch64", "arm64-v8a"), ("x86_64", "x86_64")])
def test_what_an_ndk_builds(
    tmp_path: Path, only: MakePrograms, architecture: str, abi: str
) -> None:
    only("cmake")
    found = toolchains.find(architecture, make_ndk(tmp_path / "ndk", architecture))
    assert found.build == ANDROID
    assert f"-DANDROID_ABI={abi}" in found.flags
    assert f"-DCMAKE_TOOLCHAIN_FILE={tmp_path}/ndk/{TOOLCHAIN_FILE}" in found.flags
    assert found.version == "Android clang version 17.0.2"
    assert found.command("run") == ("env", "LD_LIBRARY_PATH=.", "./run")
    assert found.programs("run") == ("run",)
    assert found.system_libraries(("libc.so",)) == ()
    assert found.library_flags(("libc.so",)) == ("-DANDROID_STL=c++_static",)
    assert found.library_flags(("libc++_shared.so",)) == ("-DANDROID_STL=c++_shared",)
    ((library, name),) = found.system_libraries(("libc++_shared.so",))
    assert name == "libc++_shared.so" and library.read_bytes() == b"libc++"


def test_an_ndk_without_the_c_library(tmp_path: Path, only: MakePrograms) -> None:
    only("cmake")
    found = toolchains.find("aarch64", make_ndk(tmp_path / "ndk", "x86_64"))
    assert "libc++_shared.so" in lacking(lambda: found.system_libraries(("libc++_shared.so",)))


@pytest.mark.parametrize("variable", NDK_VARIABLES)
def test_the_environment_names_an_ndk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(make_ndk(tmp_path / "ndk")))
    assert toolchains.find_ndk() == tmp_path / "ndk"


@pytest.mark.parametrize("variable", SDK_VARIABLES)
def test_the_newest_ndk_of_an_sdk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for version in ("9.4.1", "25.2.9519653", "25.10.1"):
        make_ndk(tmp_path / "sdk" / "ndk" / version)
    (tmp_path / "sdk" / "ndk" / "26.1.0").mkdir()  # unpacked halfway
    monkeypatch.setenv(variable, str(tmp_path / "sdk"))
    assert toolchains.find_ndk() == tmp_path / "sdk" / "ndk" / "25.10.1"


def test_an_ndk_that_is_named_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_ndk(tmp_path / "sdk" / "ndk" / "27.0.0")
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "sdk"))
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path / "nowhere"))
    assert toolchains.find_ndk() == tmp_path / "sdk" / "ndk" / "27.0.0"
    monkeypatch.setenv("ANDROID_NDK_ROOT", str(make_ndk(tmp_path / "ndk")))
    assert toolchains.find_ndk() == tmp_path / "ndk"


@pytest.mark.parametrize("value", ["", "{tmp}", "{tmp}/nowhere"])
def test_the_environment_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for variable in (*NDK_VARIABLES, *SDK_VARIABLES):
        monkeypatch.setenv(variable, value.format(tmp=tmp_path))
    assert toolchains.find_ndk() is None


@pytest.fixture
def has_zig(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Return a function that says whether the package ziglang is installed."""

    def say(there: bool) -> None:
        monkeypatch.setattr(zig, "installed", lambda: Path("ziglang") if there else None)

    return say


def test_engines_for_android_need_something_to_build_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_zig: Callable[[bool], None]
) -> None:
    c, cpp = {"onnxruntime_aar": "x.aar"}, {"executorch_android": tmp_path}
    has_zig(False)
    assert build.android({}) is None
    for builds in (c, cpp):
        said = lacking(functools.partial(build.android, builds))
        assert "neither an Android NDK nor the package ziglang" in said
        assert f"pip install '{zig.REQUIREMENT}'" in said and "ANDROID_NDK_HOME" in said
    has_zig(True)
    assert build.android(c) == Android(None, c)
    for builds in (cpp, {**c, **cpp}, {"executorch_aar": "x.aar"}):
        said = lacking(functools.partial(build.android, builds))
        assert said.startswith("The plug-in of executorch is C++, which takes an Android NDK")
        assert f"leave {FLAGS[next(reversed(builds))]} out" in said
    monkeypatch.setenv("ANDROID_NDK_HOME", str(make_ndk(tmp_path / "ndk")))
    for builds in (c, cpp, {**c, **cpp}):
        assert build.android(builds) == Android(tmp_path / "ndk", builds)


def test_an_ndk_goes_before_the_package(
    tmp_path: Path, only: MakePrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    only("cmake")
    given = Android(make_ndk(tmp_path / "ndk"), {"onnxruntime_aar": "x"})
    assert build._toolchain("aarch64", given).version.startswith("Android clang")
    monkeypatch.setattr(zig, "installed", lambda: Path("ziglang"))
    assert isinstance(build._toolchain("aarch64", Android(None, {})), zig.ZigToolchain)
    assert not isinstance(build._toolchain("aarch64", given), zig.ZigToolchain)


def test_two_builds_of_one_engine(has_zig: Callable[[bool], None]) -> None:
    has_zig(True)
    builds = {"onnxruntime_aar": "x.aar", "onnxruntime_npm": "1.2.3"}
    said = lacking(lambda: build.android(builds), UsageError)
    assert said.startswith("--onnxruntime-aar and --onnxruntime-npm both give onnxruntime.")


def test_an_android_kit_of_nothing(cache: Path) -> None:
    wanted = build.android({}, wanted=True)
    assert wanted == Android(None, {})
    said = lacking(lambda: build.kit("aarch64", wanted), UsageError)
    assert "built from engines for Android, and none is given" in said
    assert all(flag in said for flag in FLAGS.values())
    assert_nothing_in(cache)


# The engines


def test_an_aar_is_unpacked(tmp_path: Path) -> None:
    arm = make_elf("libonnxruntime.so")
    aar = make_aar(tmp_path / "a-1.2.aar", arm64_v8a=arm, x86_64=b"x86")
    with zipfile.ZipFile(aar) as archive:
        names = archive.namelist()
    assert "jni/arm64-v8a/libonnxruntime.so" in names
    take(aar, "aarch64", tmp_path)
    assert (tmp_path / "libonnxruntime.so").read_bytes() == arm


def not_there(path: Path) -> None:
    pass


def folder(path: Path) -> None:
    path.mkdir()


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("<html>Not found</html>")


def of_something_else(path: Path) -> None:
    make_aar(path)


def for_other_phones(path: Path) -> None:
    make_aar(path, x86=b"engine")


def cut(path: Path) -> None:
    make_aar(path, arm64_v8a=b"engine" * 100)
    path.write_bytes(path.read_bytes()[:-30])


def changed(path: Path) -> None:
    make_aar(path, arm64_v8a=b"engine")
    path.write_bytes(path.read_bytes().replace(b"engine", b"ENGINE"))


def not_compressed_as_it_says(path: Path) -> None:
    """A method of compression that its data are not in."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("jni/arm64-v8a/libonnxruntime.so", b"")
    data = path.read_bytes()
    assert data.count(b"\x03\x00PK") == 1
    path.write_bytes(data.replace(b"\x03\x00PK", b"\xff\xffPK"))


def encrypted(path: Path) -> None:
    make_aar(path, arm64_v8a=b"engine")
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.rindex(signature) + offset] |= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "make",
    [
        *(not_there, folder, empty, text, of_something_else, for_other_phones, cut, changed),
        *(not_compressed_as_it_says, encrypted),
    ],
)
def test_what_is_no_aar(
    tmp_path: Path, only: MakePrograms, cache: Path, make: Callable[[Path], None]
) -> None:
    only("cmake")
    aar = tmp_path / "onnxruntime-android-1.20.0.aar"
    make(aar)
    given = Android(make_ndk(tmp_path / "ndk"), {"onnxruntime_aar": aar})
    said = lacking(lambda: build.kit("aarch64", given), UsageError)
    assert f"{aar} is no archive of ONNX Runtime for Android" in said
    assert_nothing_in(cache)


@pytest.mark.parametrize(
    ("name", "versions", "version"),
    [
        ("onnxruntime-android-1.20.0.aar", (), "1.20.0"),
        ("onnxruntime-mobile-1.4.aar", ("libonnxruntime.so",), "1.4"),
        ("onnxruntime.aar", ("libonnxruntime.so.1", "VERS_1.29.0"), "1.29.0"),
        ("onnxruntime-android-1.20.0.aar", ("VERS_1.29.1",), "1.29.1"),
    ],
)
def test_the_version_of_an_aar(
    tmp_path: Path, name: str, versions: tuple[str, ...], version: str
) -> None:
    library = make_elf("libonnxruntime.so", versions=versions)
    assert take(make_aar(tmp_path / name, arm64_v8a=library), "aarch64", tmp_path) == version


@pytest.mark.parametrize("name", ["onnxruntime.aar", "v2.aar"])
def test_an_aar_of_no_version(tmp_path: Path, name: str) -> None:
    aar = make_aar(tmp_path / name, arm64_v8a=make_elf("libonnxruntime.so"))
    said = lacking(lambda: take(aar, "aarch64", tmp_path), UsageError)
    assert f"version of ONNX Runtime in {aar} cannot be told" in said
    assert "onnxruntime-android-VERSION.aar" in said


def test_an_aar_with_a_damaged_library(tmp_path: Path) -> None:
    aar = make_aar(tmp_path / "onnxruntime-1.2.aar", arm64_v8a=make_elf()[:80])
    said = lacking(lambda: take(aar, "aarch64", tmp_path), UsageError)
    assert f"in {aar} cannot be used: it is cut off" in said


# ExecuTorch, installed by its own build


WHEEL = importlib.metadata.distribution("executorch")
INSTALLED = WHEEL.version.partition("+")[0]
NOT_INSTALLED = ("devtools", "extension/memory_allocator")

take_executorch = PLUGINS["executorch"].android[0].take
concerns = PLUGINS["executorch"].android[0].concerns


def make_installation(
    prefix: Path, version: str = INSTALLED, headers: bool = False, **libraries: bytes
) -> Path:
    """Make an installation of ExecuTorch; it has the headers of one, or those of a wheel."""
    include = Path(str(WHEEL.locate_file("executorch/include")))
    shutil.copytree(include, prefix / "include")
    for folder in () if headers else NOT_INSTALLED:
        shutil.rmtree(prefix / "include/executorch" / folder)
    (prefix / "lib").mkdir()
    for name, data in libraries.items():
        (prefix / "lib" / f"lib{name}.so").write_bytes(data)
    if version:
        (prefix / "version.txt").write_text(f"{version}\n")
    return prefix


def test_libraries_have_the_names_that_others_need(tmp_path: Path) -> None:
    named, bare = make_elf("libexecutorch_jni.so"), make_elf()
    installation = make_installation(tmp_path / "et", executorch=named, more=bare)
    (installation / "lib/libcopy.so").write_bytes(named)
    (tmp_path / "kit").mkdir()
    take_executorch(installation, "aarch64", tmp_path / "kit")
    found = {path.name: path.read_bytes() for path in (tmp_path / "kit").iterdir()}
    assert found == {"libexecutorch_jni.so": named, "libmore.so": bare}


@pytest.mark.parametrize(
    ("library", "said"),
    [
        (make_elf("libone.so", machine="x86_64"), "is for x86_64, and the device is aarch64"),
        (make_elf("libone.so")[:-9], "cannot be used: it is cut off"),
        (make_elf("../libone.so"), "calls itself '../libone.so'"),
        (make_elf("libone.so", needed=("libc.so",)), "two libraries that are libone.so to others"),
    ],
)
def test_libraries_that_are_not_taken(tmp_path: Path, library: bytes, said: str) -> None:
    installation = make_installation(tmp_path / "et", a=make_elf("libone.so"), b=library)
    (tmp_path / "kit").mkdir()
    take_it = functools.partial(take_executorch, installation, "aarch64", tmp_path / "kit")
    assert said in lacking(take_it, UsageError)


@pytest.mark.parametrize(
    ("file", "text", "version"),
    [
        ("lib/cmake/ExecuTorch/executorch-config-version.cmake", None, INSTALLED),
        (
            "lib64/cmake/executorch/executorchConfigVersion.cmake",
            *('set(PACKAGE_VERSION "1.6.0")\n', "1.6.0"),
        ),
        ("lib/pkgconfig/executorch.pc", "Name: ExecuTorch\nVersion: 1.4.0\n", "1.4.0"),
        ("version.txt", "1.6.0a0\n", "1.6.0a0"),
        ("CMakeCache.txt", "A:B=1\nCMAKE_PROJECT_VERSION:STATIC=1.3.2\n", "1.3.2"),
        ("../version.txt", "1.2.0a0\n", "1.2.0a0"),
    ],
)
def test_an_installation_says_its_version(
    tmp_path: Path, file: str, text: str | None, version: str
) -> None:
    installation = make_installation(tmp_path / "source/out", version="")
    (tmp_path / "source/runtime/executor").mkdir(parents=True)
    if text is None:
        own = Path(str(WHEEL.locate_file("executorch/share/cmake")), Path(file).name)
        text = own.read_text()
    (installation / file).parent.mkdir(parents=True, exist_ok=True)
    (installation / file).write_text(text)
    assert take_executorch(installation, "aarch64", tmp_path).partition("+")[0] == version


def test_an_installation_of_no_version(tmp_path: Path) -> None:
    installation = make_installation(tmp_path / "et", version="")
    (tmp_path / "version.txt").write_text("9.9\n")  # of something else
    said = lacking(lambda: take_executorch(installation, "aarch64", tmp_path), UsageError)
    assert f"version of ExecuTorch in {installation} cannot be told" in said
    assert f"{installation}/version.txt" in said


def test_headers_of_another_version_are_said(tmp_path: Path) -> None:
    assert concerns(make_installation(tmp_path / "lacks"), INSTALLED) == ()
    (said,) = concerns(tmp_path / "lacks", "0.1.0")
    assert f"the installed executorch {WHEEL.version}" in said and "build is 0.1.0" in said
    assert concerns(make_installation(tmp_path / "has", headers=True), "0.1.0") == ()


def test_headers_that_nobody_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    installation = make_installation(tmp_path / "et", version="1.2.3")
    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    said = lacking(lambda: take_executorch(installation, "aarch64", tmp_path), UsageError)
    assert "lacks the header executorch/devtools/etdump/etdump_flatcc.h" in said
    assert "Install executorch 1.2.3 here" in said


# ExecuTorch as an archive


EXPORTS = (
    "_ZN10executorch7runtime7Program4loadEPNS0_10DataLoaderE",
    "_ZN10executorch7runtime6Method7executeEv",
    "_ZN10executorch9extension14MmapDataLoader4fromEPKc",
    "_ZN10executorch9extension10threadpool14get_threadpoolEv",
)
HEADER = "executorch/runtime/executor/program.h"
unpack_aar = PLUGINS["executorch"].android[1].unpack


def make_executorch_aar(
    path: Path, exports: tuple[str, ...] = EXPORTS, header: str = f"headers/{HEADER}"
) -> Path:
    library = make_elf("libexecutorch_jni.so", needed=("libfbjni.so",), defined=exports)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("jni/arm64-v8a/libexecutorch.so", library)
        archive.writestr("jni/arm64-v8a/libfbjni.so", make_elf("libfbjni.so"))
        archive.writestr("jni/x86_64/libother.so", b"other")
        archive.writestr("headers/executorch/../../evil.h", "// evil")
        archive.writestr("headers/executorch/notes.txt", "notes")
        if header:
            archive.writestr(header, "// program")
            archive.writestr(header.replace("program.h", "more/method.h"), "// method")
    return path


@pytest.mark.parametrize(
    "header", [f"headers/{HEADER}", f"prefab/modules/et/include/{HEADER}", HEADER]
)
def test_an_archive_becomes_an_installation(tmp_path: Path, header: str) -> None:
    aar = make_executorch_aar(tmp_path / "executorch-android-1.5.0.aar", header=header)
    work, into = tmp_path / "work", tmp_path / "kit"
    for folder in (work, into):
        folder.mkdir()
    prefix = unpack_aar(aar, "aarch64", work)
    found = {path.relative_to(prefix).as_posix() for path in prefix.rglob("*") if path.is_file()}
    assert found == {
        *("lib/libexecutorch.so", "lib/libfbjni.so", f"include/{HEADER}", "version.txt"),
        f"include/{HEADER.replace('program.h', 'more/method.h')}",
    }
    assert not list(tmp_path.rglob("evil.h"))
    assert take_executorch(prefix, "aarch64", into) == "1.5.0"
    assert {path.name for path in into.iterdir()} == {"libexecutorch_jni.so", "libfbjni.so"}


@pytest.mark.parametrize(
    ("fields", "architecture", "reason"),
    [
        ({"header": ""}, "aarch64", f"it has no headers ({HEADER})."),
        ({}, "x86_64", "has no jni/x86_64/libexecutorch.so."),
        *(
            ({"exports": tuple(e for e in EXPORTS if name not in e)}, "aarch64", f"keep {said} to")
            for name, said in (
                ("Program4load", "runtime::Program::load"),
                ("7execute", "runtime::Method::execute"),
                ("MmapDataLoader", "extension::MmapDataLoader::from"),
                ("get_threadpool", "extension::threadpool::get_threadpool"),
            )
        ),
    ],
)
def test_an_archive_that_plug_ins_cannot_be_built_against(
    tmp_path: Path, fields: dict[str, object], architecture: str, reason: str
) -> None:
    aar = make_executorch_aar(tmp_path / "executorch-1.5.0.aar", **fields)
    said = lacking(lambda: unpack_aar(aar, architecture, tmp_path), UsageError)
    assert str(aar) in said and reason in said
    assert "--executorch-android" in said


@pytest.mark.parametrize("make", [not_there, folder, empty, text, cut])
def test_what_is_no_archive_of_executorch(tmp_path: Path, make: Callable[[Path], None]) -> None:
    aar = tmp_path / "executorch-android-1.5.0.aar"
    make(aar)
    said = lacking(lambda: unpack_aar(aar, "aarch64", tmp_path), UsageError)
    assert f"{aar} is no archive of ExecuTorch for Android" in said


def test_an_archive_of_executorch_without_a_version(tmp_path: Path) -> None:
    aar = make_executorch_aar(tmp_path / "executorch.aar")
    said = lacking(lambda: unpack_aar(aar, "aarch64", tmp_path), UsageError)
    assert f"The version of ExecuTorch in {aar} cannot be told" in said


def test_an_archive_of_executorch_that_is_damaged(tmp_path: Path) -> None:
    aar = tmp_path / "executorch-1.5.0.aar"
    with zipfile.ZipFile(aar, "w") as archive:
        archive.writestr("jni/arm64-v8a/libexecutorch.so", make_elf()[:70])
        archive.writestr(f"headers/{HEADER}", "// program")
    said = lacking(lambda: unpack_aar(aar, "aarch64", tmp_path), UsageError)
    assert f"The library libexecutorch.so in {aar} cannot be used" in said


def test_an_archive_that_unpacks_to_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executorch_android, "_MOST", 100)
    aar = make_executorch_aar(tmp_path / "executorch-1.5.0.aar")
    assert "is too large" in lacking(lambda: unpack_aar(aar, "aarch64", tmp_path), UsageError)


def configured(installation: Path, into: Path) -> list[str]:
    """Return the words that compile the session of the plug-in for an installation."""
    for program in ("cmake", "gcc", "g++"):
        demand(f"the program {program}", shutil.which(program) is not None)
    flags = PLUGINS["executorch"].flags(installation, "1.2.3")
    words = ["cmake", "-S", kits.code(), "-B", into, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]
    words += ["-DMVDEPLOY_ENGINES=executorch", *flags]
    subprocess.run(words, check=True, capture_output=True)
    commands = json.loads((into / "compile_commands.json").read_text())
    (found,) = (c["command"] for c in commands if c["file"].endswith("executorch_session.cpp"))
    return shlex.split(found)


CONFIG = "lib/cmake/ExecuTorch/executorch-config.cmake"
STATIC = """\
foreach(name executorch executorch_core {more})
  add_library(${{name}} INTERFACE IMPORTED)
endforeach()
"""


@pytest.mark.parametrize(
    ("static", "has", "profiles"),
    [
        (True, "etdump flatccrt", True),
        (True, "", False),
        (False, "executorch_etdump", True),
        (False, "executorch", True),
        (False, "", False),
    ],
)
def test_a_plug_in_profiles_if_its_engine_does(
    tmp_path: Path, static: bool, has: str, profiles: bool
) -> None:
    tracer = make_elf(versions=("_ZN10executorch6etdump9ETDumpGen4doneEv",))
    installation = make_installation(tmp_path / "et")
    if static:
        (installation / CONFIG).parent.mkdir(parents=True)
        (installation / CONFIG).write_text(STATIC.format(more=has))
    else:
        for name in {"executorch", has or "executorch_threadpool"}:
            data = tracer if name == has else make_elf()
            (installation / "lib" / f"lib{name}.so").write_bytes(data)
    words = configured(installation, tmp_path / "build")
    for name in ("MVDEPLOY_ETDUMP", "ET_EVENT_TRACER_ENABLED"):
        assert (f"-D{name}" in words) == profiles
    folders = [words[i + 1] for i, word in enumerate(words) if word == "-isystem"]
    wheel = str(WHEEL.locate_file("executorch/include"))
    assert folders[0] == str(installation / "include") and folders[-1] == wheel


# A whole kit for Android: a stand-in for an NDK, which builds with the compiler of Linux


def make_working_ndk(folder: Path) -> Path:
    make_ndk(folder)
    (folder / TOOLCHAIN_FILE).write_text(
        "set(CMAKE_SYSTEM_NAME Linux)\nset(CMAKE_SYSTEM_PROCESSOR aarch64)\n"
        "set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)\n"
        "set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)\n"
    )
    return folder


def make_linux_installation(prefix: Path, kit: Path, without: str) -> Path:
    """Make an installation of the libraries of a kit, with the C library that they need."""
    installation = make_installation(prefix)
    for path in sorted(kit.glob("*.so*")):
        if "mvdeploy" not in path.name and "onnxruntime" not in path.name and path.name != without:
            # Not the names that others know them by.
            name = path.name if "executorch" in path.name else f"{path.name.partition('.')[0]}.so"
            shutil.copyfile(path, installation / "lib" / name)
    return installation


@pytest.mark.slow
def test_a_kit_with_an_installation_that_lacks_headers_and_etdump(
    tmp_path: Path, aarch64_kit: Path, arm64_native: NativeRunner
) -> None:
    etdump = "libexecutorch_etdump.so"
    installation = make_linux_installation(tmp_path / "et", aarch64_kit, etdump)
    (installation / "version.txt").write_text("1.2.3\n")
    given = Android(make_working_ndk(tmp_path / "ndk"), {"executorch_android": installation})
    steps: list[str] = []
    place, kit = build.kit("aarch64", given, on_step=steps.append)
    assert kit.build == ANDROID and kit.engines == {"executorch": "1.2.3"}
    assert {"libstdc++.so.6", "libc.so.6", "libexecutorch.so"} <= kit.sums.keys()
    assert etdump not in kit.sums and "libc++_shared.so" not in kit.sums
    (warning,) = (step for step in steps if step.startswith("Warning: "))
    assert "the build is 1.2.3" in warning
    (place / "ld-linux-aarch64.so.1").chmod(0o755)  # it stands in for Android's linker
    there = dataclasses.replace(arm64_native, folder=place)
    (event,) = there.run(b"", "--engines").events
    assert event["engine"] == "executorch" and event["version"] == "1.2.3"
    torch = pytest.importorskip("torch")
    job = executorch_job(torch.nn.ReLU(), (torch.ones(2),), tmp_path)
    assert there.run(job).kinds[-1] == "done"
    profiled = with_model(job, profile_to=str(tmp_path / "profile"))
    error = failure(there.run(profiled))
    assert error["kind"] == "load"
    assert "this build of ExecuTorch has no ETDump and cannot profile" in error["message"]
    assert "EXECUTORCH_ENABLE_EVENT_TRACER=ON" in error["remedy"]
    # Before anything is built.
    steps.clear()
    (installation / "lib/libother.so").write_bytes(make_elf(alignments=(4096,)))
    said = lacking(lambda: build.kit("aarch64", given, on_step=steps.append), UsageError)
    assert all(step.startswith("Warning: ") for step in steps)
    assert "libother.so is aligned to 4096 bytes" in said
    assert kits.load(place) == kit


@pytest.mark.slow
def test_a_kit_with_an_archive_of_executorch(
    tmp_path: Path, aarch64_kit: Path, arm64_native: NativeRunner
) -> None:
    installation = make_linux_installation(tmp_path / "et", aarch64_kit, "")
    headers = Path(str(WHEEL.locate_file("executorch/include")))
    aar = tmp_path / "executorch-android-1.2.3.aar"
    with zipfile.ZipFile(aar, "w") as archive:
        for library in sorted(installation.glob("lib/*.so")):
            archive.write(library, f"jni/arm64-v8a/{library.name}")
        for header in sorted((headers / "executorch").rglob("*.h")):
            if "etdump" not in header.name:
                archive.write(header, f"headers/{header.relative_to(headers)}")
    steps: list[str] = []
    given = Android(make_working_ndk(tmp_path / "ndk"), {"executorch_aar": str(aar)})
    place, kit = build.kit("aarch64", given, on_step=steps.append)
    assert (kit.build, kit.engines) == (ANDROID, {"executorch": "1.2.3"})
    assert [(source.name, len(source.sha256)) for source in kit.sources] == [(aar.name, 64)]
    (warning,) = (step for step in steps if step.startswith("Warning: "))
    assert warning.startswith(f"Warning: {aar} lacks headers")
    (place / "ld-linux-aarch64.so.1").chmod(0o755)  # it stands in for Android's linker
    there = dataclasses.replace(arm64_native, folder=place)
    torch = pytest.importorskip("torch")
    job = executorch_job(torch.nn.ReLU(), (torch.ones(2),), tmp_path)
    assert there.run(job).kinds[-1] == "done"


def test_no_engine_is_installed(
    only: MakePrograms, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    only("cmake", "gcc", "g++")
    plugins = {name: NativePlugin(name, ()) for name in ("no-such-engine", "nor-this-one")}
    monkeypatch.setattr(engines, "native", lambda: plugins)
    said = lacking(lambda: build.kit(HERE))
    assert "None of no-such-engine, nor-this-one is installed" in said
    assert "Install one of them, or all: pip install no-such-engine nor-this-one." in said
    assert_nothing_in(cache)


def test_an_engine_that_cannot_be_fetched(
    only: MakePrograms, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    only("cmake", f"{PREFIX}gcc", f"{PREFIX}g++")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    steps: list[str] = []
    said = lacking(lambda: build.kit(OTHER, on_step=steps.append))
    first = next(iter(PLUGINS))
    version = kits.installed_version(first)
    assert f"{first} {version} for {OTHER} could not be fetched" in said
    assert "package index" in said
    assert steps == [f"fetch {first} {version} for {OTHER}"]
    assert_nothing_in(cache)


def bare(plugin: NativePlugin) -> str:
    """Return the name that a plug-in's first library has in a kit."""
    return f"{Path(plugin.libraries[0]).name.partition('.so')[0]}.so"


@pytest.mark.parametrize("engine", PLUGINS)
def test_a_package_without_its_library(tmp_path: Path, engine: str) -> None:
    said = lacking(lambda: build._copy_libraries(PLUGINS[engine], tmp_path, tmp_path))
    package, library = PLUGINS[engine].package, bare(PLUGINS[engine])
    assert f"The package of {package} has no {library}" in said


def test_libraries_lose_their_versions(tmp_path: Path) -> None:
    library = tmp_path / "onnxruntime/capi/libonnxruntime.so.1.31.1"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"engine")
    build._copy_libraries(PLUGINS["onnxruntime"], tmp_path, tmp_path)
    assert (tmp_path / "libonnxruntime.so").read_bytes() == b"engine"


@pytest.mark.parametrize("engine", PLUGINS)
def test_the_installed_packages_have_their_libraries(tmp_path: Path, engine: str) -> None:
    plugin = PLUGINS[engine]
    build._copy_libraries(plugin, build._site(plugin.package), tmp_path)
    assert (tmp_path / bare(plugin)).read_bytes()[:4] == b"\x7fELF"


# What was there before


def put_kit(architecture: str, **fields: object) -> tuple[Path, Kit]:
    place = kits.place(architecture, str(fields.get("build", GLIBC)))
    place.mkdir(parents=True, exist_ok=True)
    (place / "runner").write_bytes(b"runner")
    sums = {"runner": files.sha256(place / "runner")}
    versions = {name: kits.installed_version(name) for name in PLUGINS}
    command = ("./runner",)
    kit = Kit(architecture, GLIBC, versions, command, ("runner",), sums, kits.code_hash())
    kit = dataclasses.replace(kit, **fields)
    (place / FILE).write_text(dumps(kit), encoding="utf-8")
    return place, kit


def test_a_kit_that_is_up_to_date_is_not_built_again(only: MakePrograms) -> None:
    only()
    place, kit = put_kit(OTHER)
    assert build.kit(OTHER) == (place, kit)


@pytest.mark.parametrize("fields", [{"code": "0" * 64}, {"engines": {"onnxruntime": "0.1"}}])
def test_an_old_kit_is_built_again(only: MakePrograms, fields: dict[str, object]) -> None:
    only()
    put_kit(OTHER, **fields)
    assert "there is no cmake" in lacking(lambda: build.kit(OTHER))


def test_a_damaged_kit_is_built_again(only: MakePrograms) -> None:
    only()
    place, _ = put_kit(OTHER)
    (place / "runner").unlink()
    assert "there is no cmake" in lacking(lambda: build.kit(OTHER))


def test_a_kit_is_built_again_when_asked_for_and_stays_when_it_fails(
    only: MakePrograms, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    only("cmake", f"{PREFIX}gcc", f"{PREFIX}g++")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    place, kit = put_kit(OTHER)
    assert "could not be fetched" in lacking(lambda: build.kit(OTHER, rebuild=True))
    assert kits.load(place) == kit
    assert list(cache.rglob(".building-*")) == []


def test_what_is_given_for_android_is_always_built(tmp_path: Path, only: MakePrograms) -> None:
    only("cmake")
    put_kit("aarch64")
    given = Android(make_ndk(tmp_path / "ndk"), {"onnxruntime_aar": tmp_path / "no.aar"})
    assert "is no archive" in lacking(lambda: build.kit("aarch64", given), UsageError)


def test_an_android_kit_that_is_there_is_used_and_others_stay(only: MakePrograms) -> None:
    only()
    glibc, _ = put_kit("aarch64")
    android, kit = put_kit("aarch64", build=ANDROID, engines={"onnxruntime": "1.2"})
    assert glibc != android
    assert build.kit("aarch64", build.android({}, wanted=True)) == (android, kit)
    assert build.kit("aarch64")[0] == glibc
    assert (android / FILE).is_file() and (glibc / FILE).is_file()


@pytest.mark.parametrize(
    "versions", [{"executorch": "1.2"}, {"onnxruntime": "1.2", "executorch": "1"}, {"gone": "1"}]
)
def test_a_kit_of_more_than_it_holds_is_not_built_from_itself(
    has_zig: Callable[[bool], None], versions: dict[str, str]
) -> None:
    has_zig(True)
    place, _ = put_kit("aarch64", build=ANDROID, code="0" * 64, engines=versions)
    said = lacking(lambda: build.kit("aarch64", build.android({}, wanted=True)), UsageError)
    assert "none is given" in said
    assert (place / FILE).is_file()


def test_an_old_android_kit_takes_something_to_build_with(
    has_zig: Callable[[bool], None],
) -> None:
    has_zig(False)
    put_kit("aarch64", build=ANDROID, code="0" * 64, engines={"onnxruntime": "1.2"})
    said = lacking(lambda: build.kit("aarch64", build.android({}, wanted=True)))
    assert "neither an Android NDK nor the package ziglang" in said


def test_a_damaged_android_kit_is_not_built_from_itself(has_zig: Callable[[bool], None]) -> None:
    has_zig(True)
    place, _ = put_kit("aarch64", build=ANDROID, code="0" * 64, engines={"onnxruntime": "1.2"})
    (place / "runner").write_bytes(b"changed")
    said = lacking(lambda: build.kit("aarch64", build.android({}, wanted=True)), UsageError)
    assert "none is given" in said


@pytest.mark.parametrize("earlier", [GLIBC, "bionic"])
def test_what_an_earlier_release_left_goes_with_the_kit_that_replaces_it(
    cache: Path, earlier: str
) -> None:
    place, kit = put_kit("aarch64", build=earlier)
    left = kits.earlier_place("aarch64")
    shutil.move(place, left)
    build._remove_earlier(dataclasses.replace(kit, build=ANDROID))
    assert left.is_dir() == (earlier == GLIBC)
    build._remove_earlier(dataclasses.replace(kit, build=GLIBC))
    assert not left.exists()


# Programs


def test_what_a_program_writes() -> None:
    assert toolchains.run(["sh", "-c", "echo out; echo err >&2"]) == "out\n"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo first; echo 'x.c:1: error: bad'; echo 'error: other'; false", "x.c:1: error: bad"),
        ("echo first >&2; echo last >&2; false", "last"),
        ("echo 'no errors'; echo 'fatal error: real' >&2; false", "fatal error: real"),
        ("echo 'an error'; echo working >&2; false", "an error"),
        ("echo 'Error at 3:'; echo; echo '  why'; false", "Error at 3: why"),
        ("echo 'Error at 3:'; false", "Error at 3"),
        ("false", "it does not say why"),
        ("echo 'CMake Error at x.'; false", "CMake Error at x"),
        ("kill -9 $$", "it does not say why"),
        ("printf 'error \\377'; false", "error \N{REPLACEMENT CHARACTER}"),
    ],
)
def test_why_a_program_failed(script: str, reason: str) -> None:
    said = lacking(lambda: toolchains.run(["/bin/sh", "-c", script]))
    assert said.startswith(f"sh failed: {reason}.")


def test_a_program_is_not_left_waiting_for_words() -> None:
    assert toolchains.run(["sh", "-c", "read word || echo nobody answers"]) == "nobody answers\n"


def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    for program in (tmp_path / "nowhere", tmp_path / "text", tmp_path):
        said = lacking(functools.partial(toolchains.run, [str(program)]))
        assert f"{program} could not be run" in said


def test_a_program_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchains, "_BUILD_S", 0.2)
    assert "timed out" in lacking(lambda: toolchains.run(["sleep", "60"]))


def test_code_that_cannot_be_built(tmp_path: Path) -> None:
    for program in ("cmake", "gcc", "g++"):
        demand(f"the program {program}", shutil.which(program) is not None)
    code = tmp_path / "code"
    code.mkdir()
    (code / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\nproject(x NONE)\n"
        "message(FATAL_ERROR ${MVDEPLOY_VERSION})\n"
    )
    flags = ("-DMVDEPLOY_VERSION=none",)
    found = toolchains.find(HERE)
    said = lacking(lambda: toolchains.build(found, code, tmp_path / "build", flags))
    assert said.startswith("cmake failed: CMake Error at CMakeLists.txt:3 (message): none.")


# Where libraries are from


def test_the_package_of_a_library() -> None:
    for program in ("dpkg-query", "cmake", "gcc", "g++"):
        demand(f"the program {program}", shutil.which(program) is not None)
    found = {name: toolchains.package_of(path) for path, name in libraries()}
    words = ["dpkg-query", "--show", "--showformat=${Version}", "libc6"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert found["libc.so.6"] == Source("libc6", done.stdout)
    assert None not in found.values()


def libraries() -> tuple[tuple[Path, str], ...]:
    return toolchains.find(HERE).system_libraries(())


def test_a_file_of_no_package(tmp_path: Path) -> None:
    assert toolchains.package_of(tmp_path) is None


def test_a_system_without_packages(only: MakePrograms) -> None:
    only()
    assert toolchains.package_of(Path("/bin/sh")) is None
