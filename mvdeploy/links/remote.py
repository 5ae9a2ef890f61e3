"""Jobs on a device behind a shell: a kit and the models are sent there, its runner does them."""

from __future__ import annotations

import abc
import json
import posixpath
from collections.abc import Collection, Sequence
from pathlib import Path

from mvdeploy import kits
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.kits import Kit
from mvdeploy.links import (
    NO_OPTIONS,
    KitMissing,
    Link,
    OnEvent,
    Options,
    builds,
    executor_runner,
    leftovers,
    outcome,
    pinning,
    typed,
)
from mvdeploy.links.own_program import OwnProgram
from mvdeploy.links.session import Session
from mvdeploy.links.shell import Answer, Shell, quote
from mvdeploy.links.storage import Storage
from mvdeploy.plugins import Option
from mvdeploy.records import DeviceProfile, Job, JobResult, Level

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

_LEFT_ON = "mode_left_on", Level.WARNING


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
        self._shell: Shell | None = None
        self._storage: Storage | None = None
        self._session: Session | None = None
        self._mode_is_on = False
        self._others_have_mode = False
        self._pinning = pinning.Pinning(profile, self._allowed_cores, self._moved)

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
        """Undo what was set on the device.

        Raises:
            DeviceUnavailable: the device is gone.
        """

    def leave_mode(self) -> bool:
        """Switch fixed-performance mode off, and say whether the device has obeyed.

        Raises:
            DeviceUnavailable: the device is gone.
        """
        return True

    def _starting(self) -> str:
        """Return commands that whatever is measured is started after, in the same shell."""
        return "true"

    def _rejoin(self) -> None:
        """Reach the device after the connection was lost.

        Raises:
            DeviceUnavailable: it is still gone.
        """
        self.shell.call("true")

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

    @property
    def session(self) -> Session:
        """This run's folder on the device."""
        if self._session is None:
            raise ValueError(f"the link to {self.profile.title} is not open")
        return self._session

    @property
    def home(self) -> str:
        """The folder on the device that all runs share."""
        return self._stored.home

    @property
    def _stored(self) -> Storage:
        if self._storage is None:
            raise ValueError(f"the link to {self.profile.title} is not open")
        return self._storage

    @property
    def _kit_folder(self) -> str:
        return posixpath.join(self.home, f"kit-{self.kit.identifier}")

    def open(self) -> None:
        """Reach the device and send it the kit; what it has already is not sent again.

        Raises:
            KitMissing: none was built for its architecture.
            DeviceUnavailable: it does not answer, or cannot take the kit.
        """
        try:
            self.claim()
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
            DeviceUnavailable: it does not answer, or `on_reached` refuses it.
        """
        self._shell = self._reach()
        self._storage = Storage(
            self._shell,
            lambda name, sent, size: self.on_sent(name, sent, size),
            lambda: self.found("no_checksums", Level.WARNING, device=self.shell.name),
        )
        self.on_reached(self.lock_key())

    def claim(self) -> None:
        """Reach the device, and put right what runs have left there that have ended.

        Raises:
            DeviceUnavailable: it does not answer, or `on_reached` refuses it.
        """
        self.reach()
        left = leftovers.look(self.shell, self.home)
        for run in left.others:
            if run.kept:
                self.found("shared_device", Level.WARNING, device=self.shell.name, who=run.who)
        self._others_have_mode = any(map(left.has_mode, left.others))
        gone = left.gone
        if left.mode_is_abandoned:
            restored = self.leave_mode()
            code, level = ("mode_restored", Level.NOTE) if restored else _LEFT_ON
            self.found(code, level, device=self.shell.name)
            if not restored:
                # Whoever comes next tries again.
                gone = tuple(run for run in gone if not left.has_mode(run))
        if gone:
            self._remove(gone)

    def _remove(self, runs: Sequence[leftovers.LeftRun]) -> None:
        removed = leftovers.remove(self.shell, self.home, runs)
        name = self.shell.name
        if isinstance(removed, DeviceUnavailable):
            self.found("not_removed", Level.WARNING, device=name, reason=removed.message)
        else:
            megabytes = round(removed / 1e6, 1)
            self.found(
                "leftovers_removed", Level.NOTE, device=name, runs=len(runs), megabytes=megabytes
            )

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
        folder, stored = self._kit_folder, self._stored
        stored.send({posixpath.join(folder, n): (local / n, s) for n, s in self._kit.sums.items()})
        stored.make_executable(*(posixpath.join(folder, name) for name in self.kit.programs))

    def _send_own(self, program: Path) -> None:
        """Send a program of the user's, instead of a kit."""
        self._begin()
        self._own = self.upload((program,))[program]
        self._stored.make_executable(self._own)
        self.found("own_runner", Level.WARNING, program=program.name)

    def _begin(self) -> None:
        self._session = Session(self.shell, self.home)
        self._session.begin()

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

    def upload(self, files_: Sequence[Path]) -> dict[Path, str]:
        """Send files under the name of their content; see `Link.upload`."""
        return self._stored.upload(files_, self.profile.title)

    def discard(self, places: Sequence[str]) -> None:
        """Remove files that were sent; see `Link.discard`."""
        if places:
            self.shell.call(f"rm -f -- {quote(*places)}")

    def settle(self) -> None:
        """Have the device as a job would find it; see `Link.settle`."""
        self._ready()

    def scratch(self) -> str:
        """Return this run's folder on the device."""
        return self.session.folder

    def run(self, job: Job, limit_s: float, on_event: OnEvent | None = None) -> JobResult:
        """Have the kit's runner do a job; see `Link.run`."""
        self.session.begin()
        self._ready()
        if self._own:
            return self._run_own(job, outcome.Heard(on_event), limit_s)
        return self._pinning.run(job, lambda own: self._run(own, limit_s, on_event))

    def again(self) -> None:
        """Reach the device after it was lost, and end what still runs there; see `Link.again`."""
        self._rejoin()
        self.session.end_program()

    def _allowed_cores(self) -> Collection[int]:
        """Return the cores that the runner may use."""
        return pinning.may_use(self.call_runner("--hello").out)

    def _moved(self, refused: pinning.Cores, used: pinning.Cores) -> None:
        listed = {"cores": refused, "used": used}
        values = {name: ", ".join(map(str, cores)) for name, cores in listed.items()}
        self.found("cores_refused", Level.WARNING, device=self.shell.name, **values)

    def _run(self, job: Job, limit_s: float, on_event: OnEvent | None) -> JobResult:
        heard, session = outcome.Heard(on_event, keep_samples=not job.repeat_s), self.session
        session.send(job)
        words = quote(*self.kit.command)
        stream = session.execute(
            f"cd {quote(self._kit_folder)} && {self._starting()}",
            f"{words} <{quote(session.of('job.json'))}",
            heard,
            limit_s,
        )
        if stream.timed_out:
            raise outcome.hung(job, heard, limit_s, session.written("stderr"))
        if stream.status is None and not heard.finished:
            raise self._lost(outcome.doing(heard.events, job))
        status = stream.exit_status
        output = session.written("stderr") if status else ""
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
        if job.repeat_s:
            raise UsageError(
                "A program given with --runner cannot be kept running for a certain time.",
                "Leave --runner or --sustained out.",
            )

        def split(total: int, told: int, runs: int) -> None:
            self.found("runner_times_lost", Level.WARNING, total=total, told=told, runs=runs)

        own = OwnProgram(self._own, self.session, self._starting(), self._log_mark, self._logged)

        def run(words: list[str]) -> str:
            stream, output = own.call(job, words, limit_s)
            if stream.status is None:
                raise self._lost("the program given with --runner ran")
            if error := self._unrunnable(stream.exit_status, output):
                raise error
            own.demand_success(stream, output)
            return output

        for event in executor_runner.events(job, run, split):
            heard.feed(json.dumps(event).encode() + b"\n")
        return outcome.conclude(job, heard, 0, "")

    def _log_mark(self) -> str:
        """Return what `_logged` needs to tell what was logged later; empty without a log."""
        return ""

    def _logged(self, mark: str) -> str:
        """Return what ExecuTorch wrote to the system's log since a mark."""
        return ""

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
        session = self._session
        try:
            self._restore()
            if session is not None:
                session.end_program()
                error = leftovers.tidy(
                    self.shell,
                    self.home,
                    session.folder,
                    marked=self._mode_is_on,
                    keep="keep_on_device" in self._options,
                )
                if error is not None:
                    self.found(
                        "not_removed",
                        Level.WARNING,
                        device=self.shell.name,
                        reason=error.message,
                    )
        except DeviceUnavailable as error:
            self._leave_behind(error)
        finally:
            self._session = None
            if session is not None:
                session.part()

    def _leave_behind(self, error: DeviceUnavailable) -> None:
        name = self.shell.name
        self.found(
            "left_behind", Level.WARNING, device=name, folder=self.home, reason=error.message
        )
        if self._mode_is_on:
            self.found("mode_not_restored", Level.WARNING, device=name)
