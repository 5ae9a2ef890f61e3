"""Linux boards through the OpenSSH client: their shell, their files."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from mvdeploy.errors import DeviceUnavailable, EngineError, UsageError
from mvdeploy.files import writing
from mvdeploy.links.families.ssh import connection, messages
from mvdeploy.links.shell import (
    Answer,
    OnBytes,
    answer_of,
    ended,
    last_line,
    quote,
    with_status,
)

_POLL_S = 0.1
"""Seconds between looks at how much of a file has been sent."""

_STALL_S = 60.0
"""Seconds without a byte after which a transfer counts as stuck."""

_FIND_FOLDER = r"""
export LC_ALL=C
for folder in "${XDG_CACHE_HOME:-$HOME/.cache}/mvdeploy" "${TMPDIR:-/tmp}/mvdeploy-$(id -un)"; do
    mkdir -p -m 700 -- "$folder" || continue
    # Where everybody may write it could be somebody else's.
    if [ -L "$folder" ] || [ ! -O "$folder" ]; then
        echo "$folder belongs to another user" >&2
        continue
    fi
    probe="$folder/.probe.$$"
    printf '#!/bin/sh\nexit 0\n' > "$probe" && chmod 700 "$probe" && "$probe"
    usable=$?
    rm -f -- "$probe"
    if [ $usable -eq 0 ]; then
        printf '%s\n' "$folder"
        exit 0
    fi
done
exit 1
"""
"""The user's own cache first: it is private, and a kit in it is still there after a restart."""

_TAKE = """
export LC_ALL=C
if [ -d {remote} ]; then echo 'a folder has that name' >&2; exit 1; fi
mkdir -p -- {folder} && cat > {part} && arrived=$(wc -c < {part}) || exit 1
if [ $arrived -ne {size} ]; then echo 'it did not arrive whole' >&2; exit 1; fi
chmod {mode:o} {part} && mv -f {part} {remote}
"""


