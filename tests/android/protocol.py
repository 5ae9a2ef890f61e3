"""The adb protocol as a phone speaks it: messages, connections, streams.

Everything here runs in the stand-in's own process. A connection carries many streams; each stream
may have one message under way in each direction until the other side says OKAY.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import queue
import socket
import struct
import threading
from collections.abc import Callable

VERSION = 0x01000001
"""From this version on nobody looks at checksums."""

MAX_PAYLOAD = 1 << 20
HEADER = struct.Struct("<4sIIIII")
TOKEN, PUBLIC_KEY = 1, 3


class Cut(Exception):
    """The connection, or the stream, is no more."""


@dataclasses.dataclass(frozen=True)
class Message:
    command: bytes
    first: int
    second: int
    data: bytes

    def packed(self, version: int) -> bytes:
        check = sum(self.data) & 0xFFFFFFFF if version < VERSION else 0
        magic = int.from_bytes(self.command, "little") ^ 0xFFFFFFFF
        words = (self.command, self.first, self.second, len(self.data), check, magic)
        return HEADER.pack(*words) + self.data


class Stream:
    """One service that the host has opened."""

    def __init__(self, connection: Connection, local: int, remote: int) -> None:
        self.connection, self.local, self.remote = connection, local, remote
        self._incoming: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._credit = threading.Semaphore(0)
        self._closed = threading.Event()
        self._rest = b""

    def opened(self) -> None:
        self.connection.send(b"OKAY", self.local, self.remote)
        self.credit()

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), self.connection.payload):
            self._credit.acquire()
            if self._closed.is_set():
                raise Cut
            piece = data[start : start + self.connection.payload]
            self.connection.send(b"WRTE", self.local, self.remote, piece)

    def read(self) -> bytes:
        """Return what the host sent next; empty when it has closed the stream."""
        data = self._incoming.get()
        if data is None:
            self._incoming.put(None)
            return b""
        self.connection.send(b"OKAY", self.local, self.remote)
        return data

    def read_exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            data = self.read()
            if not data:
                raise Cut
            self._rest += data
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        if not self._closed.is_set():
            self.ended()
            with contextlib.suppress(Cut):
                self.connection.send(b"CLSE", self.local, self.remote)

    def ended(self) -> None:
        """Take note that there is nothing more to come; wakes all who wait."""
        self._closed.set()
        self._incoming.put(None)
        self._credit.release()

    def credit(self) -> None:
        self._credit.release()

    def take(self, data: bytes) -> None:
        self._incoming.put(data)


class Connection:
    """A host's connection from its CNXN to its end.

    Args:
        peer: the socket.
        banner: tells how the phone introduces itself; empty for one that never answers.
        trusted: whether the host's key is accepted.
        serve: does what a service name asks for, in a thread of its own.
    """

    def __init__(
        self,
        peer: socket.socket,
        banner: Callable[[], bytes],
        trusted: Callable[[], bool],
        serve: Callable[[str, Stream], None],
    ) -> None:
        self._peer, self._banner, self._trusted, self._serve = peer, banner, trusted, serve
        self._sending = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._numbers = itertools.count(1)
        self._version, self.payload = VERSION, MAX_PAYLOAD

    def run(self) -> None:
        try:
            while True:
                self._handle(self._receive())
        except Cut:
            pass
        finally:
            self.cut()
            for stream in list(self._streams.values()):
                stream.ended()
            self._peer.close()

    def cut(self) -> None:
        """End the connection without a word, as a pulled cable does."""
        with contextlib.suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        try:
            with self._sending:
                self._peer.sendall(Message(command, first, second, data).packed(self._version))
        except OSError as error:
            raise Cut from error

    def _receive(self) -> Message:
        command, first, second, size, _, _ = HEADER.unpack(self._take(HEADER.size))
        return Message(command, first, second, self._take(size))

    def _take(self, size: int) -> bytes:
        data = bytearray(size)
        view, done = memoryview(data), 0
        while done < size:
            try:
                read = self._peer.recv_into(view[done:])
            except OSError as error:
                raise Cut from error
            if read == 0:
                raise Cut
            done += read
        return bytes(data)

    def _handle(self, message: Message) -> None:
        if message.command == b"CNXN":
            self._version = min(VERSION, message.first)
            self.payload = min(MAX_PAYLOAD, message.second)
            self._introduce()
        elif message.command == b"AUTH":
            if message.first != PUBLIC_KEY:  # a key that the phone has never seen
                self.send(b"AUTH", TOKEN, 0, os.urandom(20))
        elif message.command == b"OPEN":
            self._open(message.first, message.data.rstrip(b"\0").decode())
        elif message.command in (b"WRTE", b"OKAY", b"CLSE"):
            self._continue(message)
        else:
            raise ValueError(f"a message {message.command!r} from the host")

    def _introduce(self) -> None:
        if not self._trusted():
            self.send(b"AUTH", TOKEN, 0, os.urandom(20))
        elif banner := self._banner():
            self.send(b"CNXN", VERSION, MAX_PAYLOAD, banner)

    def _open(self, remote: int, service: str) -> None:
        stream = Stream(self, next(self._numbers), remote)
        self._streams[stream.local] = stream
        threading.Thread(target=self._run, args=(service, stream), daemon=True).start()

    def _run(self, service: str, stream: Stream) -> None:
        try:
            self._serve(service, stream)
        except Cut:
            pass
        finally:
            stream.close()

    def _continue(self, message: Message) -> None:
        stream = self._streams.get(message.second)
        if message.command == b"CLSE":
            # The host's server waits for an answer to each, even where the phone closed first.
            if stream is not None:
                del self._streams[message.second]
                stream.close()
        elif stream is None:
            self.send(b"CLSE", 0, message.first)
        elif message.command == b"OKAY":
            stream.credit()
        else:
            stream.take(message.data)
