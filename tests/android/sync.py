"""The phone's file service: what `adb push`, `adb pull` and `adb ls` talk to."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable

from tests.android.protocol import Cut, Stream

BLOCK = 64 * 1024
STAT_2 = struct.Struct("<4sIQQIIIIQqqq")

Meter = Callable[[str, int], None]
"""Is told of each block of a push or a pull; may raise what is to go wrong with it."""


class Sync:
    """Serves one stream until the host quits.

    Args:
        stream: of the service.
        meter: is asked before each block of data.
        log: is told of each file.
    """

    def __init__(self, stream: Stream, meter: Meter, log: Callable[[str], None]) -> None:
        self._stream, self._meter, self._log = stream, meter, log
        self._services: dict[bytes, Callable[[bytes], None]] = {
            b"STAT": self._stat_1,
            b"LST2": lambda path: self._write(_stat_2(b"LST2", path, os.lstat)),
            b"STA2": lambda path: self._write(_stat_2(b"STA2", path, os.stat)),
            b"LIST": self._list_1,
            b"LIS2": self._list_2,
            b"SEND": self._send_1,
            b"SND2": self._send_2,
            b"RECV": self._receive,
            b"RCV2": self._receive_2,
        }

    def run(self) -> None:
        while True:
            name, size = self._header()
            if name == b"QUIT":
                return
            service = self._services.get(name)
            if service is None:
                self._fail(f"unknown command {name!r}")
                return
            service(self._stream.read_exactly(size))

    def _header(self) -> tuple[bytes, int]:
        name, size = struct.unpack("<4sI", self._stream.read_exactly(8))
        return name, size

    def _write(self, data: bytes) -> None:
        self._stream.write(data)

    def _fail(self, reason: str) -> None:
        self._write(struct.pack("<4sI", b"FAIL", len(reason.encode())) + reason.encode())

    def _stat_1(self, path: bytes) -> None:
        self._write(b"STAT" + _words_1(path))

    def _list_1(self, folder: bytes) -> None:
        for name in _names(folder):
            words = _words_1(os.path.join(folder, name))
            self._write(b"DENT" + words + struct.pack("<I", len(name)) + name)
        self._write(b"DONE" + bytes(16))

    def _list_2(self, folder: bytes) -> None:
        for name in _names(folder):
            words = _stat_2(b"DNT2", os.path.join(folder, name), os.lstat)
            self._write(words + struct.pack("<I", len(name)) + name)
        self._write(b"DONE" + bytes(STAT_2.size))

    def _send_1(self, request: bytes) -> None:
        path, _, mode = request.rpartition(b",")
        self._send(path, int(mode))

    def _send_2(self, path: bytes) -> None:
        _, mode, flags = struct.unpack("<4sII", self._stream.read_exactly(12))
        if flags:
            self._fail("compression was not offered")
        else:
            self._send(path, mode)

    def _send(self, path: bytes, mode: int) -> None:
        """Take a file; once something went wrong, its rest is read and dropped, as adbd does."""
        self._log(f"push {path.decode()}")
        reason = ""
        file: int | None = None
        try:
            try:
                file = _create(path, mode)
            except _Refused as refused:
                reason = str(refused)
                self._fail(reason)
            while isinstance(block := self._data(), bytes):
                if reason or file is None:
                    continue
                try:
                    self._meter("push", len(block))
                    os.write(file, block)
                except OSError as error:
                    reason = f"write failed: {os.strerror(error.errno or 0)}"
                    self._fail(reason)
        finally:
            if file is not None:
                os.close(file)
        if not reason:
            os.utime(path, (block, block))
            self._write(struct.pack("<4sI", b"OKAY", 0))

    def _data(self) -> bytes | int:
        """Return the next block, or the time that the file is from, which follows the last."""
        name, size = self._header()
        if name == b"DONE":
            return size
        if name != b"DATA":
            raise Cut
        return self._stream.read_exactly(size)

    def _receive_2(self, path: bytes) -> None:
        self._stream.read_exactly(8)
        self._receive(path)

    def _receive(self, path: bytes) -> None:
        self._log(f"pull {path.decode()}")
        try:
            with open(path, "rb") as file:
                while block := file.read(BLOCK):
                    self._meter("pull", len(block))
                    self._write(struct.pack("<4sI", b"DATA", len(block)) + block)
        except OSError as error:
            self._fail(f"open failed: {os.strerror(error.errno or 0)}")
        else:
            self._write(struct.pack("<4sI", b"DONE", 0))


class _Refused(Exception):
    """A file cannot be made; in the words of adbd."""


def _create(path: bytes, mode: int) -> int:
    _make_folders(os.path.dirname(path))
    user = mode & 0o700
    access = (mode & 0o777) | user >> 3 | user >> 6
    try:
        if os.path.lexists(path):
            if stat.S_ISDIR(os.lstat(path).st_mode):
                raise IsADirectoryError(errno.EISDIR, "Is a directory")
            os.unlink(path)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, access)
    except OSError as error:
        raise _Refused(f"couldn't create file: {os.strerror(error.errno or 0)}") from error
    os.fchmod(file, access)
    return file


def _make_folders(folder: bytes) -> None:
    try:
        if not os.path.isdir(folder):
            _make_folders(os.path.dirname(folder))
            os.mkdir(folder, 0o775)
    except OSError as error:
        raise _Refused(f"secure_mkdirs failed: {os.strerror(error.errno or 0)}") from error


def _names(folder: bytes) -> list[bytes]:
    try:
        return [b".", b"..", *sorted(os.listdir(folder))]
    except OSError:
        return []  # version 1 has no word for it


def _words_1(path: bytes) -> bytes:
    try:
        found = os.lstat(path)
    except OSError:
        return bytes(12)
    return struct.pack("<III", found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))


def _stat_2(name: bytes, path: bytes, look: Callable[[bytes], os.stat_result]) -> bytes:
    try:
        found = look(path)
    except OSError as error:
        return STAT_2.pack(name, error.errno or errno.EIO, *[0] * 10)
    times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
    owner = (found.st_mode, found.st_nlink, 2000, 2000, found.st_size)
    return STAT_2.pack(name, 0, found.st_dev, found.st_ino, *owner, *times)
