"""The link to this machine: the runner is a process beside this one."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

import mvdeploy
from mvdeploy import started
from mvdeploy.errors import EngineError, UsageError
from mvdeploy.files import writing
from mvdeploy.links import (
    NO_OPTIONS,
    Link,
    OnEvent,
    Options,
    Prerequisite,
    RunnerFailed,
    kernel,
    outcome,
    sysfs_power,
)
from mvdeploy.links.power import Meter, Unmetered
from mvdeploy.links.shell import reap
from mvdeploy.records import DeviceProfile, DeviceState, Job, JobResult, Reading
from mvdeploy.records.codec import dumps

RUNNER = "host"
"""Which program does its jobs; engines say which of them can run them."""

_START = """
import importlib.util, runpy, sys
file, module = sys.argv[1:3]
del sys.argv[1:3]
found = importlib.util.spec_from_file_location("mvdeploy", file)
package = sys.modules["mvdeploy"] = importlib.util.module_from_spec(found)
found.loader.exec_module(package)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def python_runner(module: str) -> tuple[str, ...]:
    """Return the command line of a runner that is a module of this very mvdeploy.

    Only this package is told where it lies: all others are looked for as Python itself does, the
    standard library first, and no file of the working folder stands in for a module.
    """
    return (sys.executable, "-P", "-c", _START, str(mvdeploy.__file__), module)


_COMMAND = python_runner("mvdeploy.runners.host")

_GRACE_S = 5.0
"""Seconds for a runner to end by itself after its last event."""

_OUTPUT_BYTES = 65536
"""How much of the end of a runner's standard error is kept."""


def connect(profile: DeviceProfile, _options: Options = NO_OPTIONS) -> HostLink:
    """Return the link to this machine."""
    return HostLink(profile)


def is_here(_profile: DeviceProfile) -> bool:
    """Say that it is this machine."""
    return True


def doctor(profile: DeviceProfile, _options: Options = NO_OPTIONS) -> tuple[Prerequisite, ...]:
    """Return what this machine is, and which engines it has; see `mvdeploy.links.doctor`."""
    from mvdeploy.links.families.host import prerequisites

    return tuple(prerequisites.checks(profile))


class HostLink(Link):
    """Runs jobs on this machine, each in a process (and a process group) of its own.

    Args:
        profile: the profile of this machine.
        command: the runner's command line.
    """

    def __init__(self, profile: DeviceProfile, command: Sequence[str] = _COMMAND) -> None:
        super().__init__(profile)
        self._command = tuple(command)
        self._scratch: Path | None = None
        self._temporary = contextlib.ExitStack()

    def open(self) -> None:
        """Reach this machine, which is always there."""
        self.on_reached(self.lock_key())

    def lock_key(self) -> str:
        """Return what this start of the system is known by; see `Link.lock_key`."""
        with contextlib.suppress(OSError):
            return f"system {Path(kernel.BOOT).read_text().strip()}"
        return "this machine"

    def identity(self) -> dict[str, Reading]:
        """Return what this machine is."""
        from mvdeploy.links.families.host import rates, readings

        return {**readings.identity(), **rates.identity()}

    def state(self) -> DeviceState:
        """Return the condition this machine is in now; takes about a quarter of a second."""
        from mvdeploy.links.families.host import readings

        return readings.state()

    def meter(self) -> Meter:
        """Return the counters of this machine's energy, or its battery; see `Link.meter`."""
        if sys.platform == "darwin":
            raise unmetered_mac()
        return sysfs_power.of_this_machine(Path("/"), self.profile.power_sensor)

    def upload(self, files: Sequence[Path]) -> dict[Path, str]:
        """Return the files' absolute paths: they are here already.

        Raises:
            UsageError: there is no such file.
        """
        for path in files:
            if not path.exists():
                raise UsageError(f"There is no file {path}.", "Check the path.")
        return {path: str(path.resolve()) for path in files}

    def scratch(self) -> str:
        """Return a temporary folder that `close` removes."""
        if self._scratch is None:
            self._scratch = self._temporary.enter_context(writing.temporary())
        return str(self._scratch)

    def run(self, job: Job, limit_s: float, on_event: OnEvent | None = None) -> JobResult:
        """Have the Python runner do a job; see `Link.run`."""
        heard = outcome.Heard(on_event, keep_samples=not job.repeat_s)
        # Files instead of pipes: neither a long job nor a talkative engine can block on them.
        place = Path(self.scratch())
        with (
            tempfile.TemporaryFile(dir=place) as job_file,
            tempfile.TemporaryFile(dir=place) as output_file,
        ):
            with writing.worded(place):
                job_file.write(dumps(job).encode())
                job_file.seek(0)
            process = self._start(job_file, output_file)
            try:
                status = _follow(process, heard, time.monotonic() + limit_s)
            finally:
                _end(process)
            output = _tail(output_file)
        if status is None:
            raise outcome.hung(job, heard, limit_s, output)
        return outcome.conclude(job, heard, status, output)

    def fetch(self, remote: str, local: Path) -> None:
        """Copy a file; see `Link.fetch`."""
        source = Path(remote)
        if not source.is_file():
            raise EngineError(
                f"The runner left no file {remote}.", "Run again with --debug to see its output."
            )
        if source.resolve() != local.resolve():
            with writing.whole(local) as part:
                shutil.copyfile(source, part)

    def close(self) -> None:
        """Remove the temporary folder."""
        self._temporary.close()
        self._scratch = None

    def _start(self, job_file: IO[bytes], output_file: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._command,
                stdin=job_file,
                stdout=subprocess.PIPE,
                stderr=output_file,
                bufsize=0,
                start_new_session=True,
                env=started.environment(),
            )
        except OSError as error:
            raise RunnerFailed(
                f"The runner {self._command[0]} could not be started ({error.strerror}).",
                "Check the installation of Python.",
            ) from error


def unmetered_mac() -> Unmetered:
    """Word the error for a Mac, whose counters programs may not read."""
    return Unmetered(
        "macOS tells the power of a Mac to its administrator only.",
        "Watch 'sudo powermetrics' while the same command measures latency.",
    )


def _follow(process: subprocess.Popen[bytes], heard: outcome.Heard, deadline: float) -> int | None:
    """Listen to a runner until it ends; return its exit status, None when it does not end."""
    _listen(process, heard, deadline)
    if heard.finished:
        deadline = time.monotonic() + _GRACE_S
    try:
        return process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        # After its last event a runner has nothing more to say, and need not be waited for.
        return 0 if heard.finished else None


def _listen(process: subprocess.Popen[bytes], heard: outcome.Heard, deadline: float) -> None:
    stdout = cast(IO[bytes], process.stdout)
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while not heard.finished and (left := deadline - time.monotonic()) > 0:
            if selector.select(min(left, 1.0)):
                data = os.read(stdout.fileno(), 65536)
                if not data:
                    return
                heard.feed(data)
            elif process.poll() is not None:
                return  # it has ended, but a process that it started holds the pipe open


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the runner and of the processes that it started, and reap it."""
    # When nothing is left there is no such group; macOS calls it forbidden until it is reaped.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    reap(process)
    cast(IO[bytes], process.stdout).close()


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _OUTPUT_BYTES))
    return file.read().decode(errors="replace")
