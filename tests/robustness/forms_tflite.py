"""A damage that knows what is in a ``.tflite`` file: one of its values is another."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

_NUMBERS = (0, -1, 1, 2, 7, 127, 255, 2**20, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**63 - 1)
_REALS = (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"))
_TEXTS = (b"", b"evil.py:make", b"../../etc/passwd", b"\x1b[31mred", b"x" * 5000, b"\xff\xfe")

Place = tuple[Any, Any]
"""What holds a value, and its name or number there."""


def field(data: bytes, rng: random.Random) -> bytes:
    """Change a field: another number or text, or something of several gone or twice."""
    from mvdeploy.formats.litert import schema

    model = schema.unpacked(data)
    places = list(_places(model))
    # Numbers in weights are many, and much alike.
    few = [place for place in places if not isinstance(place[0], np.ndarray)]
    while True:
        home, key = rng.choice(few if rng.random() < 0.8 else places)
        value = _get(home, key)
        for new in rng.sample(others := _others(value, rng), len(others)):
            try:
                _set(home, key, new)
                return schema.packed(model)
            except (TypeError, ValueError, OverflowError, AttributeError, struct.error):
                _set(home, key, value)  # a number that the field has no room for


def _places(home: Any) -> Iterator[Place]:
    """Give every place in an object."""
    keys: Any = range(len(home)) if isinstance(home, list | np.ndarray) else vars(home)
    for key in keys:
        value = _get(home, key)
        if value is None or (isinstance(value, list | np.ndarray) and not len(value)):
            continue
        if isinstance(value, np.ndarray):
            _set(home, key, value := value.copy())  # what was read cannot be written
        yield home, key
        if isinstance(value, list | np.ndarray) or hasattr(value, "__dict__"):
            yield from _places(value)


def _get(home: Any, key: Any) -> Any:
    return getattr(home, key) if isinstance(key, str) else home[key]


def _set(home: Any, key: Any, value: Any) -> None:
    if isinstance(key, str):
        setattr(home, key, value)
    else:
        home[key] = value


def _others(value: Any, rng: random.Random) -> list[Any]:
    """Return what may stand in the place of a value."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | np.integer):
        return [new for new in (*_NUMBERS, int(value) + 1, 2 * int(value)) if new != value]
    if isinstance(value, float | np.floating):
        return [*_REALS, -float(value), 1000 * float(value)]
    if isinstance(value, bytes | str):
        return list(_TEXTS)
    if isinstance(value, list | np.ndarray):
        at = rng.randrange(len(value))
        fewer, more = [*value[:at], *value[at + 1 :]], [*value, value[at]]
        made = (fewer, more, [], [*value[::-1]])
        if isinstance(value, np.ndarray):
            return [None, *(np.array(one, value.dtype) for one in made)]
        return [None, *made]
    return [None]
