"""Tunnels of adb between a phone and this machine, and that none of them is left."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mvdeploy import files
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.files import writing
from mvdeploy.links.families.adb import messages
from mvdeploy.links.families.adb.shell import Adb

_NOTE = re.compile(r"(forward|reverse) tcp:\d+ \S+")


class Tunnels:
    """The tunnels of one phone.

    Those that are open are noted in a file of this user's, so that those of a run which was killed
    are told from those of other programs. Only who has the phone's lock may open any.

    Args:
        adb: open.
        serial: of the phone.
        name: what messages call it.
    """

    def __init__(self, adb: Adb, serial: str, name: str) -> None:
        self._adb, self._serial, self._name = adb, serial, name

    @property
    def _notes(self) -> Path:
        mark = hashlib.sha256(self._serial.encode()).hexdigest()[:12]
        readable = re.sub(r"[^A-Za-z0-9.-]+", "-", self._serial)[:40]
        return files.user_folder("runtime") / "tunnels" / f"{readable}-{mark}.txt"

    def forward(self, socket: str) -> contextlib.AbstractContextManager[int]:
        """Give the port here that leads to an abstract socket of the phone.

        Raises:
            DeviceUnavailable: the phone refuses it.
        """
        return self._open("forward", f"localabstract:{socket}")

    def reverse(self, port: int) -> contextlib.AbstractContextManager[int]:
        """Give the port of the phone that leads to one here.

        Raises:
            DeviceUnavailable: the phone refuses it.
        """
        return self._open("reverse", f"tcp:{port}")

    @contextlib.contextmanager
    def _open(self, way: str, to: str) -> Iterator[int]:
        reply = self._adb.ask("-s", self._serial, way, "tcp:0", to)
        port = reply.out.decode(errors="replace").strip()
        if reply.status != 0 or not port.isdecimal():
            if messages.knows(reply.text):
                raise messages.explain(reply.text, self._name)
            said = messages.last_line(reply.text) or "it gives no reason"
            raise DeviceUnavailable(
                f"{self._name} refuses a tunnel by adb ({way} {to}: {said}).",
                "Attach it by its cable, restart adb with 'adb kill-server', and run again.",
            )
        own = f"{way} tcp:{port} {to}"
        try:
            self._note([*self._noted(), own])
            yield int(port)
        finally:
            with contextlib.suppress(DeviceUnavailable):  # with the phone, it is gone as well
                if self._remove(way, f"tcp:{port}"):
                    self._note([line for line in self._noted() if line != own])

    def _remove(self, way: str, port: str) -> bool:
        return self._adb.ask("-s", self._serial, way, "--remove", port).status == 0

    def _noted(self) -> list[str]:
        with contextlib.suppress(OSError):
            return self._notes.read_text().splitlines()
        return []

    def _note(self, lines: Sequence[str]) -> None:
        # Without a note, a tunnel of a run that is killed stays until adb ends: no reason to stop.
        with contextlib.suppress(OSError, writing.NotWritten):
            if not lines:
                self._notes.unlink(missing_ok=True)
                return
            self._notes.parent.mkdir(parents=True, exist_ok=True)
            writing.text(self._notes, "".join(f"{line}\n" for line in lines))

    def remove_left(self) -> frozenset[int]:
        """Remove tunnels that ended runs of this user have left, and none of other programs.

        Returns:
            the ports of the phone by which pages of those runs reached this machine.
        """
        lines = filter(_NOTE.fullmatch, self._noted())
        noted = [line.split() for line in lines]
        for way in sorted({words[0] for words in noted}):
            reply = self._adb.ask("-s", self._serial, way, "--list")
            # First the phone, or what a phone calls this machine.
            listed = reply.out.decode(errors="replace").splitlines()
            there = [line.rsplit(maxsplit=2)[-2:] for line in listed]
            for words in noted:
                if words[0] == way and words[1:] in there:
                    self._remove(way, words[1])
        self._note([])
        return frozenset(int(words[1][4:]) for words in noted if words[0] == "reverse")
