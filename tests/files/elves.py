"""Small ELF files for tests."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_MACHINES = {"x86_64": 62, "aarch64": 183, "mips": 8}


def make_elf(
    soname: str = "",
    *,
    needed: Sequence[str] = (),
    machine: str = "aarch64",
    alignments: Sequence[int] = (16384,),
    interpreter: str = "",
    versions: Sequence[str] = (),
    flags: int = 0,
    defined: Sequence[str] = (),
    undefined: Sequence[str] = (),
    gnu_hash: bool = True,
    android: int = 0,
) -> bytes:
    """Return an ELF file with nothing in it but what a loader reads first."""
    strings = b"\0"
    places: dict[str, int] = {}
    for name in (soname, *needed, *versions, *undefined, *defined):
        places[name] = len(strings) if name else 0
        strings += name.encode() + b"\0" if name else b""
    count = len(alignments) + 1 + bool(interpreter) + bool(android)
    at = 64 + 56 * count
    chunks = [strings]
    where = {"strings": at}
    at += len(strings)
    table = b""
    for index, name in enumerate(versions):
        following = 28 if index + 1 < len(versions) else 0
        table += struct.pack("<4H3I", 1, 0, index + 1, 1, 0, 20, following)
        table += struct.pack("<2I", places[name], 0)
    where["versions"], at = at, at + len(table)
    path = interpreter.encode() + b"\0"
    where["interpreter"], at = at, at + len(path)
    symbols = bytes(24)
    for section, names in ((0, undefined), (1, defined)):
        for name in names:
            symbols += struct.pack("<I2BH2Q", places[name], 18, 0, section, 0, 0)
    where["symbols"], at = at, at + len(symbols)
    hashes = _hashes(len(undefined), len(defined), gnu_hash)
    where["hashes"], at = at, at + len(hashes)
    note = struct.pack("<3I8sI", 8, 4, 1, b"Android", android) if android else b""
    note = struct.pack("<3I4s3sx", 4, 3, 1, b"GNU", b"abc") + note if android else b""
    where["note"], at = at, at + len(note)
    entries = [(1, places[name]) for name in needed]
    if defined or undefined:
        tag = 0x6FFFFEF5 if gnu_hash else 4
        entries += [(6, where["symbols"]), (tag, where["hashes"])]
    entries += [(5, where["strings"]), (10, len(strings))]
    entries += [(14, places[soname])] if soname else []
    if versions:
        entries += [(0x6FFFFFFC, where["versions"]), (0x6FFFFFFD, len(versions))]
    entries += [(0x6FFFFFFB, flags), (0, 0)]
    dynamic = b"".join(struct.pack("<2Q", *entry) for entry in entries)
    where["dynamic"], at = at, at + len(dynamic)
    chunks += [table, path, symbols, hashes, note, dynamic]
    headers = [(1, 0, at, alignment) for alignment in alignments]
    headers.append((2, where["dynamic"], len(dynamic), 8))
    if interpreter:
        headers.append((3, where["interpreter"], len(path), 1))
    if android:
        headers.append((4, where["note"], len(note), 4))
    segments = b"".join(
        struct.pack("<2I6Q", kind, 5, offset, offset, offset, size, size, alignment)
        for kind, offset, size, alignment in headers
    )
    start = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)
    start += struct.pack("<2HI3QI6H", 3, _MACHINES[machine], 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    return start + segments + b"".join(chunks)


def _hashes(undefined: int, defined: int, gnu: bool) -> bytes:
    """Return the table by which symbols are found; those that are defined in two chains."""
    count = 1 + undefined + defined
    if not gnu:
        return struct.pack("<2I", 1, count) + bytes(4 + 4 * count)
    first = 1 + undefined
    chains = [0] * defined
    starts = [0, 0]
    if defined:
        starts[0] = first
        chains[-1] = 1
    if defined > 1:
        starts[1] = first + 1
        chains[0] = 1
    return struct.pack(f"<4IQ2I{defined}I", 2, first, 1, 0, 0, *starts, *chains)
