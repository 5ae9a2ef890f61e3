"""Device links: how a device is reached, and how a runner is started there.

A link is one file, or folder, in ``families/``. It is light to import and has:

``RUNNER``
    which program does its jobs: ``host`` (Python, on this machine), ``native`` (a runner kit that
    is sent to the device) or ``apple`` (coremltools).
``OPTIONS``
    what can be said of how its devices are reached, a tuple of `Option`; a link may lack it. One
    that is named ``address`` says where a device is, and becomes the address of its profile.
``BUILDS``
    the builds of kits that its devices run, the preferred one first; a link whose devices run all
    of them may lack it.
``connect(profile, options)``
    a `Link` to the device of a profile; nothing is contacted before `Link.open`.
``doctor(profile, options)``
    what it takes to measure there, as a tuple of `Prerequisite`; a link that needs nothing may
    lack it.
``attached(options)``, ``generic(attached, options)`` and ``unready(attached)``
    the devices that are there, a profile for one of them that none is known for, and the error for
    one that cannot be used as it is; a link that cannot look for devices lacks them.
``named(text)`` and ``generic(attached, options)``
    the device that a text is the address of, without asking it, and a profile for it; a link whose
    addresses cannot be told from names lacks it.

Options are a mapping from `Option.name` to what was given. `resolve` fills in what the environment
says; links themselves never look there.

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
``cpu_quota_cores``          cores' worth of time that the container or service may use, or
                             ``none``; host only
``cpu_quota_held_us``        counter: microseconds for which that limit held its threads; host only
``cpu_quota_periods``        counter: periods of that limit in which it had something to do; host
                             only
``cpu_quota_stopped``        counter: those of them in which its time was used up; host only
``temperatures_c``           ``sensor=degrees`` for each sensor
``skin_c``                   °C, the highest that a sensor of the skin tells; phones only
``battery_percent``          charge; ``battery_plugged`` is ``yes`` when it is being fed, or ``no``
``battery_c``                °C; phones only
``screen``                   such as ``awake`` or ``asleep``; phones only
``memory_available_bytes``   what can be had without swapping
``affinity``                 numbers of the cores that this process may use
``environment``              ``NAME=value`` of each environment variable by which kernels or threads
                             are chosen, or ``none``
``background_process``       the process that computes most now, other than mvdeploy; ``none``
``background_cpu_share``     its share of one core, 0 to 1 (more with threads)
===========================  ======================================================================
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType, TracebackType
from typing import Any, Self

from mvdeploy import devices, engines, kits, plugins
from mvdeploy.errors import DeviceUnavailable, EngineError, UsageError
from mvdeploy.plugins import Option
from mvdeploy.records import DeviceProfile, DeviceState, Finding, Job, JobResult, Level, Reading

_FAMILIES = "mvdeploy.links.families"

OnEvent = Callable[[dict[str, Any]], None]
"""Is given each event of a runner as it arrives; what it raises ends the run."""

OnSent = Callable[[str, int, int], None]
"""Is told the name of a file on its way to a device, the bytes that are there, and all of them."""

OnReached = Callable[[str], None]
"""Is told the `Link.lock_key` of a device before anything is done to it; may refuse by raising."""

Options = Mapping[str, str]
"""What was given of the options of links, by `Option.name`; a switch that is on has any text."""

NO_OPTIONS: Options = MappingProxyType({})

_ADDRESS = "address"


class KitMissing(DeviceUnavailable):
    """A device answers, but no runner was built for it.

    Attributes:
        architecture: what it has to be built for.
    """

    def __init__(self, profile: DeviceProfile, architecture: str) -> None:
        super().__init__(
            f"There is no runner kit for {profile.title} ({architecture}).",
            f"Build it with 'mvdeploy devices setup {typed(profile)}'.",
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
    """

    def __init__(self, profile: DeviceProfile) -> None:
        self.profile = profile
        self.emulated = False
        self.call_s = 0.0
        self.on_sent: OnSent = lambda _name, _sent, _size: None
        self.on_reached: OnReached = lambda _key: None
        self.needs: tuple[str, ...] = ()
        self._findings: dict[str, Finding] = {}

    @abc.abstractmethod
    def open(self) -> None:
        """Reach the device.

        Raises:
            DeviceUnavailable: it does not answer, or `on_reached` refuses it.
        """

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


def get(profile: DeviceProfile, options: Options = NO_OPTIONS) -> Link:
    """Return the link to a device, not yet opened.

    Args:
        profile: of the device; the address in it goes before one among the options.
        options: of links; the environment fills in what is not among them.

    Raises:
        UsageError: the profile names a link that there is not.
    """
    family = _family(profile.link)
    link: Link = family.connect(profile, _resolved(options, _options(family)))
    return link


def doctor(profile: DeviceProfile, options: Options = NO_OPTIONS) -> tuple[Prerequisite, ...]:
    """Go through what it takes to measure on a device; empty for one that takes nothing.

    Args:
        profile: of the device.
        options: of links; the environment fills in what is not among them.

    Raises:
        UsageError: the profile names a link that there is not.
    """
    check: Callable[[DeviceProfile, Options], tuple[Prerequisite, ...]] | None
    family = _family(profile.link)
    check = getattr(family, "doctor", None)
    return check(profile, _resolved(options, _options(family))) if check is not None else ()


def builds(profile: DeviceProfile) -> tuple[str, ...]:
    """Return the builds of kits that a device runs, the preferred one first."""
    own: tuple[str, ...] = getattr(_family(profile.link), "BUILDS", kits.BUILDS)
    return own


