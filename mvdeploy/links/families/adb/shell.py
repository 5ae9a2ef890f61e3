"""Android devices through the adb program: which are attached, their shell, their files."""

from __future__ import annotations

import contextlib
import posixpath
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from mvdeploy.errors import DeviceUnavailable, EngineError, UsageError
from mvdeploy.files import writing
from mvdeploy.links.families.adb import messages
from mvdeploy.links.families.adb import program as adb_program
from mvdeploy.links.families.adb.messages import Attached
from mvdeploy.links.families.adb.program import Reply
from mvdeploy.links.shell import Answer, OnBytes, answer_of, ended, quote, with_status

_ASK_S = 10.0
"""Seconds allowed for what the adb server can answer by itself."""

_CONNECT_S = 4.0
"""Seconds allowed for a device to answer over the network; adb alone would wait for 10."""

_TRANSFER_S = 30.0
_SLOWEST = 500_000
"""Bytes per second: a transfer may take `_TRANSFER_S` and what it takes at this rate."""

_POLL_S = 0.5
"""Seconds between looks at how much of a file has arrived."""


class Adb:
    """The adb program, and its server left as it was found. A context manager.

    Args:
        program: name or path of adb; None to look for it as `program.find` says.

    Attributes:
        program: its path.

    Raises:
        DeviceUnavailable: there is none.
    """

    def __init__(self, program: str | None = None) -> None:
        self.program = adb_program.find(program)
        self._server = adb_program.Server(self.program)
        self._connected: list[str] = []

    def open(self) -> None:
        """Have a server, one that runs already or a new one.

        Raises:
            DeviceUnavailable: none can be started.
        """
        self._server.start()

    def close(self) -> None:
        """Part from devices that `connect` has reached, and end the server if it is a new one."""
        try:
            while self._connected:
                self.ask("disconnect", self._connected.pop())
        finally:
            self._server.stop()

    def devices(self) -> tuple[Attached, ...]:
        """Return what is attached, ready or not.

        Raises:
            DeviceUnavailable: adb does not say.
        """
        reply = self.ask("devices", "-l")
        if reply.status != 0:
            raise messages.explain(reply.text, "its own server")
        return messages.parse_devices(reply.out.decode(errors="replace"))

    def ready(self, serial: str | None = None) -> Attached:
        """Return the device with a serial, or the only one there is, if it can be used.

        Raises:
            DeviceUnavailable: there is none, more than one, or it is in no state to be used.
        """
        phones = [phone for phone in self.devices() if serial in (None, phone.serial)]
        if not phones and serial is not None:
            raise messages.absent(f"Device {serial}")
        if not phones:
            raise messages.none_attached()
        if len(phones) > 1 and not any(phone.state == "device" for phone in phones):
            raise messages.none_ready(phones)
        if len(phones) > 1:
            raise messages.several(", ".join(phone.serial for phone in phones))
        if phones[0].state != "device":
            raise messages.not_ready(f"Device {phones[0].serial}", phones[0].state)
        return phones[0]

    def connect(self, address: str) -> str:
        """Reach a device over the network.

        Args:
            address: ``host`` or ``host:port``.

        Returns:
            its serial.

        Raises:
            DeviceUnavailable: it does not answer.
        """
        serial, is_new = self._connect(address)
        if is_new:
            self._connected.append(serial)
        elif self._state(serial) != "device":
            # adb still believes in a connection that has died.
            self.ask("disconnect", serial)
            self._connect(address)
        self.ready(serial)
        return serial

    def _connect(self, address: str) -> tuple[str, bool]:
        """Return the serial, and whether it was not connected before."""
        try:
            text = self._run(["connect", address], _CONNECT_S).text.strip()
        except subprocess.TimeoutExpired as error:
            self.ask("disconnect", address)
            raise messages.silent(f"Device {address}", "connecting", _CONNECT_S) from error
        # It exits with 0 whatever comes of it.
        connected = re.search(r"^(already )?connected to (.+)$", text, re.MULTILINE)
        if connected is None:
            self.ask("disconnect", address)  # it would go on trying
            raise messages.unreachable(address, text)
        return connected[2].strip(), connected[1] is None

    def _state(self, serial: str) -> str:
        return next((one.state for one in self.devices() if one.serial == serial), "gone")

    def ask(self, *words: str) -> Reply:
        """Run adb for what its server answers by itself.

        Raises:
            DeviceUnavailable: it does not answer in time.
        """
        try:
            return self._run(words, _ASK_S)
        except subprocess.TimeoutExpired as error:
            raise messages.silent("The adb server", f"asked to {words[0]}", _ASK_S) from error

    def _run(self, words: Sequence[str], limit_s: float) -> Reply:
        return adb_program.run(self.program, words, limit_s)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AdbShell:
    """The shell and the files of one device; a `Shell`.

    Standard output and standard error come apart, except from phones older than Android 7, which
    give both as the first.

    Args:
        adb: open.
        serial: of the device.
        name: what messages call it; None for its serial.

    Attributes:
        name: what messages call it.
        folder: where adb's user may write and execute.
        serial: of the device.
    """

    folder = "/data/local/tmp"

    def __init__(self, adb: Adb, serial: str, name: str | None = None) -> None:
        self.serial = serial
        self.name = name or f"Device {serial}"
        self._adb = adb

    def call(self, command: str, limit_s: float = 30.0) -> Answer:
        """Run a command of the device's shell and wait for it; see `Shell.call`."""
        # adb's own status is no help: it may be 0 when the connection has broken.
        words = self._shell(with_status(command))
        try:
            reply = adb_program.run(self._adb.program, words, limit_s)
        except subprocess.TimeoutExpired as error:
            raise messages.silent(self.name, "running a command", limit_s) from error
        answer = answer_of(reply.out, reply.error)
        if answer is None:
            raise self._cut(reply)
        return answer

    def start(
        self, command: str, error: IO[bytes] | None = None, *, held: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start a command whose output is read while it runs; see `Shell.start`.

        Args:
            command: a line for the shell.
            error: an open file for its standard error, and for what adb has to say; None to drop
                both.
            held: see `Shell.start`.
        """
        words = self._shell(with_status(command))
        drop, pipe = subprocess.DEVNULL, subprocess.PIPE
        return adb_program.launch(
            self._adb.program,
            words,
            pipe,
            drop if error is None else error,
            pipe if held else drop,
        )

    def push(self, local: Path, remote: str, on_bytes: OnBytes | None = None) -> None:
        """Copy a file to the device, whole or not at all; see `Shell.push`.

        Raises:
            UsageError: there is no such file here.
            DeviceUnavailable: the device is gone, or cannot take the file (and why).
        """
        if not local.is_file():
            raise UsageError(
                f"There is no file {local} to be sent.", "Give the path of a file that is there."
            )
        size, part = local.stat().st_size, f"{remote}.part"
        self._must(f"mkdir -p -- {quote(posixpath.dirname(remote) or '/')}", remote)
        sent = False
        try:
            self._send(local, part, size, on_bytes)
            self._must(f"mv -f -- {quote(part, remote)}", remote)
            sent = True
        finally:
            if not sent:
                self._discard(part)
        if on_bytes is not None:
            on_bytes(size, size)

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from the device, whole or not at all; see `Shell.pull`."""
        status = self.call(f"[ -f {quote(remote)} ]").status
        if status != 0:
            raise EngineError(
                f"{self.name} has no file {remote}.", "Run again with --debug to see what it did."
            )
        size = self._size(remote)
        with writing.whole(local) as whole:
            part = whole.resolve()
            limit_s = _TRANSFER_S + size / _SLOWEST
            try:
                reply = self._run(["pull", "--", remote, str(part)], limit_s)
            except subprocess.TimeoutExpired as error:
                raise messages.silent(self.name, f"sending {remote}", limit_s) from error
            self._check_pulled(reply, remote, part)

    def _check_pulled(self, reply: Reply, remote: str, part: Path) -> None:
        if reply.status == 0 and part.is_file():
            return
        reason = _reason(reply.text, f"failed to copy '{remote}' to '{part}': ")
        if reason.startswith("remote "):
            raise EngineError(
                f"{self.name} does not give the file {remote} ({reason}).",
                "Give adb's user the right to read it.",
            )
        raise self._cut(reply, f"{remote} was being copied from it")

    def _send(self, local: Path, part: str, size: int, on_bytes: OnBytes | None) -> None:
        limit_s = _TRANSFER_S + size / _SLOWEST
        source = str(local.resolve())
        with tempfile.TemporaryFile() as output:
            words = ["-s", self.serial, "push", "--", source, part]
            with ended(adb_program.launch(self._adb.program, words, output, output)) as process:
                self._follow(process, part, size, limit_s, on_bytes)
            output.seek(0)
            if process.returncode != 0:
                reply = Reply(process.returncode, output.read(), b"")
                raise self._refused(reply, local, source, part)

    def _follow(
        self,
        process: subprocess.Popen[bytes],
        part: str,
        size: int,
        limit_s: float,
        on_bytes: OnBytes | None,
    ) -> None:
        """Wait for a transfer, and tell how far it is: adb tells that to terminals only."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
                return
            if on_bytes is not None:
                on_bytes(min(self._size(part), size), size)
        raise messages.silent(self.name, "receiving a file", limit_s)

    def _size(self, remote: str) -> int:
        answer = self.call(f"stat -c %s -- {quote(remote)}")
        return int(answer.out) if answer.status == 0 and answer.out.strip().isdecimal() else 0

    def _refused(self, reply: Reply, local: Path, source: str, part: str) -> DeviceUnavailable:
        """Word the error for a file that the device did not take."""
        reason = _reason(reply.text, f"failed to copy '{source}' to '{part}': ")
        if "No space left on device" in reason:
            return DeviceUnavailable(
                f"{self.name} has no room for {local.name} ({local.stat().st_size / 1e6:.1f} MB).",
                f"Free space on it, and look into {self.folder} for what may be removed.",
            )
        if reason.startswith("remote "):
            return self._denied(part.removesuffix(".part"), reason)
        return self._cut(reply, f"{local.name} was being sent")

    def _must(self, command: str, remote: str) -> None:
        answer = self.call(command)
        if answer.status != 0:
            reason = messages.last_line(answer.error or answer.out)
            raise self._denied(remote, reason or f"exit status {answer.status}")

    def _denied(self, remote: str, reason: str) -> DeviceUnavailable:
        """Word the error for a place that may not be written to."""
        where, owner = self._closed(remote)
        if owner:
            return self.foreign(where, owner, reason)
        return DeviceUnavailable(
            f"{self.name} does not take a file as {remote} ({reason}).",
            f"See whether `{messages.line(self.serial, 'shell', 'ls', '-ld', self.folder)}` "
            "lists a folder that adb's user, shell, may write to, and whether its storage is "
            "mounted read-only; restarting the phone may help.",
        )

    def foreign(self, where: str, owner: str, reason: str) -> DeviceUnavailable:
        """Word the error for what another user has left; see `Shell.foreign`."""
        return messages.foreign(self.name, self.serial, where, owner, reason)

    def _closed(self, remote: str) -> tuple[str, str]:
        """Return what on the way to a file belongs to another user than adb's, and its owner.

        Both are empty when all that is there below the folder is this user's own.
        """
        below = posixpath.relpath(remote, self.folder).split("/")
        if below[0] == "..":
            return "", ""
        ways = [posixpath.join(self.folder, *below[:n]) for n in range(1, len(below) + 1)]
        answer = self.call(
            f"id -u && for way in {quote(*ways)}; do "
            '[ ! -e "$way" ] || [ -w "$way" ] || stat -c "%u %U %n" -- "$way"; done'
        )
        own, *lines = answer.out.splitlines() or [""]
        for listed in lines:
            number, user, where = (*listed.split(" ", 2), "", "")[:3]
            if number.isdecimal() and number != own.strip():
                known = user not in ("", "UNKNOWN")
                return where, "root" if number == "0" else user if known else f"user {number}"
        return "", ""

    def _discard(self, part: str) -> None:
        # What stopped the transfer is raised already; a device that is gone keeps the piece.
        with contextlib.suppress(DeviceUnavailable):
            self.call(f"rm -f -- {quote(part)}")

    def _cut(self, reply: Reply, doing: str = "a command ran") -> DeviceUnavailable:
        """Word the error for an answer that did not come whole."""
        if messages.knows(reply.text):
            return messages.explain(reply.text, self.name)
        return messages.lost(self.name, doing)

    def _shell(self, line: str) -> list[str]:
        # Without a terminal here there is none there; saying so by -T is refused by old phones.
        return ["-s", self.serial, "shell", line]

    def _run(self, words: Sequence[str], limit_s: float) -> Reply:
        return adb_program.run(self._adb.program, ["-s", self.serial, *words], limit_s)


def _reason(text: str, prefix: str) -> str:
    """Return what follows a prefix on its line; names in it cannot be taken for a reason."""
    rest = text.partition(prefix)[2]
    return rest.splitlines()[0].strip() if rest.strip() else ""
