"""Damages to files: what disks, transfers, editors and people of ill will make of them.

A damage has a name, and the same name makes the same damage of the same file: what one campaign has
found another can repeat. Some there are once (nothing in a file, a folder in its place, a byte of
its header changed); the random ones have numbers, without an end.
"""

from __future__ import annotations

import itertools
import os
import pickle
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.robustness import forms

HEADER = 64
"""Bytes at the start of a file that are damaged one by one."""

MARKER = "marker"
"""File that comes to be when something in a file is executed."""

EVIL = f"import pathlib\npathlib.Path({MARKER!r}).touch()\ndef make(*_, **__):\n    return None\n"
"""What the file evil.py says, which lies beside every file that is damaged."""


class _Touch:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {MARKER}",)


HOSTILE = pickle.dumps(_Touch())
"""A pickle that makes the marker when it is read."""

Damage = Callable[[bytes, random.Random], bytes]


def place(data: bytes, rng: random.Random) -> int:
    """Return a place in some bytes, often near the start or the end, where headers are."""
    where = rng.randrange(3)
    size = max(len(data), 1)
    near = rng.randrange(min(size, 512))
    return (rng.randrange(size), near, size - 1 - near)[where]


def flip(data: bytes, rng: random.Random) -> bytes:
    """Change a bit."""
    at = place(data, rng)
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def scatter(data: bytes, rng: random.Random) -> bytes:
    """Change some bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((2, 8, 32))):
        changed[place(data, rng)] = rng.randrange(256)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """Lose the end."""
    return data[: place(data, rng)]


def zeros(data: bytes, rng: random.Random) -> bytes:
    """Lose a run of bytes to zeros, as disks do."""
    at, size = place(data, rng), rng.choice((4, 16, 512, 4096))
    return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]


def twice(data: bytes, rng: random.Random) -> bytes:
    """Have a part twice."""
    at, size = place(data, rng), rng.choice((1, 8, 64, 4096))
    return data[: at + size] + data[at:]


def without(data: bytes, rng: random.Random) -> bytes:
    """Lose a part."""
    at, size = place(data, rng), rng.choice((1, 2, 8, 64, 512))
    return data[:at] + data[at + size :]


def length(data: bytes, rng: random.Random) -> bytes:
    """Have a huge or a negative number where a length may stand."""
    at = place(data, rng)
    number = rng.choice((2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, 2**40, 2**24))
    size = 4 if number < 2**32 and rng.random() < 0.5 else 8
    new = (number & (2 ** (8 * size) - 1)).to_bytes(size, rng.choice(("little", "big")))
    return data[:at] + new + data[at + size :]


def garbage(data: bytes, rng: random.Random) -> bytes:
    """Have a line of anything in between."""
    at = place(data, rng)
    return data[:at] + rng.randbytes(rng.choice((1, 16, 256))) + data[at:]


RANDOM: dict[str, Damage] = {
    f.__name__: f for f in (flip, scatter, cut, zeros, twice, without, length, garbage)
}


def damages(file: Path, name: str) -> Iterator[str]:
    """Give the names of the damages of a file, without an end: random ones, others in between.

    Args:
        file: of the sound folder.
        name: of the file in there, with which each damage's name begins.
    """
    once = iter((*_WHOLE, *(f"header-{i}" for i in range(min(HEADER, file.stat().st_size)))))
    shaped = forms.of(file)
    for number in itertools.count():
        # Those that know what is in the file are worth twice as many.
        for kind in (*RANDOM, *shaped, *(f"{kind}-again" for kind in shaped)):
            yield f"{name}:{kind}-{number}"
            if (other := next(once, None)) is not None:
                yield f"{name}:{other}"


def apply(file: Path, damage: str, seed: str) -> None:
    """Damage a file in place.

    Args:
        file: in a copy of the sound folder.
        damage: its name after the file's.
        seed: makes random ones differ from reader to reader.
    """
    kind, _, number = damage.partition("-")
    if kind in _WHOLE:
        _WHOLE[kind](file)
        return
    rng = random.Random(f"{seed}:{file.name}:{damage}")
    data = file.read_bytes()
    if kind == "header":
        at = int(number)
        new = data[:at] + bytes([data[at] ^ rng.randrange(1, 256)]) + data[at + 1 :]
    elif kind in RANDOM:
        new = RANDOM[kind](data, rng) if data else b"\0"
    else:
        new = forms.of(file)[kind](data, rng)
    file.write_bytes(new)


def main() -> None:
    """Damage a file: for damages that take a library, in a fork that has it."""
    file, damage, seed = sys.argv[1:]
    apply(Path(file), damage, seed)


def _replace(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        file.unlink()
        make(file)

    return change


_WHOLE: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "missing": lambda file: file.unlink(),
    "folder": _replace(lambda file: file.mkdir()),
    "fifo": _replace(lambda file: os.mkfifo(file)),
    "endless": _replace(lambda file: file.symlink_to("/dev/zero")),
    "nowhere": _replace(lambda file: file.symlink_to("nowhere")),
    "itself": _replace(lambda file: file.symlink_to(file.name)),
    "large": lambda file: os.truncate(file, 2**42),
    "pickle": lambda file: file.write_bytes(HOSTILE),
    "binary": lambda file: file.write_bytes(random.Random(0).randbytes(4096)),
    "html": lambda file: file.write_bytes(b"<!DOCTYPE html><html><body>404</body></html>\n"),
    "pointer": lambda file: file.write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1234\n"
    ),
}
"""What a file has once: by name, what is done to it."""


def copy(sound: Path, folder: Path) -> None:
    """Copy the sound folder, and lay evil.py beside its files."""
    shutil.copytree(sound, folder, symlinks=True)
    (folder / "evil.py").write_text(EVIL)
