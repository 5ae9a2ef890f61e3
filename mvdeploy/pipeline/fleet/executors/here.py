"""The devices of this machine, as an executor has them."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mvdeploy import devices, links
from mvdeploy.records import DeviceProfile
from mvdeploy.records.fleet import Unit


def name() -> str:
    """Return the name of this machine."""
    return socket.gethostname() or "localhost"


def units_of(
    profiles: Sequence[DeviceProfile], options: Mapping[str, str], *, each: bool = False
) -> list[Unit]:
    """Return the devices of this machine that profiles are of.

    Args:
        profiles: of devices that were named.
        options: of links.
        each: of a kind, each one that is attached, and not the only one.

    Raises:
        DeviceUnavailable: what looks for devices does not answer.
    """
    if not each:
        return [_unit(profile) for profile in profiles]
    found: dict[str, list[Unit]] = {}
    there = attached(options)
    for profile in profiles:
        own = [unit for unit in there if unit.profile.name == profile.name]
        found[profile.name] = own or [_unit(profile)]
    return [unit for units in found.values() for unit in units]


def attached(options: Mapping[str, str], extra: Iterable[Path] = ()) -> list[Unit]:
    """Return the devices at the cables of this machine.

    Raises:
        DeviceUnavailable: what looks for devices does not answer.
    """
    return [
        _unit(links.profile(one.address, tuple(extra), options))
        for one in links.attached(options)
        if one.ready
    ]


def host(profile: DeviceProfile | None = None) -> Unit:
    """Return this machine as a device."""
    return _unit(profile or devices.get("host"))


def _unit(profile: DeviceProfile) -> Unit:
    own = profile.address or (name() if profile.link == "host" else profile.name)
    return Unit(profile, own, name(), alone=links.is_here(profile))
