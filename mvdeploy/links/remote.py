"""Jobs on a device behind a shell: a kit and the models are sent there, its runner does them."""

from __future__ import annotations

import abc
import functools
import hashlib
import json
import posixpath
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from mvdeploy import files, kits
from mvdeploy.errors import DeviceUnavailable, EngineError, UsageError
from mvdeploy.files import writing
from mvdeploy.kits import Kit
from mvdeploy.links import (
    NO_OPTIONS,
    KitMissing,
    Link,
    OnEvent,
    Options,
    builds,
    executor_runner,
    outcome,
    typed,
)
from mvdeploy.links.shell import Answer, Shell, ended, last_line, quote
from mvdeploy.links.stream import Stream, listen
from mvdeploy.plugins import Option
from mvdeploy.records import DeviceProfile, Job, JobResult, Level
from mvdeploy.records.codec import dumps
from mvdeploy.records.device import core_mask

OPTIONS = (
    Option(
        "kit",
        "--kit",
        "Android, ssh: the runner kit to use: a folder, or 'android' or 'glibc'.",
        "BUILD_OR_DIR",
        variable="MVDEPLOY_KIT",
    ),
    Option(
        "runner",
        "--runner",
        "Android, ssh: an executor_runner of your own.",
        "FILE",
        variable="MVDEPLOY_RUNNER",
    ),
    Option(
        "keep_on_device",
        "--keep-on-device",
        "Android, ssh: leave the runner and the models there.",
        variable="MVDEPLOY_KEEP_ON_DEVICE",
    ),
)
"""What can be said of every link with such a runner."""

_SUMMERS = ("sha256sum", "toybox sha256sum", "busybox sha256sum")
_EMPTY = hashlib.sha256(b"").hexdigest()

_TAIL_BYTES = 262144
"""How much of the end of what a runner writes, beside its events, is brought back."""


