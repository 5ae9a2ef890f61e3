"""The phone's shell service: runs commands in sessions of their own."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO

from tests.android.protocol import Cut, Stream

SHELL = "/system/bin/sh"
ENVIRONMENT = {
    "PATH": "/system/bin",
    "HOME": "/",
    "HOSTNAME": "localhost",
    "LOGNAME": "shell",
    "SHELL": SHELL,
    "TERM": "xterm",
    "USER": "shell",
    "TMPDIR": "/data/local/tmp",
    "ANDROID_ROOT": "/system",
    "ANDROID_DATA": "/data",
    # For arm64 programs; what a Snapdragon 855's big cores are.
    "QEMU_CPU": "cortex-a76",
}

STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)

Meter = Callable[[str, int], None]


class Command:
    """A command of the shell whose streams go to the host.

    Args:
        stream: of the service.
        command: a line; empty for a shell that reads its commands.
        packets: whether the streams are told apart and the exit status is sent.
        meter: is told of each piece of output before it is sent.
    """

    def __init__(self, stream: Stream, command: str, packets: bool, meter: Meter) -> None:
        self._stream, self._packets, self._meter = stream, packets, meter
        self._process = subprocess.Popen(
            [SHELL, "-c", command] if command else [SHELL],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if packets else subprocess.STDOUT,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
            bufsize=0,
        )

    def run(self) -> None:
        process = self._process
        reader = threading.Thread(target=self._feed, daemon=True)
        reader.start()
        try:
            self._pass_output()
            status = process.wait()
            if self._packets:
                self._packet(EXIT, bytes([status % 256 if status >= 0 else 128 - status]))
        except Cut:
            # All that adbd does; what else the shell has started runs on.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGHUP)
        finally:
            for end in (process.stdout, process.stderr):
                if end is not None:
                    end.close()
            self._stream.close()
            reader.join()
            process.wait()

    def _pass_output(self) -> None:
        started = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for number, end in ((STDOUT, self._process.stdout), (STDERR, self._process.stderr)):
                if end is not None:
                    selector.register(end, selectors.EVENT_READ, number)
            while selector.get_map():
                for key, _ in selector.select(0.05):
                    data = os.read(key.fd, 1 << 15)
                    if not data:
                        selector.unregister(key.fileobj)
                    else:
                        self._meter("shell", len(data))
                        self._packet(key.data, data)
                self._meter("shell_ms", int((time.monotonic() - started) * 1000))
                if self._stream.is_closed:
                    raise Cut

    def _packet(self, number: int, data: bytes) -> None:
        head = struct.pack("<BI", number, len(data)) if self._packets else b""
        self._stream.write(head + data)

    def _feed(self) -> None:
        """Pass what the host types, until it or the shell has had enough."""
        stdin = self._process.stdin
        if stdin is None:
            raise ValueError("the shell has no input")
        with contextlib.suppress(Cut, BrokenPipeError), stdin:
            if self._packets:
                self._feed_packets(stdin)
                return
            while data := self._stream.read():
                stdin.write(data)

    def _feed_packets(self, stdin: IO[bytes]) -> None:
        while True:
            number, size = struct.unpack("<BI", self._stream.read_exactly(5))
            data = self._stream.read_exactly(size)
            if number == STDIN and not stdin.closed:
                stdin.write(data)
            elif number == CLOSE_STDIN:
                stdin.close()
