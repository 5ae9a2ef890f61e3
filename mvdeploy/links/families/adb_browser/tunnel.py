"""Tunnels of adb between a phone and this machine, and that none of them is left."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from mvdeploy.errors import DeviceUnavailable
from mvdeploy.links.families.adb import messages
from mvdeploy.links.families.adb.shell import Adb


class Tunnels:
    """The tunnels of one phone.

    Args:
        adb: open.
        serial: of the phone.
        name: what messages call it.
    """

    def __init__(self, adb: Adb, serial: str, name: str) -> None:
        self._adb, self._serial, self._name = adb, serial, name

    @contextlib.contextmanager
    def forward(self, socket: str) -> Iterator[int]:
        """Give the port here that leads to an abstract socket of the phone.

        Raises:
            DeviceUnavailable: the phone refuses it.
        """
        with self._open("forward", f"localabstract:{socket}") as port:
            yield port

    @contextlib.contextmanager
    def reverse(self, port: int) -> Iterator[int]:
        """Give the port of the phone that leads to one here.

        Raises:
            DeviceUnavailable: the phone refuses it.
        """
        with self._open("reverse", f"tcp:{port}") as on_phone:
            yield on_phone

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
        try:
            yield int(port)
        finally:
            with contextlib.suppress(DeviceUnavailable):  # with the phone, it is gone as well
                self._adb.ask("-s", self._serial, way, "--remove", f"tcp:{port}")

    def remove_left(self) -> None:
        """Remove tunnels to Chrome that ended runs have left here.

        What leads from a phone to here cannot be told from that of others, and does nothing.
        """
        reply = self._adb.ask("forward", "--list")
        pattern = rf"^{re.escape(self._serial)} (tcp:\d+) localabstract:chrome_devtools_remote$"
        for port in re.findall(pattern, reply.out.decode(errors="replace"), re.MULTILINE):
            self._adb.ask("-s", self._serial, "forward", "--remove", port)
