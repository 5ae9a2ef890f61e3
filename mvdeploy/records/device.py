"""`Device` and `DeviceState`: what a result was measured on, and in what condition it was."""

from __future__ import annotations

import dataclasses

UNAVAILABLE = "unavailable"
"""Stands where something could not be read, so that a reader sees that it was asked for."""

Reading = str | int | float | tuple[str, ...]


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
    """

    name: str
    title: str
    link: str
    engines: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    threads: int = 1
    notes: str = ""


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
