"""Device links: how a device is reached, and how a runner is started there.

A link is one file, or folder, in ``families/``. It is light to import and has:

``connect(profile)``
    a `Link` to the device of a profile; nothing is contacted before `Link.open`.
``doctor(profile)``
    what it takes to measure there, as a tuple of `Prerequisite`; a link that needs nothing may
    lack it.
``attached()`` and ``generic(attached)``
    the devices that are there, and a profile for one of them that none is known for; a link that
    cannot look for devices lacks both.
``named(text)`` and ``generic(attached)``
    the device that a text is the address of, without asking it, and a profile for it; a link whose
    addresses cannot be told from names lacks it.
``OPTIONS``
    what can be said of how its devices are reached, a tuple of `LinkOption`; a link may lack it.

Links give the same things the same names, each with its unit. Counters grow from the start of the
system on; what happened in between is the difference of two states.

===========================  ======================================================================
`Link.identity`
===========================  ======================================================================
``cpu``                      model
``cores_physical``           number, as is ``cores_logical``
``architecture``             such as ``x86_64``
``memory_bytes``             installed
``machine``                  model of the whole device
``os``                       name and version, as is ``kernel``
``build``                    which one of ``os``, such as Android's fingerprint; phones only
``hypervisor``               ``yes`` when the processor says that it is a virtual one, or ``no``
``boost``                    whether clocks may rise above the nominal one: ``on`` or ``off``
``python``                   version
===========================  ======================================================================

===========================  ======================================================================
`Link.state`
===========================  ======================================================================
``loadavg_1``                processes that run or wait to run, mean of one minute; also ``_5``,
                             ``_15``
``governor``                 for each core; as are the clocks
``cpu_khz``                  clock now
``cpu_max_khz``              clock that is allowed now
``cpu_hardware_max_khz``     clock that the processor could reach
``boost``                    as in `Link.identity`, where it can change; a link may lack it
``thermal_status``           how hot the system says it is, such as ``none`` or ``severe``; a link
                             whose systems do not grade heat lacks it
``steal_ticks``              counter: ticks the hypervisor gave to others, summed over cores
``idle_ticks``               counter: ticks without work
``total_ticks``              counter: all ticks
``context_switches``         counter
``psi_cpu_some_us``          counter: microseconds in which some task waited for a core
``run_delay_ns``             counter: nanoseconds that tasks waited for a core, summed over cores
``page_faults``              counter
``temperatures_c``           ``sensor=degrees`` for each sensor
``skin_c``                   °C, the highest that a sensor of the skin tells; phones only
``battery_percent``          charge; ``battery_plugged`` is ``yes`` when it is being fed, or ``no``
``battery_c``                °C; phones only
``screen``                   such as ``awake`` or ``asleep``; phones only
``memory_available_bytes``   what can be had without swapping
``affinity``                 numbers of the cores that this process may use
``background_process``       the process that computes most now, other than mvdeploy; ``none``
``background_cpu_share``     its share of one core, 0 to 1 (more with threads)
===========================  ======================================================================
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, cast

from mvdeploy import devices, engines, plugins
from mvdeploy.errors import DeviceUnavailable, EngineError
from mvdeploy.records import DeviceProfile, DeviceState, Finding, Job, JobResult, Reading

_FAMILIES = "mvdeploy.links.families"

OnEvent = Callable[[dict[str, Any]], None]
"""Is given each event of a runner as it arrives; what it raises ends the run."""


OnSent = Callable[[str, int, int], None]
"""Is told the name of a file on its way to a device, the bytes that are there, and all of them."""


def _told_nobody(_name: str, _sent: int, _size: int) -> None:
    pass


class KitMissing(DeviceUnavailable):
    """A device answers, but no runner was built for it.

    Attributes:
        architecture: what it has to be built for.
    """

    def __init__(self, profile: DeviceProfile, architecture: str) -> None:
        super().__init__(
            f"There is no runner kit for {profile.title} ({architecture}).",
            f"Build it with 'mvdeploy devices setup {profile.name}'.",
        )
        self.architecture = architecture


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
        remedy: what to do; empty when it is met.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


@dataclasses.dataclass(frozen=True)
class LinkOption:
    """Something that can be said of how a link's devices are reached.

    Attributes:
        flag: on the command line.
        variable: of the environment, where the link looks for it.
        help: one sentence.
        metavar: what stands for its value; empty for a switch.
    """

    flag: str
    variable: str
    help: str
    metavar: str = ""


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


class Link(Protocol):
    """A connection to one device: open, upload, run (and fetch) as often as needed, close.

    A link is a context manager: it is opened on entry and closed on exit, whatever happened.

    Attributes:
        profile: the device it leads to.
        emulated: a stand-in answers instead of the device; known once the link is open.
        call_s: seconds that an inference takes beside its own time, about; 0 where the runner's
            loop runs on the device.
        on_sent: is told how files get on that are sent to the device.
    """

    profile: DeviceProfile
    emulated: bool
    call_s: float
    on_sent: OnSent = staticmethod(_told_nobody)

    def open(self) -> None:
        """Reach the device.

        Raises:
            DeviceUnavailable: it does not answer.
        """

    def identity(self) -> dict[str, Reading]:
        """Return what the device is: what stays as it is while it is switched on.

        What cannot be read is ``unavailable``.
        """

    def state(self) -> DeviceState:
        """Return the condition the device is in now: clocks, heat, load, counters.

        What cannot be read is ``unavailable``.
        """

    def upload(self, files: Sequence[Path]) -> dict[Path, str]:
        """Bring files to the device, and return where each is there: a path for a `Job`.

        Raises:
            UsageError: a file is not there to be sent.
            DeviceUnavailable: the device is gone.
        """

    def scratch(self) -> str:
        """Return a folder on the device, made by this link and removed by `close`.

        It is for what a runner writes: ``JobModel.profile_to``.
        """

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
        return ()

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


class _LinkFile(Protocol):
    def connect(self, profile: DeviceProfile) -> Link: ...


def get(profile: DeviceProfile) -> Link:
    """Return the link to a device, not yet opened.

    Raises:
        UsageError: the profile names a link that there is not.
    """
    file = cast(_LinkFile, plugins.load(_FAMILIES, profile.link, "device link"))
    return file.connect(profile)


def doctor(profile: DeviceProfile) -> tuple[Prerequisite, ...]:
    """Go through what it takes to measure on a device; empty for one that takes nothing.

    Raises:
        UsageError: the profile names a link that there is not.
    """
    file = plugins.load(_FAMILIES, profile.link, "device link")
    check: Callable[[DeviceProfile], tuple[Prerequisite, ...]] | None
    check = getattr(file, "doctor", None)
    return check(profile) if check is not None else ()


def options() -> tuple[LinkOption, ...]:
    """Return the options of all links."""
    return tuple(option for link in _links() for option in getattr(link, "OPTIONS", ()))


def attached() -> tuple[Attached, ...]:
    """Return the devices that are there, as far as links can look for them.

    Raises:
        DeviceUnavailable: what a link asks does not answer.
    """
    return tuple(one for link in _links() if hasattr(link, "attached") for one in link.attached())


def profile(name: str, extra: Sequence[Path] = ()) -> DeviceProfile:
    """Return the profile of a device by its name, an alias, or the address of an attached one.

    Args:
        name: what was typed after ``--device``.
        extra: folders of profiles to search first.

    Raises:
        UsageError: there is no such device, or its profile cannot be used.
        DeviceUnavailable: it is attached, but not ready.
    """
    try:
        return devices.get(name, extra)
    except plugins.UnknownNameError:
        one = next((one for one in (*_named(name), *attached()) if one.address == name), None)
        if one is None:
            raise
    if not one.ready:
        raise DeviceUnavailable(
            f"Device {name} is attached, but it is {one.state}.",
            "Unlock it, allow this computer to debug it, and look at 'mvdeploy devices' again.",
        )
    found = devices.match(one.properties, devices.profiles(extra).values())
    if found is not None:
        return dataclasses.replace(found, address=one.address)
    generic: Callable[[Attached], DeviceProfile]
    generic = plugins.load(_FAMILIES, one.link, "device link").generic
    return generic(one)


def engines_of(profile: DeviceProfile) -> tuple[str, ...]:
    """Return the engines that run on a device: those of its profile, best first, and then others.

    Raises:
        UsageError: the profile names a link that there is not.
    """
    runner = getattr(plugins.load(_FAMILIES, profile.link, "device link"), "RUNNER", "")
    return tuple(dict.fromkeys((*profile.engines, *engines.run_by(runner))))


def _named(name: str) -> list[Attached]:
    found = [link.named(name) for link in _links() if hasattr(link, "named")]
    return [one for one in found if one is not None]


def _links() -> list[Any]:
    return [plugins.load(_FAMILIES, name, "device link") for name in plugins.names(_FAMILIES)]
