"""What an ELF file says of itself: programs and libraries of Linux and Android, 64-bit.

Only the program headers, notes and the dynamic section are read, which are what a loader reads.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"\x7fELF"

_MACHINES = {62: "x86_64", 183: "aarch64"}
_KINDS = {2: "program", 3: "library"}
_LOAD, _DYNAMIC, _INTERPRETER, _NOTE = 1, 2, 3, 4
_NEEDED, _HASH, _STRINGS, _SYMBOLS, _STRINGS_SIZE, _SONAME = 1, 4, 5, 6, 10, 14
_GNU_HASH = 0x6FFFFEF5
_SYMBOL_SIZE = 24
_ANDROID = b"Android\0"
_VERSIONS, _VERSION_COUNT = 0x6FFFFFFC, 0x6FFFFFFD
_FLAGS_1, _PIE = 0x6FFFFFFB, 0x08000000
_MOST = 4096
"""Program headers, dynamic entries, versions, and bytes of a string: real files have far fewer."""


class ElfError(ValueError):
    """A file is no ELF file for a known processor, or is damaged. The text is half a sentence."""


@dataclasses.dataclass(frozen=True)
class Elf:
    """What an ELF file says of itself.

    Attributes:
        machine: ``aarch64`` or ``x86_64``.
        pie: whether it is a program that may be loaded anywhere, not a library.
        alignment: of its segments in memory, the least of them; 0 when it has none.
        soname: its name as a library; empty when it has none.
        needed: names of the libraries that it needs.
        interpreter: path of the loader that it asks for; empty when it asks for none.
        versions: names of the versions that it defines.
        android: API level of Android that its note names; 0 when it has none.
    """

    machine: str
    pie: bool
    alignment: int
    soname: str = ""
    needed: tuple[str, ...] = ()
    interpreter: str = ""
    versions: tuple[str, ...] = ()
    android: int = 0


@dataclasses.dataclass(frozen=True)
class Symbols:
    """What an ELF file has for others, and what it takes from them, by name.

    Attributes:
        defined: what it has.
        undefined: what others have to have.
    """

    defined: frozenset[str]
    undefined: frozenset[str]


def read(path: Path) -> Elf:
    """Read an ELF file.

    Raises:
        ElfError: it is none, is for another processor, or is damaged.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return _Reader(file, path.stat().st_size).read()


