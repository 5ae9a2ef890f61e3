"""What a device can load: alignment, processor, and libraries that are needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mvdeploy.errors import UsageError
from mvdeploy.files import elf
from mvdeploy.kits import ANDROID, GLIBC, check
from tests.android.fixtures import demand
from tests.android.kit import aarch64_kit
from tests.files.elves import make_elf
from tests.runners.native_kit import NativeRunner, arm64_native

__all__ = ["aarch64_kit", "arm64_native"]


def check_all(folder: Path, build: str) -> None:
    check.files(folder, "aarch64", build)
    check.needs(folder, build)


def refused(folder: Path, build: str = ANDROID) -> tuple[str, str]:
    with pytest.raises(UsageError) as error:
        check_all(folder, build)
    return error.value.message, error.value.remedy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a sound kit."""
    (tmp_path / "kit").mkdir()
    program = make_elf(needed=("libc.so", "liba.so"), interpreter="/system/bin/linker64")
    (tmp_path / "kit/runner").write_bytes(program)
    (tmp_path / "kit/liba.so").write_bytes(make_elf("liba.so", alignments=(16384, 65536)))
    return tmp_path / "kit"


@pytest.mark.parametrize("build", [ANDROID, GLIBC])
def test_a_sound_kit(folder: Path, build: str) -> None:
    check_all(folder, build)


@pytest.mark.parametrize("name", ["runner", "liba.so", "libc++_shared.so"])
@pytest.mark.parametrize("alignments", [(4096,), (65536, 8192), (0,)])
def test_small_pages(folder: Path, name: str, alignments: tuple[int, ...]) -> None:
    (folder / name).write_bytes(make_elf(alignments=alignments))
    message, remedy = refused(folder)
    least = max(min(alignments), 1)
    assert message.startswith(f"{name} is aligned to {least} bytes, and phones with memory pages")
    assert "NDK r27 or newer" in remedy
    static = name == "libc++_shared.so"
    assert ("-DANDROID_STL=c++_static" in remedy) == static
    assert ("-Wl,-z,max-page-size=16384" in remedy) != static
    check_all(folder, GLIBC)  # its own loader has no such rule


def test_a_library_that_nobody_has(folder: Path) -> None:
    (folder / "libb.so").write_bytes(make_elf(needed=("liblog.so", "libfbjni.so")))
    message, remedy = refused(folder)
    assert message.startswith("libb.so needs libfbjni.so, which is neither in the kit")
    assert "beside libb.so" in remedy
    (folder / "libfbjni.so").write_bytes(make_elf())
    check_all(folder, ANDROID)


@pytest.mark.parametrize("build", [ANDROID, GLIBC])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (make_elf(machine="x86_64"), "libb.so is for x86_64, and the device is aarch64."),
        (make_elf(machine="mips"), "libb.so is no program or library"),
        (make_elf()[:90], "libb.so is no program or library"),
        (b"text", "libb.so is no program or library"),
    ],
)
def test_what_no_device_loads(folder: Path, build: str, data: bytes, reason: str) -> None:
    (folder / "libb.so").write_bytes(data)
    assert refused(folder, build)[0].startswith(reason)


PAGES = ("16384", "65536")


def with_pages(words: tuple[str, ...], size: str) -> tuple[str, ...]:
    """Return the words of an emulator with pages of a size."""
    if "qemu-aarch64-static" not in words:
        pytest.skip("Pages of this processor are as its kernel has them.")
    return (words[0], "-p", size, *words[1:])


@pytest.mark.slow
@pytest.mark.parametrize("size", PAGES)
def test_the_kit_runs_with_large_pages(
    arm64_native: NativeRunner, aarch64_kit: Path, size: str
) -> None:
    for words in (("--hello",), ("--engines",)):
        command = (*with_pages(arm64_native.words, size), *words)
        done = subprocess.run(
            command, cwd=aarch64_kit, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert '"aarch64"' in done.stdout or words == ("--engines",)
        assert "error" not in done.stdout and "reason" not in done.stdout
    least = {elf.read(path).alignment for path in aarch64_kit.iterdir() if path.suffix != ".json"}
    assert min(least) >= 65536


@pytest.mark.parametrize("size", PAGES)
@pytest.mark.parametrize("alignment", [4096, 16384, 65536])
def test_alignment_is_what_decides(tmp_path: Path, size: str, alignment: int) -> None:
    for program in ("aarch64-linux-gnu-gcc", "qemu-aarch64-static"):
        demand(f"the program {program}", shutil.which(program) is not None)
    (tmp_path / "b.c").write_text("int answer = 42;\nint b(void) { return answer; }\n")
    (tmp_path / "a.c").write_text("int b(void);\nint main(void) { return b(); }\n")
    gcc = "aarch64-linux-gnu-gcc"
    pages = f"-Wl,-z,max-page-size={alignment}"
    for words in (
        (gcc, "-shared", "-fPIC", pages, "-Wl,-soname,libb.so", "b.c", "-o", "libb.so"),
        (gcc, "a.c", "-Wl,-z,max-page-size=65536", "libb.so", "-o", "a", "-Wl,-rpath,."),
    ):
        subprocess.run(words, cwd=tmp_path, check=True)
    assert elf.read(tmp_path / "libb.so").alignment == alignment
    emulator = ("qemu-aarch64-static", "-p", size, "-L", "/usr/aarch64-linux-gnu")
    done = subprocess.run([*emulator, "./a"], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode == 42) == (alignment >= int(size)), done.stderr
