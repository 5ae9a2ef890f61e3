"""What a link is: the promises that every kind of device keeps, and what it answers with."""

from __future__ import annotations

import abc
import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from mvdeploy.errors import DeviceUnavailable, EngineError
from mvdeploy.links.power import Meter, Unmetered
from mvdeploy.records import DeviceProfile, DeviceState, Finding, Job, JobResult, Level, Reading

OnEvent = Callable[[dict[str, Any]], None]
"""Is given each event of a runner as it arrives; what it raises ends the run."""

OnSent = Callable[[str, int, int], None]
"""Is told the name of a file on its way to a device, the bytes that are there, and all of them."""

OnReached = Callable[[str], None]
"""Is told the `Link.lock_key` of a device before anything is done to it; may refuse by raising."""

Options = Mapping[str, str]
"""What was given of the options of links, by `Option.name`; a switch that is on has any text."""

NO_OPTIONS: Options = MappingProxyType({})


class RunnerFailed(EngineError):
    """A runner reported an error, died, hung, or did not keep its contract.

    Attributes:
        events: what it had reported until then, in order.
        output: the end of what it wrote to its standard error.
    """

    def __init__(
        self, message: str, remedy: str, events: Sequence[dict[str, Any]] = (), output: str = ""
    ) -> None:
        super().__init__(message, remedy)
        self.events = tuple(events)
        self.output = output


class State(enum.StrEnum):
    """Whether a prerequisite is met."""

    MET = "met"
    MISSING = "missing"
    UNKNOWN = "unknown"
    """It cannot be told before another one is met."""


@dataclasses.dataclass(frozen=True)
class Prerequisite:
    """Something that it takes to measure on a device.

    Attributes:
        name: what.
        state: whether it is met.
        found: what was found, or why nothing was.
        remedy: what to do about what is missing; empty when it is met, or could not be looked at.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


@dataclasses.dataclass(frozen=True)
class Attached:
    """A device that is there, with or without a profile.

    Attributes:
        address: what tells it from others; can be typed after ``--device``.
        link: that reaches it.
        state: ``device`` when it is ready.
        properties: what it says of itself.
    """

    address: str
    link: str
    state: str
    properties: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether it can be used."""
        return self.state == "device"


@dataclasses.dataclass(frozen=True)
class Cleaned:
    """What was removed from a device.

    Attributes:
        folder: in which it lay.
        sizes: the bytes that each thing in it took, by name.
        mode_restored: fixed-performance mode was on, and was switched off.
        problem: the error for what could not be removed or switched off; None without.
    """

    folder: str
    sizes: dict[str, int]
    mode_restored: bool = False
    problem: DeviceUnavailable | None = None


@dataclasses.dataclass(frozen=True)
class Setting:
    """A way in which a whole device is set, for all that it runs.

    Attributes:
        name: what `Link.take` takes, and what the names of cases end with.
        title: in words, as they stand behind the name of the device.
    """

    name: str
    title: str