def symbols(path: Path) -> Symbols:
    """Read the symbols that an ELF file shares with others when it is loaded.

    Raises:
        ElfError: it is no ELF file, is for another processor, or is damaged.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return _Reader(file, path.stat().st_size).symbols()


@dataclasses.dataclass(frozen=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int
    alignment: int


class _Reader:
    """Reads one file; nothing in it is trusted."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._segments: list[_Segment] = []

    def read(self) -> Elf:
        kind, machine = self._begin()
        entries = self._dynamic_entries()
        strings = self._strings(entries)
        interpreter = next((self._text(s) for s in self._of(_INTERPRETER)), "")
        flags = next((value for tag, value in entries if tag == _FLAGS_1), 0)
        soname = next((_string(strings, value) for tag, value in entries if tag == _SONAME), "")
        loaded = [max(segment.alignment, 1) for segment in self._of(_LOAD)]
        return Elf(
            machine=machine,
            pie=bool(flags & _PIE) or (kind == "library" and bool(interpreter) and not soname),
            alignment=min(loaded, default=0),
            soname=soname,
            needed=tuple(_string(strings, v) for tag, v in entries if tag == _NEEDED),
            interpreter=interpreter,
            versions=tuple(self._versions(entries, strings)),
            android=self._android(),
        )

    def symbols(self) -> Symbols:
        self._begin()
        entries = self._dynamic_entries()
        strings, values = self._strings(entries), dict(entries)
        found: dict[bool, set[str]] = {False: set(), True: set()}
        if _SYMBOLS in values:
            size = self._count(values) * _SYMBOL_SIZE
            table = self._bytes(self._offset(values[_SYMBOLS]), size)
            # The first one stands for none.
            for at in range(_SYMBOL_SIZE, size, _SYMBOL_SIZE):
                name, section = struct.unpack_from("<I2xH", table, at)
                if name:
                    found[section != 0].add(_string(strings, name))
        return Symbols(frozenset(found[True]), frozenset(found[False]))

    def _begin(self) -> tuple[str, str]:
        """Read the headers; return of which kind the file is, and for which processor."""
        header = self._unpack("<4s5B7x2H", 0)
        if header[0] != MAGIC:
            raise ElfError("it is no ELF file")
        if header[1:3] != (2, 1):
            raise ElfError("it is not for a 64-bit little-endian processor")
        kind, machine = _KINDS.get(header[6]), _MACHINES.get(header[7])
        if machine is None:
            raise ElfError(f"it is for a processor that is not known (number {header[7]})")
        if kind is None:
            raise ElfError("it is neither a program nor a library")
        self._segments = list(self._read_segments())
        return kind, machine

    def _read_segments(self) -> Iterator[_Segment]:
        (start,) = self._unpack("<Q", 32)
        size, count = self._unpack("<2H", 54)
        if count > _MOST or (count and size < 56):
            raise ElfError("its program headers are damaged")
        for index in range(count):
            kind, _, offset, address, _, length, _, alignment = self._unpack(
                "<2I6Q", start + index * size
            )
            yield _Segment(kind, offset, address, length, alignment)

    def _of(self, kind: int) -> Iterator[_Segment]:
        return (segment for segment in self._segments if segment.kind == kind)

    def _dynamic_entries(self) -> list[tuple[int, int]]:
        entries: list[tuple[int, int]] = []
        for segment in self._of(_DYNAMIC):
            for index in range(min(segment.size // 16, _MOST)):
                tag, value = self._unpack("<2Q", segment.offset + index * 16)
                if tag == 0:
                    break
                entries.append((tag, value))
        return entries

    def _strings(self, entries: list[tuple[int, int]]) -> bytes:
        values = dict(entries)
        if _STRINGS not in values:
            return b""
        return self._bytes(self._offset(values[_STRINGS]), values.get(_STRINGS_SIZE, 0))

    def _versions(self, entries: list[tuple[int, int]], strings: bytes) -> Iterator[str]:
        values = dict(entries)
        if _VERSIONS not in values:
            return
        at = self._offset(values[_VERSIONS])
        for _ in range(min(values.get(_VERSION_COUNT, 0), _MOST)):
            *_, first, following = self._unpack("<4H3I", at)
            name, _ = self._unpack("<2I", at + first)
            yield _string(strings, name)
            if following == 0:
                return
            at += following

    def _count(self, values: dict[int, int]) -> int:
        """Return the number of symbols, which only the tables to find them by tell."""
        if _HASH in values:
            return int(self._unpack("<2I", self._offset(values[_HASH]))[1])
        if _GNU_HASH not in values:
            return 0
        at = self._offset(values[_GNU_HASH])
        buckets, first, blooms, _ = self._unpack("<4I", at)
        at += 16 + 8 * blooms
        starts = struct.unpack(f"<{buckets}I", self._bytes(at, 4 * buckets))
        last = max(starts, default=0)
        if last < first:  # none is defined
            return int(first)
        at += 4 * buckets + 4 * (last - first)
        # The last one of a chain is marked by its lowest bit.
        while not self._unpack("<I", at)[0] & 1:
            last, at = last + 1, at + 4
        return int(last) + 1

    def _android(self) -> int:
        for segment in self._of(_NOTE):
            data = self._bytes(segment.offset, min(segment.size, _MOST))
            at = 0
            while at + 12 <= len(data):
                name, size, kind = struct.unpack_from("<3I", data, at)
                at += 12
                if (kind, data[at : at + name]) == (1, _ANDROID) and at + name + 4 <= len(data):
                    return int(struct.unpack_from("<I", data, at + name)[0])
                at += (name + 3) // 4 * 4 + (size + 3) // 4 * 4
        return 0

    def _offset(self, address: int) -> int:
        """Return where in the file something is that is loaded to an address."""
        for segment in self._of(_LOAD):
            if segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset
        raise ElfError("its dynamic section points to nowhere")

    def _text(self, segment: _Segment) -> str:
        return _string(self._bytes(segment.offset, min(segment.size, _MOST)), 0)

    def _unpack(self, form: str, offset: int) -> tuple[Any, ...]:
        return struct.unpack(form, self._bytes(offset, struct.calcsize(form)))

    def _bytes(self, offset: int, size: int) -> bytes:
        if offset + size > self._size:
            raise ElfError("it is cut off or damaged")
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) != size:
            raise ElfError("it is cut off or damaged")
        return data


def _string(strings: bytes, offset: int) -> str:
    end = strings.find(b"\0", offset, offset + _MOST)
    if end < 0:
        raise ElfError("it has a damaged name")
    return strings[offset:end].decode(errors="replace")
