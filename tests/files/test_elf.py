"""ELF files: what they say of themselves, and that nothing in them is trusted."""

from __future__ import annotations

import importlib.metadata
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvdeploy.files import elf
from mvdeploy.files.elf import Elf, ElfError, Symbols
from tests.android.fixtures import demand
from tests.files.elves import make_elf

WHOLE = make_elf(
    "liba.so.1", needed=("libc.so", "libdl.so"), versions=("liba.so.1", "VERS_1.2.3"), flags=1
)
FULL = make_elf("liba.so", needed=("libc.so",), defined="bcd", undefined="ae", android=28)


def read(tmp_path: Path, data: bytes) -> Elf:
    path = tmp_path / "file"
    path.write_bytes(data)
    return elf.read(path)


def refused(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(ElfError) as error:
        read(tmp_path, data)
    return str(error.value)


def test_what_a_library_says(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE) == Elf(
        machine="aarch64",
        pie=False,
        alignment=16384,
        soname="liba.so.1",
        needed=("libc.so", "libdl.so"),
        versions=("liba.so.1", "VERS_1.2.3"),
    )


def test_what_a_program_says(tmp_path: Path) -> None:
    found = read(tmp_path, make_elf(machine="x86_64", interpreter="/system/bin/linker64"))
    assert found == Elf("x86_64", True, 16384, interpreter="/system/bin/linker64")
    assert read(tmp_path, make_elf(flags=0x08000000)).pie
    assert not read(tmp_path, make_elf("libc.so.6", interpreter="/lib/ld.so")).pie


@pytest.mark.parametrize(
    ("alignments", "least"), [((4096,), 4096), ((65536, 4096, 16384), 4096), ((0,), 1), ((), 0)]
)
def test_the_least_alignment_counts(
    tmp_path: Path, alignments: tuple[int, ...], least: int
) -> None:
    data = make_elf(alignments=(*alignments,)) if alignments else WHOLE[:56] + bytes(8)
    assert read(tmp_path, data).alignment == least


@pytest.mark.parametrize("gnu_hash", [True, False])
@pytest.mark.parametrize(
    ("defined", "undefined"),
    [((), ("a",)), (("b",), ()), (("b", "c", "d"), ("a", "e")), (("b",), ("a",))],
)
def test_symbols(
    tmp_path: Path, gnu_hash: bool, defined: tuple[str, ...], undefined: tuple[str, ...]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(make_elf(defined=defined, undefined=undefined, gnu_hash=gnu_hash))
    assert elf.symbols(path) == Symbols(frozenset(defined), frozenset(undefined))


def test_a_file_without_symbols(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(make_elf("liba.so"))
    assert elf.symbols(tmp_path / "file") == Symbols(frozenset(), frozenset())


@pytest.mark.parametrize("style", ["gnu", "sysv", "both"])
def test_the_symbols_of_what_a_compiler_makes(tmp_path: Path, style: str) -> None:
    demand("the program gcc", shutil.which("gcc") is not None)
    code = "int strange(void);\nint own(void) { return strange(); }\nint more = 3;\n"
    (tmp_path / "a.c").write_text(code)
    words = ["gcc", "-shared", "-fPIC", "-nostdlib", f"-Wl,--hash-style={style}"]
    subprocess.run([*words, "a.c", "-o", "a.so"], cwd=tmp_path, check=True)
    found = elf.symbols(tmp_path / "a.so")
    assert found == Symbols(frozenset({"own", "more"}), frozenset({"strange"}))


@pytest.mark.parametrize("level", [1, 28, 10000])
def test_the_note_of_android(tmp_path: Path, level: int) -> None:
    assert read(tmp_path, make_elf(android=level)).android == level
    assert read(tmp_path, make_elf()).android == 0


@pytest.mark.parametrize("flag", ["-pie", "-no-pie"])
def test_what_a_compiler_makes(tmp_path: Path, flag: str) -> None:
    demand("the program gcc", shutil.which("gcc") is not None)
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    words = ["gcc", flag, "-fPIE", "-Wl,-z,max-page-size=32768", "a.c", "-o", "a"]
    subprocess.run(words, cwd=tmp_path, check=True)
    found = elf.read(tmp_path / "a")
    assert found.pie == (flag == "-pie")
    assert found.alignment == 32768
    assert "libc.so.6" in found.needed and "/ld-linux" in found.interpreter


def test_a_library_of_onnx_runtime_has_its_version() -> None:
    package = importlib.metadata.distribution("onnxruntime")
    (library,) = Path(str(package.locate_file("onnxruntime/capi"))).glob("libonnxruntime.so*")
    assert f"VERS_{package.version}" in elf.read(library).versions


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is cut off"),
        (b"#!/bin/sh\n" * 10, "it is no ELF file"),
        (WHOLE[:4] + b"\1" + WHOLE[5:], "64-bit little-endian"),
        (WHOLE[:5] + b"\2" + WHOLE[6:], "64-bit little-endian"),
        (make_elf(machine="mips"), "not known (number 8)"),
        (WHOLE[:16] + b"\1" + WHOLE[17:], "neither a program nor a library"),
        (WHOLE[:56] + b"\xff\xff" + WHOLE[58:], "program headers are damaged"),
        (WHOLE[:54] + b"\1\0" + WHOLE[56:], "program headers are damaged"),
        (WHOLE[:-40], "it is cut off"),
        (WHOLE.replace(struct.pack("<Q", 5), struct.pack("<Q", 77)), "damaged name"),
    ],
)
def test_what_is_damaged(tmp_path: Path, data: bytes, reason: str) -> None:
    assert reason in refused(tmp_path, data)


def test_a_section_that_points_to_nowhere(tmp_path: Path) -> None:
    entry = WHOLE.rindex(struct.pack("<Q", 5) + struct.pack("<Q", 64 + 56 * 2))
    data = WHOLE[: entry + 8] + b"\xff" * 8 + WHOLE[entry + 16 :]
    assert "points to nowhere" in refused(tmp_path, data)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.parametrize("whole", [WHOLE, FULL])
def test_a_damaged_file_is_read_or_refused(
    tmp_path: Path, whole: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        value = data.draw(st.sampled_from([b"\xff" * 8, b"\0" * 8]) | st.binary(max_size=8))
        damaged[start : start + len(value)] = value
    cut = data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))
    try:
        found = read(tmp_path, bytes(damaged[:cut]))
    except ElfError as error:
        assert str(error).startswith("it")
    else:
        assert isinstance(found, Elf)
    try:
        symbols = elf.symbols(tmp_path / "file")
    except ElfError as error:
        assert str(error).startswith("it")
    else:
        assert isinstance(symbols, Symbols)
