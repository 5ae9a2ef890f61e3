"""Which device is meant by what somebody types, and what is typed to mean a device."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from mvdeploy import devices, kits, plugins
from mvdeploy.errors import DeviceUnavailable, UsageError
from mvdeploy.links import registry
from mvdeploy.links.link import NO_OPTIONS, Attached, Options
from mvdeploy.records import DeviceProfile

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


def attached(options: Options = NO_OPTIONS) -> tuple[Attached, ...]:
    """Return the devices that are there, as far as links can look for them.

    Args:
        options: of links; the environment fills in what is not among them.

    Raises:
        DeviceUnavailable: what a link asks does not answer.
    """
    resolved = registry.resolve(options)
    looking = [link for link in registry.families() if hasattr(link, "attached")]
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
    resolved = registry.resolve(options)
    try:
        known = devices.get(name, extra)
    except plugins.UnknownNameError as unknown:
        one = _one(name, resolved)
        if one is None:
            raise plugins.UnknownNameError(unknown.message, f"{unknown.remedy} {_OTHERS}") from None
        return _profile_of(one, extra, resolved)
    if _takes_address(known) and _ADDRESS in resolved:
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
        unready: Callable[[Attached], DeviceUnavailable] = registry.family(one.link).unready
        raise unready(one)
    known = devices.match(one.properties, devices.profiles(extra).values())
    if known is not None:
        return dataclasses.replace(known, address=one.address)
    generic: Callable[[Attached, Options], DeviceProfile] = registry.family(one.link).generic
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
    return f"{name} --address {address}" if _takes_address(profile) else address


def _takes_address(profile: DeviceProfile) -> bool:
    options = registry.options_of(registry.family(profile.link))
    return any(option.name == _ADDRESS for option in options)


def word(text: str) -> str:
    """Return a text as one word for a shell, in double quotes where they do: others stand around.

    Args:
        text: such as the serial of a phone.
    """
    quoted = shlex.quote(text)
    return quoted if quoted == text or set(text) & set('"$`\\!') else f'"{text}"'


def _named(name: str) -> list[Attached]:
    named = [link.named(name) for link in registry.families() if hasattr(link, "named")]
    return [one for one in named if one is not None]


def mend(profile: DeviceProfile) -> str:
    """Return what to do about a runner on a device that does not do its work, as a sentence."""
    if not profile.architecture:
        return "Run again with --debug to see what the runner wrote."
    build = kits.used(profile.architecture, registry.builds(profile))
    return f"Build its kit again with {kits.anew(build, typed(profile))}."
