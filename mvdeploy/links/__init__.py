"""Device links: how a device is reached, and how a runner is started there.

A link is one file, or folder, in ``families/``. It is light to import and has:

``RUNNER``
    which program does its jobs: ``host`` (Python, on this machine), ``native`` (a runner kit that
    is sent to the device), ``apple`` (coremltools) or ``web`` (a page of a browser).
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
``is_here(profile)``
    whether it is this machine's own processor that a device computes with, so that nothing else is
    to be measured meanwhile; a link that leads elsewhere lacks it.
``clean(profile, options, force)``
    remove everything of mvdeploy from there, and say what that was, as `Cleaned`; a link that
    leaves nothing may lack it.
``setup(profile, options, on_step)``
    prepare this machine for measuring there, and say in sentences what there is then; a link whose
    devices are prepared by a kit, or not at all, lacks it.
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
``macs_per_s_fp32_1``        multiply-accumulates per second that one core was measured to do; also
                             of other numbers, and of more cores; host only, once measured
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
``fixed_performance``        whether mvdeploy has Android's mode of that name switched on: ``on``
                             or ``off``; phones only
``task_profile``             of Android, that the runner is started with, or ``none``; phones only
``scheduling_groups``        ``controller=group`` of a process that is started as the runner is, for
                             what decides on its cores and their clocks, as ``cpuset=/foreground``;
                             phones only
``memory_available_bytes``   what can be had without swapping
``affinity``                 numbers of the cores that this process may use
``environment``              ``NAME=value`` of each environment variable by which kernels or threads
                             are chosen, or ``none``
``background_process``       the process that computes most now, other than mvdeploy; ``none``
``background_cpu_share``     its share of one core, 0 to 1 (more with threads)
``busy_cores``               how many cores computed while mvdeploy itself did not; host only
===========================  ======================================================================
"""

from __future__ import annotations

from collections.abc import Callable

from mvdeploy.errors import UsageError
from mvdeploy.links import registry
from mvdeploy.links.link import (
    NO_OPTIONS,
    Attached,
    Cleaned,
    Link,
    OnEvent,
    OnReached,
    OnSent,
    Options,
    Prerequisite,
    RunnerFailed,
    Setting,
    State,
)
from mvdeploy.links.naming import KitMissing, attached, mend, profile, typed, word
from mvdeploy.links.registry import (
    builds,
    declared,
    engines_of,
    is_here,
    native_choice,
    resolve,
)
from mvdeploy.records import DeviceProfile

__all__ = [
    "NO_OPTIONS",
    "Attached",
    "Cleaned",
    "KitMissing",
    "Link",
    "OnEvent",
    "OnReached",
    "OnSent",
    "Options",
    "Prerequisite",
    "RunnerFailed",
    "Setting",
    "State",
    "attached",
    "builds",
    "clean",
    "declared",
    "doctor",
    "engines_of",
    "get",
    "is_here",
    "mend",
    "native_choice",
    "profile",
    "resolve",
    "setup",
    "typed",
    "word",
]


def get(profile: DeviceProfile, options: Options = NO_OPTIONS) -> Link:
    """Return the link to a device, not yet opened.

    Args:
        profile: of the device; the address in it goes before one among the options.
        options: of links; the environment fills in what is not among them.

    Raises:
        UsageError: the profile names a link that there is not.
    """
    family = registry.family(profile.link)
    link: Link = family.connect(profile, registry.resolved(options, family))
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
    family = registry.family(profile.link)
    check = getattr(family, "doctor", None)
    return check(profile, registry.resolved(options, family)) if check is not None else ()


def setup(
    profile: DeviceProfile, options: Options, on_step: Callable[[str], None]
) -> tuple[str, ...] | None:
    """Prepare this machine for measuring on a device.

    Args:
        profile: of the device.
        options: of links; the environment fills in what is not among them.
        on_step: is told what begins.

    Returns:
        sentences on what there is then; None for a device that takes a kit, or nothing.

    Raises:
        UsageError: what was given for it cannot be used.
        DeviceUnavailable: something that it takes cannot be had.
    """
    family = registry.family(profile.link)
    prepare: Callable[[DeviceProfile, Options, Callable[[str], None]], tuple[str, ...]] | None
    prepare = getattr(family, "setup", None)
    return prepare(profile, registry.resolved(options, family), on_step) if prepare else None


def clean(profile: DeviceProfile, options: Options = NO_OPTIONS, force: bool = False) -> Cleaned:
    """Remove everything of mvdeploy from a device.

    Args:
        profile: of the device.
        options: of links; the environment fills in what is not among them.
        force: also what a run uses that is going on there.

    Raises:
        UsageError: the profile names a link that there is not, or one that leaves nothing.
        DeviceUnavailable: the device does not answer, or a run is going on there.
    """
    family = registry.family(profile.link)
    remove: Callable[[DeviceProfile, Options, bool], Cleaned] | None
    remove = getattr(family, "clean", None)
    if remove is None:
        raise UsageError(
            f"mvdeploy leaves nothing on {profile.title} that would have to be removed.",
            "Name a phone at adb, or a board: 'mvdeploy devices' lists them.",
        )
    cleaned: Cleaned = remove(profile, registry.resolved(options, family), force)
    return cleaned
