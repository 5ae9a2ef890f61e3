"""What adb's ``forward`` and ``reverse`` reach on the phone: its abstract sockets, and ports of it.

The phone shares this machine's network: what listens at an abstract socket is said by the port of a
program here, and what comes to a port of the phone goes to the host's port without adb's help.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading

from tests.android.protocol import Cut, Stream


class Tunnels:
    """Attributes:
    abstract: name of a socket → port of the program that listens there.
    refuses: whether ``reverse`` is refused.
    """

    def __init__(self) -> None:
        self.abstract: dict[str, int] = {}
        self.refuses = False
        self._lock = threading.Lock()
        self._listening: dict[int, socket.socket] = {}
        self._leads: dict[int, int] = {}
        self._open: set[socket.socket] = set()

    def connect(self, name: str, stream: Stream) -> None:
        """Relay a stream to a socket; without one it ends, as that of a phone does."""
        if name not in self.abstract:
            return
        try:
            peer = _connected(self.abstract[name])
        except OSError:
            return
        stream.opened()
        self._keep(peer)
        back = threading.Thread(target=self._answers, args=(peer, stream), daemon=True)
        back.start()
        try:
            while data := stream.read():
                peer.sendall(data)
        except OSError:
            pass
        finally:
            self._end(peer)

    def _answers(self, peer: socket.socket, stream: Stream) -> None:
        with contextlib.suppress(OSError, Cut):
            while data := peer.recv(1 << 16):
                stream.write(data)
        stream.close()

    def reverse(self, words: str, stream: Stream) -> None:
        """Do ``forward:tcp:0;tcp:PORT``, ``list-forward`` or ``killforward:tcp:PORT``."""
        stream.opened()
        if self.refuses:
            stream.write(b"FAIL0009no rights")
            return
        if words == "list-forward":
            lines = [f"host-9 tcp:{own} tcp:{to}\n" for own, to in self._leads.copy().items()]
            listed = "".join(lines).encode()
            stream.write(b"%04x%s" % (len(listed), listed))  # a phone says no OKAY to this
        elif found := re.fullmatch(r"forward:tcp:0;tcp:(\d+)", words):
            port = str(self._listen(int(found[1]))).encode()
            stream.write(b"OKAY%04x%s" % (len(port), port))
        elif found := re.fullmatch(r"killforward:tcp:(\d+)", words):
            listening = self._listening.pop(int(found[1]), None)
            self._leads.pop(int(found[1]), None)
            if listening is None:
                stream.write(b"FAIL0007no such")
                return
            _shut(listening)
            stream.write(b"OKAY")

    def ports(self) -> list[int]:
        return sorted(self._listening)

    def _listen(self, port: int) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        own: int = listening.getsockname()[1]
        self._listening[own], self._leads[own] = listening, port
        threading.Thread(target=self._accept, args=(listening, port), daemon=True).start()
        return own

    def _accept(self, listening: socket.socket, port: int) -> None:
        while True:
            try:
                peer, _ = listening.accept()
                other = _connected(port)
            except OSError:
                return
            for one, to in ((peer, other), (other, peer)):
                self._keep(one)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._relay, args=(one, to), daemon=True).start()

    def _relay(self, one: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                to.sendall(data)
        self._end(one)
        self._end(to)

    def cut(self) -> None:
        """End all, as a pulled cable does."""
        with self._lock:
            own, self._open = self._open, set()
        for one in (*own, *self._listening.values()):
            _shut(one)
        self._listening.clear()
        self._leads.clear()

    def _keep(self, one: socket.socket) -> None:
        with self._lock:
            self._open.add(one)

    def _end(self, one: socket.socket) -> None:
        with self._lock:
            self._open.discard(one)
        _shut(one)


def _connected(port: int) -> socket.socket:
    # Not by name: what looks names up cannot be imported on the phone.
    peer = socket.socket()
    try:
        peer.connect(("127.0.0.1", port))
    except OSError:
        peer.close()
        raise
    return peer


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
