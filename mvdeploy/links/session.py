"""A run's own folder on a device: whose it is, and the programs that are run in it."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import posixpath
import secrets
import selectors
import subprocess
import time
from pathlib import Path

from mvdeploy.errors import DeviceUnavailable
from mvdeploy.files import writing
from mvdeploy.links.kernel import BOOT
from mvdeploy.links.outcome import Heard
from mvdeploy.links.shell import Shell, ended, quote, reap
from mvdeploy.links.stream import Stream, listen
from mvdeploy.records import Job
from mvdeploy.records.codec import dumps

_TAIL_BYTES = 262144
"""How much of the end of what a runner writes, beside its events, is brought back."""

_BEGIN_S, _END_S = 10.0, 2.0
"""Seconds for the keeper to say that it is there, and to end when its input does: Android 6 and
older do not pass that end on."""

_KEEPER = """
mkdir -p {folder} && IFS= read -r line </proc/$$/stat && set -- ${{line##*\\) }} && shift 19 &&
printf '%s\\n' "$$ $1" >{folder}/keeper && printf '%s\\n' {owner} >{folder}/owner &&
echo kept && exec cat >/dev/null
"""
"""The shell becomes the keeper, so that its number, and when it was started, are the keeper's."""

_open: set[str] = set()
"""Names of the sessions that this process has."""


@functools.cache
def system() -> str:
    """Return what tells this system from others, as far as numbers of processes mean the same."""
    boot, numbers = "", ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        numbers = os.readlink("/proc/self/ns/pid")  # a container has its own
    return " ".join(filter(None, (platform.node(), boot, numbers)))


def started(number: int) -> str:
    """Return when a process of this system was started, as a word; empty when there is none."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        # Not as a time of day: clocks are set. One that has ended may still be listed.
        return fields[19] if fields[0] != "Z" else ""
    except (OSError, IndexError):
        import psutil  # every help text imports this file
    with contextlib.suppress(psutil.Error, OverflowError):
        return f"{psutil.Process(number).create_time():.2f}"
    return ""


def is_hidden(number: int) -> bool:
    """Say whether there is a process of that number of which nothing more can be told."""
    try:
        os.kill(number, 0)
    except PermissionError:  # another user's
        return not started(number)
    except (OSError, OverflowError):
        pass
    return False


def owner() -> dict[str, str]:
    """Return what a session says of the process that it belongs to."""
    number = os.getpid()
    return {
        "system": system(),
        "process": f"{number} {started(number)}",
        "who": f"process {number} on {platform.node()}",
    }


def is_open(name: str) -> bool:
    """Say whether this process has a session of that name."""
    return name in _open


class Session:
    """A run's folder on a device.

    A process on the device, the keeper, shows that it is in use: it does nothing but wait for the
    end of its input, which comes with that of this process, or of the connection, however they end.

    Args:
        shell: of the device.
        home: the folder that all runs share.

    Attributes:
        name: of the folder.
        folder: its path on the device.
    """

    def __init__(self, shell: Shell, home: str) -> None:
        self._shell = shell
        self._keeper: subprocess.Popen[bytes] | None = None
        self.name = f"run-{secrets.token_hex(4)}"
        self.folder = posixpath.join(home, self.name)

    def of(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return posixpath.join(self.folder, name)

    def begin(self) -> None:
        """Make the folder, and show whose it is; a keeper that has ended is started again.

        A device that cannot take it says so when it is sent the first file.

        Raises:
            DeviceUnavailable: the device is gone.
        """
        _open.add(self.name)
        if self._keeper is not None and self._keeper.poll() is None:
            return
        self._end_keeper()
        lines = [f"{name}={value}" for name, value in owner().items()]
        inner = _KEEPER.format(folder=quote(self.folder), owner=quote(*lines))
        self._keeper = self._shell.start(f"sh -c {quote(inner)}", held=True)
        if _first_line(self._keeper, _BEGIN_S) != b"kept":
            self._end_keeper()

    def part(self) -> None:
        """Let the folder be nobody's: whoever comes next may remove it."""
        self._end_keeper()
        _open.discard(self.name)

    def _end_keeper(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        with contextlib.suppress(OSError):
            if keeper.stdin is not None:
                keeper.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            keeper.wait(_END_S)
        keeper.kill()
        reap(keeper)
        if keeper.stdout is not None:
            keeper.stdout.close()

    def mark_mode(self, *, on: bool) -> None:
        """Note on the device that this run switches fixed-performance mode on, or not any more.

        The note is what this start of the device's system is known by, as far as it tells.

        Raises:
            DeviceUnavailable: the device is gone.
        """
        folder, mark = quote(self.folder), quote(self.of("mode"))
        command = f"mkdir -p {folder} && cat {BOOT} >{mark}" if on else f"rm -f -- {mark}"
        self._shell.call(f"{{ {command}; }} 2>/dev/null")

    def mode_may_have_ended(self) -> bool:
        """Say whether the system may have been started anew since `mark_mode`: that ends the mode.

        Raises:
            DeviceUnavailable: the device is gone.
        """
        told = self._shell.call(f"cat {quote(self.of('mode'))} {BOOT} 2>/dev/null").out.split()
        return len(told) != 2 or told[0] != told[1]

    def send(self, job: Job) -> None:
        """Send a job, as ``job.json``.

        Raises:
            DeviceUnavailable: the device is gone, or cannot take it.
        """
        with writing.temporary() as folder:
            path = folder / "job.json"
            writing.fill(path, dumps(job).encode())
            self._shell.push(path, self.of("job.json"))

    def execute(self, before: str, words: str, heard: Heard, limit_s: float) -> Stream:
        """Run a program until it ends or its time is up; nothing of it is left then.

        Args:
            before: commands that come before it, in the same shell.
            words: the program, its arguments, and where its output goes.
            heard: is fed what it writes to its standard output.
            limit_s: seconds that it may take.

        Raises:
            DeviceUnavailable: it cannot be started.
        """
        stream = Stream()
        try:
            with ended(self._shell.start(self._command(before, words))) as process:
                listen(process, stream, heard, time.monotonic() + limit_s)
                has_ended = stream.status is not None or process.poll() is not None
                stream.timed_out = not (has_ended or heard.finished)
        finally:
            # A device that is gone may come back: what is left is ended, or told of, in the end.
            with contextlib.suppress(DeviceUnavailable):
                # When it has ended, its number may be another program's.
                self.end_program(running=stream.status is None)
        return stream

    def _command(self, before: str, words: str) -> str:
        # The shell becomes the runner, so that its own number is the runner's.
        inner = (
            f"mkdir -p {quote(self.folder)} && {before} && echo $$ >{quote(self.of('pid'))} "
            f"&& exec {words} 2>{quote(self.of('stderr'))}"
        )
        return f"sh -c {quote(inner)}"

    def end_program(self, *, running: bool = True) -> None:
        """Kill the program if it may still be there.

        Raises:
            DeviceUnavailable: the device is gone.
        """
        pid = quote(self.of("pid"))
        kill = f"kill -9 $(cat {pid}); " if running else ""
        self._shell.call(f"[ ! -f {pid} ] || {{ {kill}rm -f {pid}; }} 2>/dev/null")

    def written(self, stream: str) -> str:
        """Return the end of what a program wrote to its ``stdout`` or ``stderr``.

        Raises:
            DeviceUnavailable: the device is gone.
        """
        words = f"tail -c {_TAIL_BYTES} {quote(self.of(stream))} 2>/dev/null"
        return self._shell.call(words).out


def _first_line(process: subprocess.Popen[bytes], limit_s: float) -> bytes:
    """Return the first line that a process writes, without its end; empty for none in time."""
    if process.stdout is None:
        return b""
    text, until = b"", time.monotonic() + limit_s
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while b"\n" not in text:
            left = until - time.monotonic()
            if left <= 0 or not selector.select(left):
                return b""
            piece = os.read(process.stdout.fileno(), 4096)
            if not piece:
                return b""
            text += piece
    return text.partition(b"\n")[0].strip()