class RemoteLink(Link):
    """A link whose runner comes from a kit.

    A kind of device says how its shell is reached (`_reach`, `_part`) and what it tells of itself.

    Args:
        profile: of the device.
        options: of links.
    """

    def __init__(self, profile: DeviceProfile, options: Options = NO_OPTIONS) -> None:
        super().__init__(profile)
        self._options = options
        self._kit: Kit | None = None
        self._own = ""
        self._summer: str | None = None
        self._shell: Shell | None = None
        self._session = ""

    # What a kind of device has to say.

    @abc.abstractmethod
    def _reach(self) -> Shell:
        """Reach the device, and return its shell."""

    @abc.abstractmethod
    def architecture(self) -> str:
        """Return what the device's programs have to be built for, as kits call it.

        Raises:
            DeviceUnavailable: there is no runner for it.
        """

    def _prepare(self) -> None:
        """Set what is to be set on the device for all of a run; `_restore` undoes it."""

    def _ready(self) -> None:
        """Have the device in the state to be measured in: cool, and the one it was."""

    def _restore(self) -> None:
        """Undo what was set on the device."""

    @abc.abstractmethod
    def _part(self) -> None:
        """Close the connection."""

    # What they have in common.

    @property
    def shell(self) -> Shell:
        """The device's shell."""
        if self._shell is None:
            raise ValueError(f"the link to {self.profile.title} is not open")
        return self._shell

    @property
    def has_kit(self) -> bool:
        """Whether its runner comes from a kit, and not from the user."""
        return self._kit is not None

    @property
    def kit(self) -> Kit:
        """What its runner comes from."""
        if self._kit is None:
            raise ValueError(f"the link to {self.profile.title} is not open")
        return self._kit

    def open(self) -> None:
        """Reach the device and send it the kit; what it has already is not sent again.

        Raises:
            KitMissing: none was built for its architecture.
            DeviceUnavailable: it does not answer, or cannot take the kit.
        """
        try:
            self.reach()
            self.on_reached(self.lock_key())
            if given := self._options.get("runner"):
                self._send_own(Path(given))
            else:
                self.send_kit()
            self._prepare()
        except BaseException:
            self.close()
            raise

    def reach(self) -> None:
        """Reach the device, and send it nothing yet.

        Raises:
            DeviceUnavailable: it does not answer.
        """
        self._shell = self._reach()
        self._summer = None

    @property
    def _home(self) -> str:
        return posixpath.join(self.shell.folder, "mvdeploy")

    @property
    def _kit_folder(self) -> str:
        return posixpath.join(self._home, f"kit-{self.kit.identifier}")

    def send_kit(self) -> None:
        """Send the kit for the device's architecture and make its programs ready to be run.

        Raises:
            KitMissing: none was built.
            DeviceUnavailable: the device cannot take it.
        """
        runs = builds(self.profile)
        given = self._options.get("kit")
        folder_and_kit = kits.find(self.architecture(), given, runs, self.needs)
        if folder_and_kit is None:
            raise KitMissing(self.profile, self.architecture())
        local, self._kit = folder_and_kit
        self._begin()
        folder = self._kit_folder
        self._send({posixpath.join(folder, n): (local / n, s) for n, s in self._kit.sums.items()})
        self._make_executable(*(posixpath.join(folder, name) for name in self.kit.programs))

    def _send_own(self, program: Path) -> None:
        """Send a program of the user's, instead of a kit."""
        self._begin()
        self._own = self.upload((program,))[program]
        self._make_executable(self._own)
        self.found("own_runner", Level.WARNING, program=program.name)

    def _begin(self) -> None:
        self._session = posixpath.join(self._home, f"run-{secrets.token_hex(4)}")

    def _make_executable(self, *programs: str) -> None:
        # What belongs to somebody else cannot be changed, and need not be if it may be executed.
        each = (f"{{ chmod 755 {one} || [ -x {one} ]; }}" for one in map(quote, programs))
        answer = self.shell.call(" && ".join(each))
        if answer.status != 0:
            raise DeviceUnavailable(
                f"{self.shell.name} does not let programs be made executable in "
                f"{posixpath.dirname(programs[0])} ({last_line(answer.error or answer.out)}).",
                f"Remove {self._home} there, which another user may have made, and run again.",
            )

    def call_runner(self, option: str, limit_s: float = 30.0) -> Answer:
        """Run the kit's runner with an option instead of a job.

        Raises:
            DeviceUnavailable: the device is gone, or does not start it.
        """
        words = quote(*self.kit.command, option)
        answer = self.shell.call(f"cd {quote(self._kit_folder)} && {words}", limit_s)
        if error := self._unrunnable(answer.status, answer.error or answer.out):
            raise error
        return answer

    def _unrunnable(self, status: int, output: str) -> DeviceUnavailable | None:
        """Word the error for a runner that the device does not start; None when it did."""
        if self._own:
            program = self._own
            rebuild = "Build the program given with --runner for this device's processor and C "
            rebuild += "library, or leave --runner out."
        else:
            program = f"the runner in {self._kit_folder}"
            anew = kits.anew(self.kit.build, typed(self.profile))
            rebuild = f"Have the kit built anew with {anew}"
            rebuild += ", and leave --kit out." if self._options.get("kit") else "."
        return outcome.unrunnable(self.shell.name, program, status, output, rebuild)

    def _send(self, wanted: dict[str, tuple[Path, str]]) -> None:
        """Send files (remote path → local path, SHA-256) that are not there yet."""
        there = self._sums(tuple(wanted))
        for remote, (local, sha256) in wanted.items():
            # Without sums nothing is known to be there, and all is sent again.
            if there.get(remote) == sha256:
                continue
            self.shell.push(local, remote, functools.partial(self.on_sent, local.name))
            if not self._arrived(remote, local, sha256):
                raise DeviceUnavailable(
                    f"{local.name} did not arrive whole on {self.shell.name}.",
                    "Check the connection to it and its storage, and run again.",
                )

    def _arrived(self, remote: str, local: Path, sha256: str) -> bool:
        if self._sums_by():
            return self._sums((remote,)).get(remote) == sha256
        answer = self.shell.call(f"wc -c <{quote(remote)}")
        size = answer.out.strip()
        # Where not even sizes are told, what carried it has told of success.
        return not (answer.status == 0 and size.isdecimal()) or int(size) == local.stat().st_size

    def _sums(self, remote: Sequence[str]) -> dict[str, str]:
        """Return the SHA-256 of the files that are there, as far as the device can tell."""
        program = self._sums_by()
        if not program:
            return {}
        answer = self.shell.call(f"{program} -- {quote(*remote)} 2>/dev/null", limit_s=120.0)
        pairs = (line.split(None, 1) for line in answer.out.splitlines() if line.strip())
        return {path.strip().lstrip("*"): sha256 for sha256, path in pairs}

    def _sums_by(self) -> str:
        """Return the device's program for SHA-256; empty when it has none that works."""
        if self._summer is None:
            tries = (
                f'case "$({one} </dev/null 2>/dev/null)" in {_EMPTY}*) echo {quote(one)};; esac'
                for one in _SUMMERS
            )
            told = self.shell.call("; ".join(tries)).out.split("\n")
            self._summer = next((one for one in _SUMMERS if one in told), "")
            if not self._summer:
                self.found("no_checksums", Level.WARNING, device=self.shell.name)
        return self._summer

    def upload(self, files_: Sequence[Path]) -> dict[Path, str]:
        """Send files under the name of their content; see `Link.upload`."""
        wanted, places = {}, {}
        for path in files_:
            if not path.is_file():
                raise UsageError(
                    f"{path} cannot be sent to {self.profile.title}: it is no file.",
                    "Check the path, or export the model in another format.",
                )
            sha256 = files.sha256(path)
            places[path] = posixpath.join(self._home, "files", f"{sha256[:32]}{path.suffix}")
            wanted[places[path]] = (path, sha256)
        self._send(wanted)
        return places

    def discard(self, places: Sequence[str]) -> None:
        """Remove files that were sent; see `Link.discard`."""
        if places:
            self.shell.call(f"rm -f -- {quote(*places)}")

    def scratch(self) -> str:
        """Return this run's folder on the device."""
        return self._session

    def run(self, job: Job, limit_s: float, on_event: OnEvent | None = None) -> JobResult:
        """Have the kit's runner do a job; see `Link.run`."""
        self._ready()
        heard = outcome.Heard(on_event)
        if self._own:
            return self._run_own(job, heard, limit_s)
        self._send_job(job)
        words = quote(*self.kit.command)
        stream = self._execute(
            f"cd {quote(self._kit_folder)}",
            f"{words} <{quote(self._of_run('job.json'))}",
            heard,
            limit_s,
        )
        if stream.timed_out:
            raise outcome.hung(job, heard, limit_s, self._written("stderr"))
        if stream.status is None and not heard.finished:
            raise self._lost(outcome.doing(heard.events, job))
        status = stream.exit_status
        output = self._written("stderr") if status else ""
        if not heard.events and (error := self._unrunnable(status, output)):
            raise error
        return outcome.conclude(job, heard, status, output)

    def _lost(self, doing: str) -> DeviceUnavailable:
        return DeviceUnavailable(
            f"The connection to {self.shell.name} was lost while {doing}.",
            "Check the cable or the network, keep the device awake, and run again.",
        )

    def _run_own(self, job: Job, heard: outcome.Heard, limit_s: float) -> JobResult:
        """Have the user's own program do a job."""

        def split(total: int, told: int, runs: int) -> None:
            self.found("runner_times_lost", Level.WARNING, total=total, told=told, runs=runs)

        def run(words: list[str]) -> str:
            return self._call_own(job, words, limit_s)

        for event in executor_runner.events(job, run, split):
            heard.feed(json.dumps(event).encode() + b"\n")
        return outcome.conclude(job, heard, 0, "")

    def _call_own(self, job: Job, arguments: list[str], limit_s: float) -> str:
        folders = [model.profile_to for model in job.models if model.profile_to is not None]
        out, began = self._of_run("stdout"), self._log_mark()
        bound = f"taskset {core_mask(job.cores)} " if job.cores else ""
        stream = self._execute(
            # Unless told otherwise it writes its profile to the folder that it is started in.
            f"mkdir -p {quote(self._session, *folders)} && cd {quote(self._session)}",
            f"{bound}{quote(self._own, *arguments)} >{quote(out)}",
            outcome.Heard(),
            limit_s,
        )
        if stream.timed_out:
            raise EngineError(
                f"The program given with --runner did not finish within {limit_s:g} s.",
                "Give more time with --time-limit, or measure fewer inferences.",
            )
        if stream.status is None:
            raise self._lost("the program given with --runner ran")
        output = self._written("stdout") + self._written("stderr") + self._logged(began)
        if error := self._unrunnable(stream.exit_status, output):
            raise error
        if stream.exit_status:
            raise EngineError(
                f"The program given with --runner ended with exit status {stream.exit_status}: "
                f"{last_line(output)}.",
                "Try it on the device by hand, with --model_path and --num_executions.",
            )
        return output

    def _log_mark(self) -> str:
        """Return what `_logged` needs to tell what was logged later; empty without a log."""
        return ""

    def _logged(self, mark: str) -> str:
        """Return what ExecuTorch wrote to the system's log since a mark."""
        return ""

    def _execute(self, before: str, words: str, heard: outcome.Heard, limit_s: float) -> Stream:
        """Run a program until it ends or its time is up; nothing of it is left then."""
        stream = Stream()
        try:
            with ended(self.shell.start(self._command(before, words))) as process:
                listen(process, stream, heard, time.monotonic() + limit_s)
                has_ended = stream.status is not None or process.poll() is not None
                stream.timed_out = not (has_ended or heard.finished)
        finally:
            # When it has ended, its number may be another program's.
            self._end_runner(running=stream.status is None)
        return stream

    def _send_job(self, job: Job) -> None:
        with writing.temporary() as folder:
            path = folder / "job.json"
            writing.fill(path, dumps(job).encode())
            self.shell.push(path, self._of_run("job.json"))

    def _command(self, before: str, words: str) -> str:
        # The shell becomes the runner, so that its own number is the runner's.
        inner = (
            f"mkdir -p {quote(self._session)} && {before} && echo $$ >{quote(self._of_run('pid'))} "
            f"&& exec {words} 2>{quote(self._of_run('stderr'))}"
        )
        return f"sh -c {quote(inner)}"

    def _end_runner(self, *, running: bool = True) -> None:
        """Kill the runner if it may still be there."""
        pid = quote(self._of_run("pid"))
        kill = f"kill -9 $(cat {pid}); " if running else ""
        try:
            self.shell.call(f"[ ! -f {pid} ] || {{ {kill}rm -f {pid}; }} 2>/dev/null")
        except DeviceUnavailable as error:
            self._leave_behind(error)

    def _written(self, stream: str) -> str:
        """Return the end of what a runner wrote to its ``stdout`` or ``stderr``."""
        words = f"tail -c {_TAIL_BYTES} {quote(self._of_run(stream))} 2>/dev/null"
        return self.shell.call(words).out

    def _of_run(self, name: str) -> str:
        return posixpath.join(self._session, name)

    def fetch(self, remote: str, local: Path) -> None:
        """Copy a file from the device; see `Link.fetch`."""
        self.shell.pull(remote, local)

    def close(self) -> None:
        """Restore the device, remove what was sent there, and part from it; see `Link.close`."""
        shell, self._shell = self._shell, None
        try:
            if shell is not None:
                self._shell = shell
                self._tidy()
        finally:
            self._shell = None
            self._part()

    def _tidy(self) -> None:
        try:
            self._restore()
            if self._session:
                self._end_runner()
                # The rest belongs to other runs as well, if there are any.
                rest = (
                    "true"
                    if "keep_on_device" in self._options
                    else f"rm -rf -- {quote(self._home)}"
                )
                others = f"ls -d {quote(self._home)}/run-* >/dev/null 2>&1"
                self.shell.call(f"rm -rf -- {quote(self._session)}; {others} || {rest}", 60.0)
        except DeviceUnavailable as error:
            self._leave_behind(error)

    def _leave_behind(self, error: DeviceUnavailable) -> None:
        self.found(
            "left_behind",
            Level.WARNING,
            device=self.shell.name,
            folder=self._home,
            reason=error.message,
        )
