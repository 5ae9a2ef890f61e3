"""The phone's adbd: accepts hosts, serves their streams, and does what goes wrong on demand.

It is told what to do by lines of JSON on its standard input, and answers each with a line.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from tests.android import tables
from tests.android.protocol import Connection, Cut, Stream
from tests.android.shell import Command
from tests.android.sync import Sync
from tests.android.tunnels import Tunnels

LOG = Path(tables.LOG)


def serve(features: list[str]) -> None:
    """Serve until the standard input ends."""
    # Outside the root by now, where nothing more can be loaded from.
    threading.excepthook = die
    os.umask(0)  # adbd's, and so that of all its shells
    phone = Daemon(features)
    phone.listen()
    print(phone.port, flush=True)
    for line in sys.stdin:
        phone.obey(json.loads(line))
        print("done", flush=True)


def die(failure: threading.ExceptHookArgs) -> None:
    """End the process with a thread that has failed."""
    traceback.print_exception(failure.exc_type, failure.exc_value, failure.exc_traceback)
    os._exit(1)


class Daemon:
    """Attributes:
    port: it listens at.
    """

    def __init__(self, features: list[str]) -> None:
        self.port = 0
        self._features = features
        self._lock = threading.RLock()
        self._listening: socket.socket | None = None
        self._connections: set[Connection] = set()
        self._faults: dict[str, Any] = {}
        self._passed: Counter[str] = Counter()
        self._tunnels = Tunnels()

    def obey(self, order: dict[str, Any]) -> None:
        with self._lock:
            if "faults" in order:
                self._faults, self._passed = order["faults"], Counter()
                self._tunnels.refuses = bool(self._faults.get("no_reverse"))
            if "abstract" in order:
                self._tunnels.abstract = order["abstract"]
            if order.get("cut"):
                self._cut()
            if order.get("listen") is False:
                self._deafen()
            elif order.get("listen"):
                self.listen()

    def listen(self) -> None:
        if self._listening is None:
            self._listening = socket.create_server(("127.0.0.1", self.port))
            self.port = self._listening.getsockname()[1]
            threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def _deafen(self) -> None:
        if self._listening is not None:
            with contextlib.suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._listening = None

    def _cut(self) -> None:
        """Lose the host, and be who the fault says from now on."""
        if "become" in self._faults:
            tables.write_properties(Path("/"), self._faults["become"])
        if self._faults.get("stay_away"):
            self._deafen()
        for connection in self._connections:
            connection.cut()
        self._tunnels.cut()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(peer, self._banner, self._trusts, self._serve)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: Connection) -> None:
        with self._lock:
            self._connections.add(connection)
        try:
            connection.run()
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _trusts(self) -> bool:
        return not self._faults.get("unauthorized")

    def _banner(self) -> bytes:
        if self._faults.get("offline"):
            return b""
        properties = tables.read_properties(Path("/"))
        names = ("ro.product.name", "ro.product.model", "ro.product.device")
        words = [f"{name}={properties[name]}" for name in names]
        return ("device::" + ";".join([*words, f"features={','.join(self._features)}"])).encode()

    def _serve(self, service: str, stream: Stream) -> None:
        kind, _, rest = service.partition(":")

        def meter(what: str, amount: int) -> None:
            self._meter(stream, what, amount)

        if kind == "sync":
            stream.opened()
            Sync(stream, meter, self._log).run()
        elif kind == "exec" or kind.split(",")[0] == "shell":
            self._log(f"shell {rest}")
            stream.opened()
            Command(stream, rest, "v2" in kind.split(","), meter).run()
        elif kind == "localabstract":
            self._tunnels.connect(rest, stream)
        elif kind == "reverse":
            self._tunnels.reverse(rest, stream)
        # Others are closed at once, as adbd does with what it does not know.

    def _meter(self, stream: Stream, what: str, amount: int) -> None:
        time.sleep(self._faults.get(f"slow_{what}_s", 0))
        with self._lock:
            if what == "shell_ms":
                passed = amount
            else:
                self._passed[what] += amount
                passed = self._passed[what]
            if what == "push" and passed > self._faults.get("full_after", passed):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            limit = self._faults.get(f"cut_{what}_after")
            if limit is not None and passed >= limit:
                del self._faults[f"cut_{what}_after"]
                self._cut()
                raise Cut

    def _log(self, line: str) -> None:
        with self._lock, LOG.open("a") as log:
            log.write(json.dumps(line) + "\n")