def declared() -> tuple[Option, ...]:
    """Return the options of all links, each once, whoever shares it."""
    options = {option.name: option for link in _families() for option in _options(link)}
    return tuple(options.values())


def resolve(options: Options) -> dict[str, str]:
    """Return options with what the environment says of those that were not given.

    Args:
        options: as they were given; an empty one counts as not given.
    """
    return _resolved(options, declared())


def attached(options: Options = NO_OPTIONS) -> tuple[Attached, ...]:
    """Return the devices that are there, as far as links can look for them.

    Args:
        options: of links; the environment fills in what is not among them.

    Raises:
        DeviceUnavailable: what a link asks does not answer.
    """
    resolved = resolve(options)
    looking = [link for link in _families() if hasattr(link, "attached")]
    return tuple(one for link in looking for one in link.attached(resolved))


def profile(name: str, extra: Sequence[Path] = (), options: Options = NO_OPTIONS) -> DeviceProfile:
    """Return the profile of a device by its name, an alias, or the address of an attached one.

    Args:
        name: what was typed after ``--device``.
        extra: folders of profiles to search first.
        options: of links; the environment fills in what is not among them. An address among them
            is that of the profile from now on, so that devices that are used together are each
            asked for with options of their own.

    Raises:
        UsageError: there is no such device, or its profile cannot be used.
        DeviceUnavailable: it is attached, but not ready.
    """
    resolved = resolve(options)
    try:
        known = devices.get(name, extra)
    except plugins.UnknownNameError as unknown:
        one = _one(name, resolved)
        if one is None:
            raise plugins.UnknownNameError(unknown.message, f"{unknown.remedy} {_OTHERS}") from None
        return _profile_of(one, extra, resolved)
    takes_address = any(option.name == _ADDRESS for option in _options(_family(known.link)))
    if takes_address and _ADDRESS in resolved:
        return dataclasses.replace(known, address=resolved[_ADDRESS])
    return known


_OTHERS = (
    "Or give what 'mvdeploy devices' lists as attached, USER@HOST, or a host of your ssh "
    "configuration."
)


def _one(name: str, options: Options) -> Attached | None:
    """Return the device that is meant by an address, or by what tells one that is attached."""
    # Links that look for devices may fail to, which is nothing to who has typed an address.
    return next(iter(_named(name)), None) or next(
        (one for one in attached(options) if one.address == name), None
    )


def _profile_of(one: Attached, extra: Sequence[Path], options: Options) -> DeviceProfile:
    """Return the profile that an attached device is recognised by, or one of its own."""
    if not one.ready:
        unready: Callable[[Attached], DeviceUnavailable] = _family(one.link).unready
        raise unready(one)
    known = devices.match(one.properties, devices.profiles(extra).values())
    if known is not None:
        return dataclasses.replace(known, address=one.address)
    generic: Callable[[Attached, Options], DeviceProfile] = _family(one.link).generic
    return generic(one, options)


def typed(profile: DeviceProfile) -> str:
    """Return what is typed in a shell to mean a device: after ``mvdeploy devices doctor``, say.

    A name alone does not do for a device without a profile, or for one that was chosen among
    several by its address.
    """
    try:
        known = devices.get(profile.name)
    except UsageError:
        known = None
    name, address = profile.name, word(profile.address)
    if known is None or (known.title, known.link) != (profile.title, profile.link):
        return address if profile.address else f"{name} --devices-dir DIR"
    if profile.address in ("", known.address):
        return name
    takes_address = any(option.name == _ADDRESS for option in _options(_family(profile.link)))
    return f"{name} --address {address}" if takes_address else address


def word(text: str) -> str:
    """Return a text as one word for a shell, in double quotes where they do: others stand around.

    Args:
        text: such as the serial of a phone.
    """
    quoted = shlex.quote(text)
    return quoted if quoted == text or set(text) & set('"$`\\!') else f'"{text}"'


def mend(profile: DeviceProfile) -> str:
    """Return what to do about a runner on a device that does not do its work, as a sentence."""
    if not profile.architecture:
        return "Run again with --debug to see what the runner wrote."
    build = kits.used(profile.architecture, builds(profile))
    return f"Build its kit again with {kits.anew(build, typed(profile))}."


def native_choice() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the engines that the native runner has, and the formats that they run."""
    native = tuple(engines.native())
    formats = dict.fromkeys(name for engine in native for name in engines.get(engine).FORMATS)
    return native, tuple(formats)


def engines_of(profile: DeviceProfile) -> tuple[str, ...]:
    """Return the engines that run on a device: those of its profile, best first, and then others.

    Raises:
        UsageError: the profile names a link that there is not.
    """
    runner = _family(profile.link).RUNNER
    return tuple(dict.fromkeys((*profile.engines, *engines.run_by(runner))))


def _named(name: str) -> list[Attached]:
    named = [link.named(name) for link in _families() if hasattr(link, "named")]
    return [one for one in named if one is not None]


def _families() -> list[ModuleType]:
    return [_family(name) for name in plugins.names(_FAMILIES)]


def _family(name: str) -> ModuleType:
    return plugins.load(_FAMILIES, name, "device link")


def _options(family: ModuleType) -> tuple[Option, ...]:
    return getattr(family, "OPTIONS", ())


def _resolved(given: Options, options: Sequence[Option]) -> dict[str, str]:
    values = {one.name: given.get(one.name) or os.environ.get(one.variable) for one in options}
    return {name: str(value) for name, value in values.items() if value}
