"""Read an ETDump: what ExecuTorch's runtime measures when it is asked to.

The file is a FlatBuffer (``etdump_schema_flatcc.fbs`` in ExecuTorch's sources). ExecuTorch's own
reader goes through a second program and JSON, takes as long as the measurement itself, and brings
torch and pandas; here the few fields that are needed are read where they stand.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from mvdeploy.attribute.executorch import Event

_U16, _I32, _U32, _U64 = (struct.Struct(layout) for layout in ("<H", "<i", "<I", "<Q"))

_IDENTIFIER = b"ED00"
_EXECUTE = "Execute"

# Positions of fields in their tables.
_ETDUMP_RUNS = 1
_RUN_NAME, _RUN_EVENTS = 0, 3
_EVENT_PROFILE = 0
_NAME, _INSTRUCTION, _INNER_NUMBER, _INNER_NAME, _START, _END = 0, 2, 3, 4, 6, 7

_EVENT_BYTES = 20
"""No event can be written in less."""


class BadDumpError(Exception):
    """A file that is no ETDump, or is damaged."""


def read(path: Path) -> list[list[Event]]:
    """Return the events of each inference, in the order in which they ended.

    Raises:
        OSError: the file cannot be read.
        BadDumpError: it is no ETDump.
    """
    data = path.read_bytes()
    if data[8:12] != _IDENTIFIER:
        raise BadDumpError("it is no ETDump")
    try:
        return list(_inferences(_Buffer(data)))
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise BadDumpError(f"it is damaged ({error})") from error


class _Buffer:
    """FlatBuffers: tables of fields at offsets that a list tells, which many tables share."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offsets: dict[int, tuple[int, ...]] = {}
        # A damaged file may refer to the same events time and again.
        self._events_left = len(data) // _EVENT_BYTES

    def number(self, layout: struct.Struct, at: int) -> int:
        if at < 0:  # counted from the end otherwise
            raise ValueError("an offset is negative")
        (value,) = layout.unpack_from(self._data, at)
        return int(value)

    def field(self, table: int, position: int) -> int:
        """Return where a field of a table is; 0 when it has its default."""
        at = table - self.number(_I32, table)
        offsets = self._offsets.get(at)
        if offsets is None:
            count = (self.number(_U16, at) - 4) // 2
            offsets = struct.unpack_from(f"<{count}H", self._data, at + 4)
            self._offsets[at] = offsets
        if position >= len(offsets) or not offsets[position]:
            return 0
        return table + offsets[position]

    def scalar(self, table: int, position: int, layout: struct.Struct, default: int = 0) -> int:
        at = self.field(table, position)
        return self.number(layout, at) if at else default

    def follow(self, table: int, position: int) -> int:
        """Return where the table, list or text is that a field refers to; 0 for none."""
        at = self.field(table, position)
        return at + self.number(_U32, at) if at else 0

    def text(self, table: int, position: int) -> str:
        at = self.follow(table, position)
        if not at:
            return ""
        length = self.number(_U32, at)
        return self._data[at + 4 : at + 4 + length].decode()

    def count_event(self) -> None:
        self._events_left -= 1
        if self._events_left < 0:
            raise ValueError("it has more events than its size allows")

    def tables(self, table: int, position: int) -> Iterator[int]:
        at = self.follow(table, position)
        if not at:
            return
        length = self.number(_U32, at)
        if 4 * length > len(self._data):
            raise ValueError("a list is longer than the file")
        for entry in range(at + 4, at + 4 + 4 * length, 4):
            yield entry + self.number(_U32, entry)


def _inferences(buffer: _Buffer) -> Iterator[list[Event]]:
    root = 4 + buffer.number(_U32, 4)  # the file's size comes first
    for run in buffer.tables(root, _ETDUMP_RUNS):
        if buffer.text(run, _RUN_NAME) == _EXECUTE:
            yield list(_events(buffer, run))


def _events(buffer: _Buffer, run: int) -> Iterator[Event]:
    for event in buffer.tables(run, _RUN_EVENTS):
        buffer.count_event()
        profile = buffer.follow(event, _EVENT_PROFILE)
        if profile:  # else an allocation, or a tensor that was kept
            yield _event(buffer, profile)


def _event(buffer: _Buffer, table: int) -> Event:
    inner = buffer.text(table, _INNER_NAME)
    number = buffer.scalar(table, _INNER_NUMBER, _I32, -1)
    start_ns = buffer.scalar(table, _START, _U64)
    ns = buffer.scalar(table, _END, _U64) - start_ns
    if ns < 0:
        raise ValueError("an event ends before it starts")
    name = inner or buffer.text(table, _NAME) or str(number)
    instruction = buffer.scalar(table, _INSTRUCTION, _I32, -1)
    return Event(name, instruction, bool(inner) or number >= 0, ns, start_ns)
