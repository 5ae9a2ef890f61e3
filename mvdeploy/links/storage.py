"""What is sent to a device and kept there: under names of its content, and only once."""

from __future__ import annotations

import functools
import hashlib
import posixpath
from collections.abc import Callable, Sequence
from pathlib import Path

from mvdeploy import files
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.links.link import OnSent
from mvdeploy.links.shell import Shell, last_line, quote

_SUMMERS = ("sha256sum", "toybox sha256sum", "busybox sha256sum")
_EMPTY = hashlib.sha256(b"").hexdigest()


class Storage:
    """The folder on a device that all runs share.

    Args:
        shell: of the device.
        on_sent: is told how files get on.
        on_blind: is called when the device has no program for SHA-256.

    Attributes:
        home: the folder.
    """

    def __init__(self, shell: Shell, on_sent: OnSent, on_blind: Callable[[], None]) -> None:
        self._shell, self._on_sent, self._on_blind = shell, on_sent, on_blind
        self._summer: str | None = None
        self.home = posixpath.join(shell.folder, "mvdeploy")

    def upload(self, paths: Sequence[Path], title: str) -> dict[Path, str]:
        """Send files under the names of their content, and return where each is there.

        Args:
            paths: files here.
            title: what a message calls the device.

        Raises:
            UsageError: one of them is no file.
            DeviceUnavailable: the device is gone, or cannot take them.
        """
        wanted, places = {}, {}
        for path in paths:
            if not path.is_file():
                raise UsageError(
                    f"{path} cannot be sent to {title}: it is no file.",
                    "Check the path, or export the model in another format.",
                )
            sha256 = files.sha256(path)
            places[path] = posixpath.join(self.home, "files", f"{sha256[:32]}{path.suffix}")
            wanted[places[path]] = (path, sha256)
        self.send(wanted)
        return places

    def send(self, wanted: dict[str, tuple[Path, str]]) -> None:
        """Send files (remote path → local path, SHA-256) that are not there yet.

        Raises:
            DeviceUnavailable: the device is gone, or cannot take them.
        """
        there = self._sums(tuple(wanted))
        for remote, (local, sha256) in wanted.items():
            # Without sums nothing is known to be there, and all is sent again.
            if there.get(remote) == sha256:
                continue
            self._shell.push(local, remote, functools.partial(self._on_sent, local.name))
            if not self._arrived(remote, local, sha256):
                raise DeviceUnavailable(
                    f"{local.name} did not arrive whole on {self._shell.name}.",
                    "Check the connection to it and its storage, and run again.",
                )

    def make_executable(self, *programs: str) -> None:
        """Let programs be run.

        Raises:
            DeviceUnavailable: the device is gone, or does not let them.
        """
        # What belongs to somebody else cannot be changed, and need not be if it may be executed.
        each = (f"{{ chmod 755 {one} || [ -x {one} ]; }}" for one in map(quote, programs))
        answer = self._shell.call(" && ".join(each))
        if answer.status != 0:
            raise DeviceUnavailable(
                f"{self._shell.name} does not let programs be made executable in "
                f"{posixpath.dirname(programs[0])} ({last_line(answer.error or answer.out)}).",
                f"Remove {self.home} there, which another user may have made, and run again.",
            )

    def _arrived(self, remote: str, local: Path, sha256: str) -> bool:
        if self._sums_by():
            return self._sums((remote,)).get(remote) == sha256
        answer = self._shell.call(f"wc -c <{quote(remote)}")
        size = answer.out.strip()
        # Where not even sizes are told, what carried it has told of success.
        return not (answer.status == 0 and size.isdecimal()) or int(size) == local.stat().st_size

    def _sums(self, remote: Sequence[str]) -> dict[str, str]:
        """Return the SHA-256 of the files that are there, as far as the device can tell."""
        program = self._sums_by()
        if not program:
            return {}
        answer = self._shell.call(f"{program} -- {quote(*remote)} 2>/dev/null", limit_s=120.0)
        pairs = (line.split(None, 1) for line in answer.out.splitlines() if line.strip())
        return {path.strip().lstrip("*"): sha256 for sha256, path in pairs}

    def _sums_by(self) -> str:
        """Return the device's program for SHA-256; empty when it has none that works."""
        if self._summer is None:
            tries = (
                f'case "$({one} </dev/null 2>/dev/null)" in {_EMPTY}*) echo {quote(one)};; esac'
                for one in _SUMMERS
            )
            told = self._shell.call("; ".join(tries)).out.split("\n")
            self._summer = next((one for one in _SUMMERS if one in told), "")
            if not self._summer:
                self._on_blind()
        return self._summer
