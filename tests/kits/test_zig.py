"""Programs for Android without an NDK: what their files say, and that they run.

They run here with glibc in the place of Android's C library, under glibc's loader.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import platform
import re
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mvdeploy import engines, kits
from mvdeploy.engines import NativePlugin
from mvdeploy.errors import UsageError
from mvdeploy.files import elf
from mvdeploy.kits import ANDROID, Kit, build, zig
from mvdeploy.kits.build import Android
from mvdeploy.records import Job, JobModel, Warmup
from mvdeploy.records.codec import dumps
from tests import shared
from tests.android.fixtures import demand
from tests.android.kit import aarch64_kit
from tests.files.elves import make_elf
from tests.kits.test_build import lacking, make_aar
from tests.runners.native_kit import NativeRunner, failure, host_kit, sha256, write_arm64_root

__all__ = ["aarch64_kit", "host_kit"]

HERE = platform.machine()
ARCHITECTURES = ("aarch64", "x86_64")
ABIS = {"aarch64": "arm64-v8a", "x86_64": "x86_64"}
PLACES = [(HERE, ""), ("aarch64", "4096")]
LARGE_PAGES = [("aarch64", "16384"), ("aarch64", "65536")]
RUNNER, PLUGIN = "mvdeploy-runner", "libmvdeploy_onnxruntime.so"
BY_COMPILERS = {"memcmp", "memcpy", "memmove", "memset"}
"""Functions that compilers call by themselves."""


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def make_kit(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Kit]]:
    """Return a function that builds a kit without an NDK; workers of one run share it."""
    demand(f"the package {zig.PACKAGE}", zig.installed() is not None)
    folder = shared.folder(tmp_path_factory)

    def make(architecture: str) -> tuple[Path, Kit]:
        name = f"zig-{architecture}"
        with shared.locked(folder / f"{name}.lock"), pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(folder / "zig-cache"))
            place = kits.place(architecture, ANDROID)
            if (place / kits.FILE).is_file():
                return place, kits.load(place)
            aar = folder / f"onnxruntime-android-1.29.0-{architecture}.aar"
            needed = ("libc.so", "liblog.so")
            engine = make_elf("libonnxruntime.so", machine=architecture, needed=needed)
            with zipfile.ZipFile(aar, "w") as archive:
                archive.writestr(f"jni/{ABIS[architecture]}/libonnxruntime.so", engine)
            given = Android(None, {"onnxruntime_aar": aar})
            return build.kit(architecture, given)

    return make


@pytest.fixture
def kit(architecture: str, make_kit: Callable[[str], tuple[Path, Kit]]) -> tuple[Path, Kit]:
    return make_kit(architecture)


# What the files say


def test_what_the_kit_says(kit: tuple[Path, Kit], architecture: str) -> None:
    _, made = kit
    assert (made.architecture, made.build) == (architecture, ANDROID)
    assert made.engines == {"onnxruntime": "1.29.0"}
    assert made.command == ("env", "LD_LIBRARY_PATH=.", f"./{RUNNER}")
    assert made.programs == (RUNNER,)
    assert set(made.sums) == {RUNNER, PLUGIN, "libonnxruntime.so"}
    assert made.compiler == f"ziglang {importlib.metadata.version('ziglang')}"
    (source,) = made.sources
    assert source.name.endswith(".aar") and len(source.sha256) == 64


def test_the_program(kit: tuple[Path, Kit], architecture: str) -> None:
    about = elf.read(kit[0] / RUNNER)
    assert about.machine == architecture
    assert about.pie
    assert about.interpreter == "/system/bin/linker64"
    assert about.needed == ("libc.so", "libdl.so")
    assert about.alignment == 65536
    assert about.android == 28
    assert "__libc_init" in elf.symbols(kit[0] / RUNNER).undefined


def test_the_plug_in(kit: tuple[Path, Kit], architecture: str) -> None:
    about = elf.read(kit[0] / PLUGIN)
    assert about.machine == architecture
    assert not about.pie and not about.interpreter
    assert about.soname == PLUGIN
    assert about.needed == ("libc.so", "libdl.so")
    assert about.alignment == 65536
    assert elf.symbols(kit[0] / PLUGIN).defined == {"mvdeploy_engine_interface"}


def test_nothing_but_what_is_known_is_needed_of_android(architecture: str, tmp_path: Path) -> None:
    demand(f"the package {zig.PACKAGE}", zig.installed() is not None)
    plugins = {name: plugin for name, plugin in engines.native().items() if plugin.sources}
    zig.find(architecture).make(kits.code(), tmp_path / "work", plugins, ())
    known = frozenset().union(*zig.SYMBOLS.values())
    made = sorted((tmp_path / "work").glob("libmvdeploy_*.so"))
    assert len(made) == len(plugins)
    asked = [elf.symbols(path).undefined for path in (tmp_path / "work" / RUNNER, *made)]
    assert frozenset().union(*asked) <= known
    # What nothing needs any more is to be taken off the list.
    assert known - frozenset().union(*asked) <= BY_COMPILERS


def test_every_file_is_aligned_for_large_pages(kit: tuple[Path, Kit]) -> None:
    place, made = kit
    least = {name: elf.read(place / name).alignment for name in made.sums}
    assert least[RUNNER] == least[PLUGIN] == 65536
    assert min(least.values()) >= 16384


def test_nothing_of_this_machine_is_in_it(kit: tuple[Path, Kit]) -> None:
    for name in (RUNNER, PLUGIN):
        data = (kit[0] / name).read_bytes()
        for word in (b"/tmp", str(Path(zig.__file__).parents[2]).encode(), b"/usr/lib"):
            assert word not in data


# That they run


@pytest.fixture(scope="session")
def make_libraries(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that makes Android's libraries out of glibc."""

    def make(architecture: str) -> Path:
        prefix = "" if architecture == HERE else f"{architecture}-linux-gnu-"
        demand(f"the program {prefix}gcc", shutil.which(f"{prefix}gcc") is not None)
        folder = tmp_path_factory.mktemp("bionic")
        flags = ("-shared", "-fPIC", "-Wl,-z,max-page-size=65536")
        for name, source in (("libc.so", Path(__file__).parent / "bionic.c"), ("libdl.so", None)):
            code = ("-x", "c", "/dev/null") if source is None else (str(source),)
            words = (f"{prefix}gcc", *flags, f"-Wl,-soname,{name}", *code, "-o", folder / name)
            subprocess.run(words, check=True)
        return folder

    return make


