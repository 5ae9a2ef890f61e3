"""The link to this Mac's Core ML and to phones attached to it.

One runner, `mvdeploy.runners.apple`, does the jobs of both: coremltools runs a package on the Mac,
or builds, installs and starts its app on the phone and runs the package there. Which of the two a
profile means is said by its aliases: a phone's has Apple's identifier of the model (``iPhone13,2``)
among them, and only a phone of that model will do, so that results never go by another's name.

In beside the common ones, the identity has ``build`` (of the phone's system) and ``coremltools``,
and a phone's state has ``connection`` (``wired`` or how else it is attached).
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mvdeploy import files
from mvdeploy.errors import DeviceUnavailable, EngineError, UsageError
from mvdeploy.links import NO_OPTIONS, OnEvent, Options, Prerequisite, RunnerFailed, State
from mvdeploy.links.families import host
from mvdeploy.links.families.apple import doctor as prerequisites
from mvdeploy.links.families.apple import phones
from mvdeploy.links.families.apple.doctor import STAND_IN
from mvdeploy.links.families.apple.phones import DevicectlFailed, Phone
from mvdeploy.links.power import Meter, Unmetered
from mvdeploy.plugins import Option
from mvdeploy.records import UNAVAILABLE, DeviceProfile, DeviceState, Job, JobResult, Reading

RUNNER = "apple"
"""Which program does its jobs; engines say which of them can run them."""

OPTIONS = (
    Option(
        "team_id",
        "--team-id",
        "iPhone: the developer team that signs the app.",
        "ID",
        variable="MVDEPLOY_APPLE_TEAM",
    ),
    Option(
        "clean_app", "--clean-app", "iPhone: build the app anew.", variable="MVDEPLOY_APPLE_CLEAN"
    ),
)

_COMMAND = host.python_runner("mvdeploy.runners.apple")
_ENGINE = "coreml"

_PREPARE_S = 900.0
"""Seconds for building the app, installing it, and first loads of models on a phone."""

_CALL_S = 5.0
"""Seconds allowed for one inference on a phone: its tensors go there and back as files."""

_WARMUP_CALLS = 20


class PhoneGone(DeviceUnavailable):
    """A phone that answered does not any more.

    Attributes:
        events: what the runner had reported until then, in order.
        output: the end of what it wrote to its standard error.
    """

    def __init__(self, failed: RunnerFailed) -> None:
        super().__init__(failed.message, failed.remedy)
        self.events = failed.events
        self.output = failed.output


def connect(profile: DeviceProfile, options: Options = NO_OPTIONS) -> AppleLink:
    """Return the link to this Mac or to an attached phone, as the profile says."""
    return AppleLink(profile, options)


def is_here(profile: DeviceProfile) -> bool:
    """Say whether a profile is of this Mac, and not of a phone."""
    return not prerequisites.models(profile)


def doctor(profile: DeviceProfile, options: Options = NO_OPTIONS) -> tuple[Prerequisite, ...]:
    """Return each thing that it takes to measure on a device, and whether it is there."""
    return tuple(prerequisites.checks(profile, options.get("team_id")))


class AppleLink(host.HostLink):
    """Runs Core ML jobs here or on a phone, each in a process of its own.

    Args:
        profile: of this Mac or of a phone.
        options: of links.
        command: the runner's command line.

    Attributes:
        emulated: whether a stand-in answers instead of the device; known once it is open.
        call_s: seconds that an inference takes beside its own time, about: the way to a phone and
            back. It is in no sample, but makes long series of inferences take long.
    """

    def __init__(
        self,
        profile: DeviceProfile,
        options: Options = NO_OPTIONS,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        super().__init__(profile)
        self._team = options.get("team_id")
        self._clean = "clean_app" in options
        self._runner = tuple(command)
        self.call_s = 2.0 if prerequisites.models(profile) else 0.0
        self._phone: Phone | None = None

    def open(self) -> None:
        """Check that all is there that it takes.

        Raises:
            DeviceUnavailable: something is missing; says what, and how to get it.
        """
        lacking = self._lacking()
        if lacking is not None and lacking.name == "connection":
            _wake(self.profile)
            lacking = self._lacking()
        if lacking is not None:
            raise DeviceUnavailable(
                f"{self.profile.title} cannot be used: {lacking.name}: {lacking.found}.",
                lacking.remedy,
            )
        self.emulated = prerequisites.stand_in() is not None
        if prerequisites.models(self.profile):
            self._phone = prerequisites.attached(self.profile)
            self.emulated = self._phone is not None and self._phone.emulated
        self.on_reached(self.lock_key())

    def lock_key(self) -> str:
        """Return the phone's own identifier, or what this Mac is known by; see `Link.lock_key`."""
        return super().lock_key() if self._phone is None else f"apple {self._phone.udid}"

    def _lacking(self) -> Prerequisite | None:
        checks = prerequisites.checks(self.profile, self._team)
        return next((check for check in checks if check.state is not State.MET), None)

    def identity(self) -> dict[str, Reading]:
        """Return what the device is."""
        tools = importlib.metadata.version("coremltools")
        if self._phone is None:
            return {**super().identity(), "coremltools": tools}
        return {**_phone_identity(self._phone), "coremltools": tools}

    def meter(self) -> Meter:
        """Say why there is none; see `Link.meter`."""
        if self._phone is None:
            raise host.unmetered_mac()
        raise Unmetered(
            "iOS tells the power that an iPhone takes to no program on a Mac.",
            "Look at the energy gauge of Xcode, or measure with a meter at its supply.",
        )

    def state(self) -> DeviceState:
        """Return the condition the device is in; of a phone, devicectl hardly tells any."""
        if self._phone is None:
            return super().state()
        unread = ("thermal_status", "battery_percent", "battery_plugged", "cpu_khz", "loadavg_1")
        readings: dict[str, Reading] = dict.fromkeys(unread, UNAVAILABLE)
        readings["connection"] = self._phone.connection or UNAVAILABLE
        return DeviceState(datetime.datetime.now(datetime.UTC).isoformat(), readings)

    def run(self, job: Job, limit_s: float, on_event: OnEvent | None = None) -> JobResult:
        """Have the Apple runner do a Core ML job, the Python runner any other; see `Link.run`.

        Args:
            job: its paths are paths on this machine.
            limit_s: seconds of computing; for a phone, time for the app and for the way there and
                back is added.
            on_event: is given each event as it arrives.

        Raises:
            RunnerFailed: the runner failed, died, or did not finish in time.
            PhoneGone: the phone is gone.
            UsageError: a phone runs nothing but Core ML packages.
        """
        if any(model.engine != _ENGINE for model in job.models):
            if self._phone is not None:
                raise UsageError(
                    f"{self.profile.title} is reached by coremltools, which runs Core ML only.",
                    "Use --format coreml.",
                )
            return super().run(job, limit_s, on_event)
        link = host.HostLink(self.profile, self._command_line())
        self._clean = False  # one new build is enough, however many processes use it
        try:
            return link.run(job, limit_s + self._extra_s(job), self._watch(on_event))
        except RunnerFailed as failed:
            if failed.events and failed.events[-1].get("kind") == "device":
                raise PhoneGone(failed) from failed
            raise
        finally:
            self._end_app()

    def close(self) -> None:
        """Remove temporary files; the built app is kept for the next time."""
        super().close()
        shutil.rmtree(_work_folder() / "build", ignore_errors=True)

    def _command_line(self) -> tuple[str, ...]:
        words = [*self._runner, "--temporary", self.scratch()]
        if self._phone is not None:
            words += ["--phone", self._phone.udid, "--work", str(_work_folder())]
            words += ["--team", self._team or ""]
            words += ["--clean"] if self._clean else []
        return tuple(words)

    def _extra_s(self, job: Job) -> float:
        if self._phone is None:
            return 0.0
        warmup = job.warmup.iterations
        calls = 1 + (_WARMUP_CALLS if warmup is None else warmup)
        return _PREPARE_S + _CALL_S * (len(job.order) + calls * len(job.models))

    def _watch(self, on_event: OnEvent | None) -> OnEvent:
        """Return a listener that refuses a runner of another kind than the device."""

        def listen(event: dict[str, Any]) -> None:
            if event["event"] == "hello" and bool(event.get("emulated")) != self.emulated:
                raise EngineError(
                    "A stand-in and the real thing are mixed: the device "
                    f"{'is' if self.emulated else 'is not'} emulated, its Core ML "
                    f"{'is not' if self.emulated else 'is'}.",
                    f"Unset {STAND_IN} to measure a real device.",
                )
            if on_event is not None:
                on_event(event)

        return listen

    def _end_app(self) -> None:
        if self._phone is None:
            return
        try:
            phones.end_app(self._phone.identifier)
        except DevicectlFailed as error:
            # A phone that is gone has its own error; the next start of the app ends this one.
            print(f"The app could not be ended: {error.message}", file=sys.stderr)


def _wake(profile: DeviceProfile) -> None:
    phone = prerequisites.attached(profile)
    if phone is not None:
        phones.wake(phone)


def _phone_identity(phone: Phone) -> dict[str, Reading]:
    return {
        "cpu": UNAVAILABLE,
        "cores_physical": UNAVAILABLE,
        "cores_logical": UNAVAILABLE,
        "architecture": phone.architecture or UNAVAILABLE,
        "memory_bytes": UNAVAILABLE,
        "machine": f"{phone.title} ({phone.model})",
        "os": phone.system,
        "kernel": UNAVAILABLE,
        "build": phone.build or UNAVAILABLE,
    }


def _work_folder() -> Path:
    """Return the folder of the built app, which is used again: building takes a minute."""
    folder = files.user_folder("cache") / "modelrunner"
    if any(letter.isspace() for letter in str(folder)):
        # coremltools does not quote the paths in its commands.
        return Path(tempfile.gettempdir()) / f"mvdeploy-modelrunner-{os.getuid()}"
    return folder