class Link(abc.ABC):
    """A connection to one device: open, upload, run (and fetch) as often as needed, close.

    A link is a context manager: it is opened on entry and closed on exit, whatever happened.

    Args:
        profile: the device it leads to.

    Attributes:
        profile: the device it leads to.
        emulated: a stand-in answers instead of the device; known once the link is open.
        call_s: seconds that an inference takes beside its own time, about; 0 where the runner's
            loop runs on the device.
        on_sent: is told how files get on that are sent to the device.
        on_reached: is told which device was reached, before anything is done to it.
        needs: engines that the jobs to come are for; empty when that is not known.
        force: jobs may also be done by what only stands in for the hardware that is asked for.
    """

    def __init__(self, profile: DeviceProfile) -> None:
        self.profile = profile
        self.emulated = False
        self.call_s = 0.0
        self.on_sent: OnSent = lambda _name, _sent, _size: None
        self.on_reached: OnReached = lambda _key: None
        self.needs: tuple[str, ...] = ()
        self.force = False
        self._findings: dict[str, Finding] = {}

    @abc.abstractmethod
    def open(self) -> None:
        """Reach the device.

        Raises:
            DeviceUnavailable: it does not answer, or `on_reached` refuses it.
        """

    def settings(self) -> tuple[Setting, ...]:
        """Return the settings that everything is to be measured in, if there are several."""
        return ()

    def take(self, setting: str) -> None:  # noqa: B027 - most devices have nothing to set
        """Set the device; ``""`` is how it was set when it was opened.

        Args:
            setting: name of one of `settings`.

        Raises:
            DeviceUnavailable: the device is gone.
        """

    def again(self) -> None:
        """Reach the device after it was lost; its next job begins at once, however hot it is.

        Raises:
            DeviceUnavailable: it is still gone.
        """
        self.state()

    @abc.abstractmethod
    def lock_key(self) -> str:
        """Return what tells the device from all others; known once it has been reached."""

    @abc.abstractmethod
    def identity(self) -> dict[str, Reading]:
        """Return what the device is: what stays as it is while it is switched on.

        What cannot be read is ``unavailable``.
        """

    @abc.abstractmethod
    def state(self) -> DeviceState:
        """Return the condition the device is in now: clocks, heat, load, counters.

        What cannot be read is ``unavailable``.
        """

    def settle(self) -> None:  # noqa: B027 - most devices are as they are
        """Have the device as a job would find it: as cool, and its screen as it is to be.

        Raises:
            DeviceUnavailable: the device is gone.
        """

    def meter(self) -> Meter:
        """Return what tells the power that the device takes, not yet started.

        Raises:
            Unmetered: nothing does, or not now.
            DeviceUnavailable: the device is gone.
        """
        raise Unmetered(
            f"Nothing tells the power that {self.profile.title} takes.",
            "Measure with a meter at its supply.",
        )

    @abc.abstractmethod
    def upload(self, files: Sequence[Path]) -> dict[Path, str]:
        """Bring files to the device, and return where each is there: a path for a `Job`.

        Raises:
            UsageError: a file is not there to be sent.
            DeviceUnavailable: the device is gone.
        """

    def discard(self, places: Sequence[str]) -> None:  # noqa: B027 - files here are not copies
        """Remove uploaded files that no later job needs; one that uploads nothing keeps them.

        Args:
            places: what `upload` returned.

        Raises:
            DeviceUnavailable: the device is gone.
        """

    @abc.abstractmethod
    def scratch(self) -> str:
        """Return a folder on the device, made by this link and removed by `close`.

        It is for what a runner writes: ``JobModel.profile_to``.
        """

    @abc.abstractmethod
    def run(self, job: Job, limit_s: float, on_event: OnEvent | None = None) -> JobResult:
        """Have a runner do a job in a fresh process, and wait for it.

        However this returns, nothing of that process is left on the device.

        Args:
            job: its paths are paths on the device.
            limit_s: seconds after which the runner counts as hung and is killed.
            on_event: is given each event as it arrives.

        Raises:
            RunnerFailed: the runner failed, died, or did not finish in time.
            DeviceUnavailable: the device is gone.
        """

    @abc.abstractmethod
    def fetch(self, remote: str, local: Path) -> None:
        """Copy a file from the device.

        Args:
            remote: path on the device, such as `ModelResult.profile`.
            local: the copy; its folder is made if need be.

        Raises:
            EngineError: there is no such file on the device.
            DeviceUnavailable: the device is gone.
        """

    def findings(self) -> tuple[Finding, ...]:
        """Return what to know about the device, and about what was done to it, so far."""
        return tuple(self._findings.values())

    def found(self, code: str, level: Level, **values: str | int | float) -> None:
        """Note something about the device, once."""
        self._findings.setdefault(code, Finding(code, level, dict(values)))

    @abc.abstractmethod
    def close(self) -> None:
        """Remove what this link has left on the device, and part from it. May be called again."""

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