@pytest.fixture
def there(
    request: pytest.FixtureRequest,
    make_kit: Callable[[str], tuple[Path, Kit]],
    make_libraries: Callable[[str], Path],
    tmp_path: Path,
) -> NativeRunner:
    """The runner of a kit with the real engine of a kit for Linux, and what runs it here."""
    architecture, pages = request.param
    name = "aarch64_kit" if architecture == "aarch64" else "host_kit"
    linux: Path = request.getfixturevalue(name)
    emulator: tuple[str, ...] = ()
    if pages:
        demand("the program qemu-aarch64-static", shutil.which("qemu-aarch64-static") is not None)
        root = write_arm64_root(tmp_path / "root")
        emulator = ("qemu-aarch64-static", "-p", pages, "-cpu", "cortex-a76", "-L", str(root))
    place, made = make_kit(architecture)
    folder = tmp_path / "kit"
    folder.mkdir()
    for file in (RUNNER, PLUGIN):
        shutil.copyfile(place / file, folder / file)
    shutil.copyfile(linux / "libonnxruntime.so", folder / "libonnxruntime.so")
    loader = next(word for word in kits.load(linux).command if "ld-linux" in word)
    libraries = f"{make_libraries(architecture)}:{linux}"
    words = (str(linux / loader), "--library-path", libraries, f"./{made.programs[0]}")
    return NativeRunner(folder, (*emulator, *words))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    import onnx
    from onnx import TensorProto, helper

    kinds = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 3]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", kinds[:1], kinds[1:])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    path = tmp_path / "relu.onnx"
    onnx.save(model, path)
    np.save(tmp_path / "x.npy", np.arange(-3, 3, dtype=np.float32).reshape(2, 3))
    entry = JobModel("onnxruntime", str(path), sha256(path), {"x": str(tmp_path / "x.npy")})
    return Job((entry,), (0, 0, 0), 1, Warmup(iterations=2))


@pytest.mark.slow
@pytest.mark.parametrize("there", [*PLACES, *LARGE_PAGES], indirect=True)
def test_they_start_with_pages_of_any_size(there: NativeRunner) -> None:
    (hello,) = there.run(b"", "--hello").events
    assert (hello["runner"], hello["build"]) == ("native", "android")
    (engine,) = there.run(b"", "--engines").events
    assert engine["engine"] == "onnxruntime" and "error" not in engine
    assert there.run(b"", "--no-such").status == 2


# With larger pages than those of this machine, qemu 7.2 lets no file be read into new memory.
@pytest.mark.slow
@pytest.mark.parametrize("there", PLACES, indirect=True)
def test_they_run_a_job(there: NativeRunner, job: Job) -> None:
    ended = there.run(job)
    assert ended.kinds[-1] == "done", ended
    (output,) = ended.of("output")
    expected = np.maximum(np.arange(-3, 3, dtype=np.float32).reshape(2, 3), 0)
    assert output["sha256"] == hashlib.sha256(expected.tobytes()).hexdigest()
    assert sum(len(event["wall_ns"]) for event in ended.of("samples")) == 3
    assert failure(there.run(b"{"))["kind"] == "input"


# Built anew


