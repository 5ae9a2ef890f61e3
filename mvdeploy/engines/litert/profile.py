"""Profiles of LiteRT: what its profiler saw, as JSON that sessions of all runners write.

``{"events": [[name, type, number, start, length], …]}``, times in microseconds. Types are the
engine's: 2 is an operator outside of delegates, and its number that in the file; 8 is an operator
inside of one, and its number that in the delegate, its start unknown; 1 is of the whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mvdeploy.attribute.litert import Event
from mvdeploy.files import reading, writing

NAME = "litert.json"

Told = tuple[str, int, int, int, int]
"""Name, type, number, start and length of something that the profiler saw."""

_BEGIN = "LiteRT::Run[buffer registration]"
"""The first of every inference."""
_WHOLE, _ALONE, _DELEGATED = 1, 2, 8
TYPES = (_WHOLE, _ALONE, _DELEGATED)
"""Of what is written."""


class BadProfileError(Exception):
    """A file that is no profile, or is damaged."""


def write(path: Path, events: Iterable[Told]) -> None:
    """Write what the profiler saw."""
    with writing.whole(path) as part:
        part.write_text(json.dumps({"events": list(events)}), encoding="utf-8")


def read(path: Path) -> list[list[Event]]:
    """Return the operators of each inference, in the order in which they ran.

    Raises:
        BadProfileError: it is no profile, or cannot be read.
    """
    try:
        told = json.loads(reading.text(path, limit=reading.RECORD, what="a profile"))["events"]
        return list(_inferences(map(_checked, told)))
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise BadProfileError(f"it cannot be read ({error})") from error


def _checked(told: Any) -> Told:
    name, type_, number, start, length = told
    numbers = (type_, number, start, length)
    if not isinstance(name, str) or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError(f"an event is {str(told)[:60]}")
    return name, type_, number, start, length


def _inferences(told: Iterable[Told]) -> Iterator[list[Event]]:
    events: list[Event] | None = None
    for name, type_, number, _, length in told:
        if name == _BEGIN:
            if events is not None:
                yield events
            events = []
        elif type_ in (_ALONE, _DELEGATED) and events is not None:
            events.append(Event(name, type_ == _DELEGATED, number, 1000 * length))
    if events is not None:
        yield events