class SshShell:
    """The shell and the files of a device that runs an ssh server; a `Shell`. A context manager.

    The user's ssh configuration holds, and host keys are checked as it says; nothing is asked for.

    Args:
        address: ``[user@]host[:port]``, or a host of the ssh configuration.
        name: what messages call the device; None for its address.
        connect_s: seconds for it to answer.

    Attributes:
        name: what messages call it.
        folder: where the user may write and execute; known once the shell is open.
        address: where it is.

    Raises:
        UsageError: the address is none.
    """

    def __init__(self, address: str, name: str | None = None, connect_s: float = 5.0) -> None:
        self.address = address
        self.name = name or f"Device {address}"
        self.folder = ""
        destination = connection.parse(address)
        self._connection = connection.Connection(destination, self.name, connect_s)

    def open(self) -> None:
        """Log in, and find a folder for programs.

        Raises:
            DeviceUnavailable: the device does not answer, refuses the login, or has no such folder.
        """
        self._connection.open()
        try:
            self.folder = self._find_folder()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Log out. May be called again."""
        self._connection.close()

    def call(self, command: str, limit_s: float = 30.0) -> Answer:
        """Run a command of the device's shell and wait for it; see `Shell.call`."""
        line = with_status(command)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
            with ended(self._connection.start(line, stdout=out, stderr=error)) as process:
                try:
                    process.wait(limit_s)
                except subprocess.TimeoutExpired as late:
                    raise messages.silent(self.name, "running a command", limit_s) from late
            output, errors = _content(out), _content(error)
        # ssh's own status is no help: 255 may be the command's.
        answer = answer_of(output, errors)
        if answer is None:
            raise self._connection.lost("a command ran", errors.decode(errors="replace"))
        return answer

    def start(
        self, command: str, error: IO[bytes] | None = None, *, held: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start a command whose output is read while it runs; see `Shell.start`.

        Args:
            command: a line for the shell.
            error: an open file for its standard error, and for what ssh has to say; None to drop
                both.
            held: see `Shell.start`.

        Raises:
            DeviceUnavailable: the device is gone.
        """
        return self._connection.start(
            with_status(command),
            stdin=subprocess.PIPE if held else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if error is None else error,
        )

    def push(self, local: Path, remote: str, on_bytes: OnBytes | None = None) -> None:
        """Copy a file to the device, whole or not at all; see `Shell.push`.

        Whether it may be executed, and by whom it may be read, stays as it is here.

        Raises:
            UsageError: there is no such file here.
            DeviceUnavailable: the device is gone, or cannot take the file (and why).
        """
        if not local.is_file():
            raise UsageError(
                f"There is no file {local} to be sent.", "Give the path of a file that is there."
            )
        with local.open("rb") as source, tempfile.TemporaryFile() as error:
            about, part = os.fstat(source.fileno()), f"{remote}.{os.getpid()}.part"
            take = _TAKE.format(
                remote=_path(remote),
                folder=_path(posixpath.dirname(remote) or "."),
                part=_path(part),
                size=about.st_size,
                mode=about.st_mode & 0o777 | 0o600,
            )

            def sent() -> int:
                # ssh reads from this very open file.
                count = os.lseek(source.fileno(), 0, os.SEEK_CUR)
                if on_bytes is not None:
                    on_bytes(min(count, about.st_size), about.st_size)
                return count

            command = f"({take}) || {{ rm -f {_path(part)}; exit 1; }}"
            with ended(self._connection.start(command, stdin=source, stderr=error)) as process:
                self._follow(process, sent, f"receiving {local.name}")
            if process.returncode != 0:
                reason = _content(error).decode(errors="replace")
                self._refuse(process.returncode, reason, local, remote)
        if on_bytes is not None:
            on_bytes(about.st_size, about.st_size)

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from the device, whole or not at all; see `Shell.pull`."""
        answer = self.call(f"[ -f {_path(remote)} ] && wc -c < {_path(remote)}")
        if answer.status == 1 and not answer.error:
            raise EngineError(
                f"{self.name} has no file {remote}.", "Run again with --debug to see what it did."
            )
        if answer.status != 0:
            raise self._withheld(remote, answer.error)
        with writing.whole(local) as part:
            self._receive(remote, part, int(answer.out))

    def foreign(self, where: str, owner: str, reason: str) -> DeviceUnavailable:
        """Word the error for what another user has left; see `Shell.foreign`."""
        return messages.foreign(self.name, where, owner, reason)

    def _receive(self, remote: str, part: Path, size: int) -> None:
        with part.open("wb") as target, tempfile.TemporaryFile() as error:
            command = f"LC_ALL=C cat {_path(remote)}"
            with ended(self._connection.start(command, stdout=target, stderr=error)) as process:
                self._follow(process, lambda: part.stat().st_size, f"sending {remote}")
            errors = _content(error).decode(errors="replace")
        if process.returncode == 255:
            raise self._connection.lost(f"{remote} was being copied from it")
        if process.returncode != 0:
            raise self._withheld(remote, errors)
        if part.stat().st_size != size:
            raise EngineError(
                f"{self.name} changed the file {remote} while it was being copied.",
                "Wait until nothing writes to it, and run again.",
            )

    def _follow(
        self, process: subprocess.Popen[bytes], moved: Callable[[], int], doing: str
    ) -> None:
        """Wait for a transfer as long as it moves."""
        last, since = -1, time.monotonic()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
                return
            count = moved()
            if count != last:
                last, since = count, time.monotonic()
            elif time.monotonic() - since > _STALL_S:
                raise messages.silent(self.name, doing, _STALL_S)

    def _refuse(self, status: int, errors: str, local: Path, remote: str) -> None:
        """Raise the error for a file that the device did not take."""
        if status == 255:
            raise self._connection.lost(f"{local.name} was being sent")
        if re.search("No space left on device|Disk quota exceeded", errors):
            raise messages.full(self.name, local.name, local.stat().st_size, self.folder)
        reason = last_line(errors) or f"exit status {status}"
        raise messages.denied(self.name, remote, reason, self.folder)

    def _withheld(self, remote: str, errors: str) -> EngineError:
        return EngineError(
            f"{self.name} does not give the file {remote} ({last_line(errors)}).",
            "Give the user who logs in the right to read it.",
        )

    def _find_folder(self) -> str:
        answer = self.call(_FIND_FOLDER)
        folder = answer.out.removesuffix("\n")
        if answer.status != 0 or not folder.startswith("/") or "\n" in folder:
            raise messages.no_folder(self.name, answer.error)
        return folder

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


def _path(remote: str) -> str:
    """Return a path as a word that is taken neither for a command nor for an option."""
    return quote(remote if remote.startswith("/") else f"./{remote}")


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
