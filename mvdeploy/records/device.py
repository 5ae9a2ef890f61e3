"""`Device` and `DeviceState`: what a result was measured on, and in what condition it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Annotated, Literal

from mvdeploy.records.limits import Core, Count, Positive, Range, Size, Threads

UNAVAILABLE = "unavailable"
"""Stands where something could not be read, so that a reader sees that it was asked for."""

Reading = str | int | float | tuple[str, ...]


def core_mask(cores: Iterable[int]) -> str:
    """Return cores as toybox's ``taskset`` takes them: a hexadecimal number without ``0x``.

    Args:
        cores: numbers, 0 or more.
    """
    return f"{sum(1 << core for core in set(cores)):x}"


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Cores of one kind.

    Attributes:
        name: the kind, such as ``Cortex-A76 prime``.
        cores: their numbers, as the system counts them.
        max_khz: the highest clock that they reach, in kHz.
    """

    name: str
    cores: tuple[Core, ...]
    max_khz: Count

    @property
    def mask(self) -> str:
        """The cores as `core_mask` writes them."""
        return core_mask(self.cores)


@dataclasses.dataclass(frozen=True)
class CoolDown:
    """How cool a device has to be before it is measured, and how long that is waited for.

    Attributes:
        thermal_status: highest thermal status that will do: 0 none, 1 light, 2 moderate, 3 severe,
            4 critical, 5 emergency, 6 shutdown (Android's numbers).
        skin_c: highest temperature of the skin that will do, in °C.
        limit_s: seconds to wait at most.
        poll_s: seconds between two readings.
    """

    thermal_status: Annotated[int, Range(0, 6)] = 0
    skin_c: float = 36.0
    limit_s: Size = 300.0
    poll_s: Size = 5.0


@dataclasses.dataclass(frozen=True)
class DeviceProfile:
    """A device as its profile file describes it.

    Attributes:
        name: what is typed after ``--device``.
        title: the name people know it by.
        link: the transport that reaches it.
        engines: engines that run on it, best first.
        aliases: other names for it.
        threads: default number of inference threads.
        notes: anything a reader of results should know.
        match: how the device is recognised: for each property that it answers, such as
            ``ro.product.device``, the values that fit, where a last ``*`` stands for any end; all
            properties have to fit. Empty when the link leads to one device only.
        soc: the chip, as in ``Snapdragon 855 (SM8150)``.
        clusters: its cores by kind.
        gpu: its GPU.
        bandwidth_gb_s: theoretical bandwidth of its memory, in GB/s (10^9 bytes); None when that is
            not known.
        cores: default numbers of the cores to run on; empty for all.
        cool_down: when it is cool enough to be measured.
        address: one certain device: the serial number of adb, ``user@host[:port]`` of ssh; empty
            for the only one that is attached.
        architecture: of its programs: ``aarch64``, ``x86_64``, or empty when it does not matter.
        fixed_performance: whether Android is asked for its fixed-performance mode.
        screen: whether Android's screen is kept ``on`` or ``off``; empty to leave it as it is.
        formats: that networks are measured in when none is asked for; empty for the one that the
            first engine runs.
        power_sensor: label of the sensor that tells the power of the whole board, where it has
            several; empty for the one that is known to, or the only one.
    """

    name: str
    title: str
    link: str
    engines: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    threads: Threads = 1
    notes: str = ""
    match: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    soc: str = ""
    clusters: tuple[Cluster, ...] = ()
    gpu: str = ""
    bandwidth_gb_s: Positive | None = None
    cores: tuple[Core, ...] = ()
    cool_down: CoolDown = CoolDown()
    address: str = ""
    architecture: str = ""
    fixed_performance: bool = True
    screen: Literal["", "on", "off"] = ""
    formats: tuple[str, ...] = ()
    power_sensor: str = ""


@dataclasses.dataclass(frozen=True)
class Device:
    """A profile and what answered.

    Attributes:
        profile: the profile.
        identity: what the device says of itself: CPU, memory, system, versions.
        emulated: true when the answers come from an emulator; such numbers are no device's.
    """

    profile: DeviceProfile
    identity: dict[str, Reading]
    emulated: bool = False


@dataclasses.dataclass(frozen=True)
class DeviceState:
    """Readings at one moment.

    Attributes:
        taken_at: ISO 8601, UTC.
        readings: by name; ``unavailable`` where the device does not tell.
    """

    taken_at: str
    readings: dict[str, Reading]
