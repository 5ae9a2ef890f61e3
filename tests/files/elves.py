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
) -> bytes:
    """Return an ELF file with nothing in it but what a loader reads first."""
    strings = b"\0"
    places: dict[str, int] = {}
    for name in (soname, *needed, *versions):
        places[name] = len(strings) if name else 0
        strings += name.encode() + b"\0" if name else b""
    count = len(alignments) + 1 + bool(interpreter)
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
    entries = [(1, places[name]) for name in needed]
    entries += [(5, where["strings"]), (10, len(strings))]
    entries += [(14, places[soname])] if soname else []
    if versions:
        entries += [(0x6FFFFFFC, where["versions"]), (0x6FFFFFFD, len(versions))]
    entries += [(0x6FFFFFFB, flags), (0, 0)]
    dynamic = b"".join(struct.pack("<2Q", *entry) for entry in entries)
    where["dynamic"], at = at, at + len(dynamic)
    chunks += [table, path, dynamic]
    headers = [(1, 0, at, alignment) for alignment in alignments]
    headers.append((2, where["dynamic"], len(dynamic), 8))
    if interpreter:
        headers.append((3, where["interpreter"], len(path), 1))
    segments = b"".join(
        struct.pack("<2I6Q", kind, 5, offset, offset, offset, size, size, alignment)
        for kind, offset, size, alignment in headers
    )
    start = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)
    start += struct.pack("<2HI3QI6H", 3, _MACHINES[machine], 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    return start + segments + b"".join(chunks)
