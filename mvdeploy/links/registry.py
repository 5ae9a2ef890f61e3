"""The links that there are: their options, and the engines that their devices run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from types import ModuleType

from mvdeploy import engines, kits, plugins
from mvdeploy.links.link import Options
from mvdeploy.plugins import Option
from mvdeploy.records import DeviceProfile

_ROOM = "mvdeploy.links.families"


def families() -> list[ModuleType]:
    """Return the files of all links."""
    return [family(name) for name in plugins.names(_ROOM)]


def family(name: str) -> ModuleType:
    """Return the file of a link.

    Raises:
        UsageError: there is no such link.
    """
    return plugins.load(_ROOM, name, "device link")


def options_of(link: ModuleType) -> tuple[Option, ...]:
    """Return the options that a link declares."""
    return getattr(link, "OPTIONS", ())


def resolved(given: Options, link: ModuleType) -> dict[str, str]:
    """Return the options of one link, as `resolve` does those of all."""
    return _resolved(given, options_of(link))


def declared() -> tuple[Option, ...]:
    """Return the options of all links, each once, whoever shares it."""
    options = {option.name: option for link in families() for option in options_of(link)}
    return tuple(options.values())


def resolve(options: Options) -> dict[str, str]:
    """Return options with what the environment says of those that were not given.

    Args:
        options: as they were given; an empty one counts as not given.
    """
    return _resolved(options, declared())


def _resolved(given: Options, options: Sequence[Option]) -> dict[str, str]:
    values = {one.name: given.get(one.name) or os.environ.get(one.variable) for one in options}
    return {name: str(value) for name, value in values.items() if value}


def is_here(profile: DeviceProfile) -> bool:
    """Say whether it is this machine's own processor that a device computes with."""
    says: Callable[[DeviceProfile], bool] = getattr(
        family(profile.link), "is_here", lambda _: False
    )
    return says(profile)


def builds(profile: DeviceProfile) -> tuple[str, ...]:
    """Return the builds of kits that a device runs, the preferred one first."""
    own: tuple[str, ...] = getattr(family(profile.link), "BUILDS", kits.BUILDS)
    return own


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
    runner = family(profile.link).RUNNER
    return tuple(dict.fromkeys((*profile.engines, *engines.run_by(runner))))