@pytest.mark.parametrize("formerly", [False, True])
def test_an_old_kit_is_built_anew_with_its_own_engines(
    make_kit: Callable[[str], tuple[Path, Kit]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    formerly: bool,
) -> None:
    there, kit = make_kit("aarch64")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = kits.place("aarch64", ANDROID)
    old = kits.earlier_place("aarch64") if formerly else place
    shutil.copytree(there, old)
    changed = dataclasses.replace(
        kit,
        build="bionic" if formerly else ANDROID,
        code="0" * 64,
        programs=("libmvdeploy_onnxruntime.so",),
        sums={name: sha for name, sha in kit.sums.items() if name != RUNNER},
    )
    (old / kits.FILE).write_text(dumps(changed), encoding="utf-8")
    with pytest.raises(UsageError, match="built by another release"):
        kits.find("aarch64")
    steps: list[str] = []
    found, made = build.kit("aarch64", build.android({}, wanted=True), on_step=steps.append)
    assert steps[0] == "take onnxruntime 1.29.0 from the kit that is there"
    assert found == place and made == kit
    assert kits.find("aarch64") == (place, kit)
    assert (place / RUNNER).stat().st_mode & 0o111
    assert not kits.earlier_place("aarch64").exists()


# What cannot be built


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """Source code of a runner with little in it."""
    demand(f"the package {zig.PACKAGE}", zig.installed() is not None)
    folder = tmp_path / "source"
    shutil.copytree(kits.code() / "android", folder / "android")
    (folder / "main.c").write_text("int main(void) { return 0; }\n")
    yield folder


def make_from(source: Path, architecture: str, **plugins: str) -> Path:
    for name, text in plugins.items():
        (source / "engines").mkdir(exist_ok=True)
        (source / "engines" / f"{name}.c").write_text(text)
    wanted = {name: NativePlugin(name, (), sources=(f"engines/{name}.c",)) for name in plugins}
    work = source.parent / "work"
    zig.find(architecture).make(source, work, wanted, ())
    return work


NOT_KNOWN = "#include <unistd.h>\nlong it(void);\nlong it(void) { return sysconf(84); }\n"


def test_a_function_that_android_is_not_known_to_have(source: Path, architecture: str) -> None:
    (source / "more.c").write_text(NOT_KNOWN.replace("it(void)", "main2(void)"))
    (source / "main.c").write_text("long main2(void);\nint main(void) { return (int)main2(); }\n")
    said = lacking(lambda: make_from(source, architecture))
    assert said.startswith(f"{RUNNER} needs sysconf, which is not among what is known")
    assert "API level 28" in said and "ANDROID_NDK_HOME" in said


def test_a_function_that_a_plug_in_lacks(source: Path, architecture: str) -> None:
    said = lacking(lambda: make_from(source, architecture, one=NOT_KNOWN))
    assert said.startswith("libmvdeploy_one.so needs sysconf, which is not among")


def test_code_that_does_not_compile(source: Path) -> None:
    said = lacking(lambda: make_from(source, "aarch64", one="int x = ;\n"))
    assert "zig failed" in said and "expected expression" in said


def test_another_library_is_needed_only_by_what_uses_it(source: Path) -> None:
    work = make_from(source, "aarch64", one="int one(void);\nint one(void) { return 1; }\n")
    assert elf.read(work / RUNNER).needed == ("libc.so",)
    assert elf.read(work / "libmvdeploy_one.so").needed == ()


def test_the_users_own_caches_are_left_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    make_from(source, "aarch64")
    assert {path.name for path in tmp_path.iterdir()} - before == {"work"}


def test_both_ways_of_building_take_the_same_files() -> None:
    text = (kits.code() / "CMakeLists.txt").read_text()
    listed = re.search(r"add_executable\(\s*mvdeploy-runner([^)]*)\)", text)
    assert listed is not None
    assert set(listed[1].split()) == {path.name for path in kits.code().glob("*.c")}
    own = engines.native()["onnxruntime"].sources
    described = (kits.code() / "engines/onnxruntime.cmake").read_text()
    added = re.findall(r"target_sources\(\$\{plugin\} PRIVATE (?!engines)(\S+)\)", described)
    assert own == ("engines/onnxruntime.c", *added)


def test_what_is_said_to_be_installed_is_what_the_extras_install() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    for name in ("android", "dev"):
        assert zig.REQUIREMENT in [requirement.replace(" ", "") for requirement in extras[name]]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zig, "PACKAGE", "no-such-package")
    said = lacking(lambda: zig.find("aarch64"))
    assert "there is no package no-such-package" in said
    assert f"pip install '{zig.REQUIREMENT}'" in said and "ANDROID_NDK_HOME" in said


@pytest.mark.parametrize("architecture", ["mips", ""])
def test_an_unknown_architecture(architecture: str) -> None:
    assert f"no runner for {architecture}." in lacking(lambda: zig.find(architecture))


def test_an_engine_for_other_processors_is_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demand(f"the package {zig.PACKAGE}", zig.installed() is not None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    aar = make_aar(tmp_path / "onnxruntime-1.2.aar", arm64_v8a=make_elf(machine="x86_64"))
    steps: list[str] = []
    given = Android(None, {"onnxruntime_aar": aar})
    said = lacking(lambda: build.kit("aarch64", given, on_step=steps.append), UsageError)
    assert "is for x86_64, and the device is aarch64" in said and steps == []
    small = make_elf("libonnxruntime.so", alignments=(4096,))
    make_aar(aar, arm64_v8a=small)
    said = lacking(lambda: build.kit("aarch64", given, on_step=steps.append), UsageError)
    assert "is aligned to 4096 bytes" in said and steps == []
