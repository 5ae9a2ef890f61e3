"""Device profiles: which devices are known by name, and what is set for each.

A profile is a file ``<name>.toml``. It is looked for in the folders that were given, then in the
user's own, then among the shipped ones; the first file of a name is the one that counts. A device
that has none is described by what it answers: `generic`.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mvdeploy import files, plugins
from mvdeploy.errors import UsageError
from mvdeploy.files import reading
from mvdeploy.records import DeviceProfile
from mvdeploy.records.codec import RecordError, decode
from mvdeploy.records.device import Cluster, CoolDown

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_PLUGIN = re.compile(r"[a-z][a-z0-9_]*(-[a-z0-9_]+)*")
_PROPERTY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_ADDRESS = re.compile(r"[^\s-](\S| (?=\S))*")

_ABIS = {"arm64-v8a": "aarch64", "aarch64": "aarch64", "x86_64": "x86_64", "amd64": "x86_64"}
"""Names of architectures, as Android and ``uname`` give them, and those of profiles."""

_COUNT = 1024
"""More cores, and more threads, than any device has."""

_KHZ = range(100_000, 10_000_001)
"""Clocks in kHz that a core may reach; one that was given in MHz or Hz is outside."""

_FAST = 0.78
"""Share of the highest clock from which on a core counts as fast.

The slow cores of the shipped phones reach 0.58 to 0.67 of it, their others 0.80 or more; those of
the Exynos 2100 reach 0.76.
"""


def folders(extra: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Return the folders that are searched for profiles, in order; the user's may not exist.

    Args:
        extra: folders to search before the user's and the shipped one.
    """
    return (*extra, files.user_folder("config") / "devices", _shipped())


def profiles(extra: Sequence[Path] = ()) -> dict[str, DeviceProfile]:
    """Return every profile that can be used, by name, sorted; see `problems` for the others.

    Args:
        extra: folders to search first.

    Raises:
        UsageError: one of the folders cannot be listed.
    """
    return {name: known.profile for name, known in _search(extra).good.items()}


def problems(extra: Sequence[Path] = ()) -> tuple[UsageError, ...]:
    """Return what is wrong with profile files: unusable ones, and aliases claimed twice.

    Args:
        extra: folders to search first.

    Raises:
        UsageError: one of the folders cannot be listed.
    """
    profile_files = _search(extra)
    claims = sorted({alias for known in profile_files.good.values() for alias in known.claims})
    clashes = [
        error for alias in claims if (error := _clash(alias, profile_files.claimants(alias)))
    ]
    return (*profile_files.broken.values(), *clashes)


def get(name: str, extra: Sequence[Path] = ()) -> DeviceProfile:
    """Return a profile by name or alias, in upper or lower case.

    A file that cannot be used matters only to who asks for the device it is named after.

    Args:
        name: what was typed after ``--device``.
        extra: folders to search first.

    Raises:
        UsageError: there is no such device, its file cannot be used, two profiles claim the alias,
            or one of the folders cannot be listed.
    """
    profile_files = _search(extra)
    key = name.strip().casefold()
    if key in profile_files.good:
        return profile_files.good[key].profile
    for stem, error in profile_files.broken.items():
        if stem.casefold() == key:
            raise error
    claimants = profile_files.claimants(key)
    if clash := _clash(key, claimants):
        raise clash
    if not claimants:
        raise plugins.unknown("device", name, tuple(profile_files.good))
    return claimants[0].profile


def fits(profile: DeviceProfile, properties: Mapping[str, str]) -> bool:
    """Return whether a device may be the profile's: it has the properties that this asks for.

    Args:
        profile: one that asks for none fits every device.
        properties: what the device answers, by name; compared in upper or lower case.
    """
    return all(
        any(_is_like(properties.get(name, ""), value) for value in values)
        for name, values in profile.match.items()
    )


def _is_like(answer: str, pattern: str) -> bool:
    answer, pattern = answer.strip().casefold(), pattern.casefold()
    return answer.startswith(pattern[:-1]) if pattern.endswith("*") else answer == pattern


def match(properties: Mapping[str, str], known: Iterable[DeviceProfile]) -> DeviceProfile | None:
    """Return the profile that a device is recognised by, the most particular one; None for none.

    Args:
        properties: what the device answers, by name.
        known: profiles to choose from; those that ask for no properties are passed over.
    """
    fitting = (profile for profile in known if profile.match and fits(profile, properties))
    return min(fitting, key=lambda profile: (-len(profile.match), profile.name), default=None)


def generic(
    link: str,
    address: str,
    properties: Mapping[str, str],
    max_khz: Mapping[int, int],
    engines: Sequence[str],
    formats: Sequence[str],
) -> DeviceProfile:
    """Describe a device that has no profile.

    Args:
        link: what reaches it.
        address: where the link finds it.
        properties: what it answers, under Android's names: ``ro.product.manufacturer``,
            ``ro.product.model``, ``ro.product.device``, ``ro.soc.manufacturer``, ``ro.soc.model``
            and ``ro.product.cpu.abi`` (what ``uname -m`` prints will do). Any may be missing.
        max_khz: highest clock of each core that tells it, in kHz, by the core's number.
        engines: engines that run on it, best first.
        formats: that networks are measured in when none is asked for.

    Returns:
        A profile whose cores are the fast ones, with a thread for each.

    Raises:
        UsageError: the link, the address or the engines cannot be such.
    """
    answers = {name: _printable(value) for name, value in properties.items()}
    title = _joined(answers, "ro.product.manufacturer", "ro.product.model") or f"device {address}"
    clusters = _clusters(max_khz)
    highest = max((cluster.max_khz for cluster in clusters), default=0)
    fast = [cluster.cores for cluster in clusters if cluster.max_khz >= _FAST * highest]
    cores = tuple(sorted(core for group in fast for core in group))
    asked = ("ro.product.device", "ro.product.model")
    profile = DeviceProfile(
        name=_slug(answers.get("ro.product.model") or address),
        title=title,
        link=link,
        engines=tuple(engines),
        formats=tuple(formats),
        threads=max(1, len(cores)),
        notes="No profile: from what the device answers.",
        match={name: (answers[name],) for name in asked if answers.get(name)},
        soc=_joined(answers, "ro.soc.manufacturer", "ro.soc.model"),
        clusters=clusters,
        cores=cores,
        address=address,
        architecture=_ABIS.get(answers.get("ro.product.cpu.abi", "").casefold(), ""),
    )
    _check(title, profile)
    return profile


def _printable(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:80].strip()


def _joined(answers: Mapping[str, str], maker: str, model: str) -> str:
    """Return maker and model as one name; many models begin with their maker's."""
    first, second = answers.get(maker, ""), answers.get(model, "")
    repeated = second.casefold().startswith(first.casefold())
    return second if repeated else f"{first} {second}".strip()


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._]+", "-", text.casefold())[:60].strip("-._") or "unknown"


def _clusters(max_khz: Mapping[int, int]) -> tuple[Cluster, ...]:
    """Group cores by their highest clock, the slowest first; impossible readings are left out."""
    groups: dict[int, list[int]] = {}
    for core, khz in sorted(max_khz.items()):
        if 0 <= core < _COUNT and khz in _KHZ:
            groups.setdefault(khz, []).append(core)
    return tuple(
        Cluster(f"{khz / 1e6:.2f} GHz", tuple(cores), khz) for khz, cores in sorted(groups.items())
    )


@dataclasses.dataclass(frozen=True)
class _Known:
    path: Path
    profile: DeviceProfile

    @property
    def claims(self) -> set[str]:
        return {self.profile.name, *(alias.casefold() for alias in self.profile.aliases)}


@dataclasses.dataclass(frozen=True)
class _Found:
    good: dict[str, _Known]
    broken: dict[str, UsageError]

    def claimants(self, key: str) -> list[_Known]:
        return [known for known in self.good.values() if key in known.claims]


def _clash(key: str, claimants: list[_Known]) -> UsageError | None:
    if len(claimants) < 2:
        return None
    # Nobody can take another profile's name: the one to mend is the one with the alias.
    last, first = sorted(claimants[:2], key=lambda known: known.profile.name == key)
    return UsageError(
        f"{last.path}: the alias '{key}' also stands for the device of {first.path}.",
        "Remove it from 'aliases' in one of the two files.",
    )


def _shipped() -> Path:
    package = Path(__file__).parent
    inside = package / "_devices"
    return inside if inside.is_dir() else package.parent / "devices"


def _search(extra: Sequence[Path]) -> _Found:
    good: dict[str, _Known] = {}
    broken: dict[str, UsageError] = {}
    for stem, path in sorted(_files(extra).items()):
        try:
            good[stem] = _Known(path, _read(path))
        except UsageError as error:
            broken[stem] = error
    return _Found(good, broken)


def _files(extra: Sequence[Path]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    *given, user, shipped = folders(extra)
    for folder in (*given, *([user] if user.is_dir() else []), shipped):
        for path in _listing(folder):
            if path.suffix == ".toml" and not path.name.startswith(".") and not path.is_dir():
                files.setdefault(path.stem, path)
    return files


def _listing(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise UsageError(
            f"The folder of device profiles {folder} cannot be listed ({error.strerror}).",
            "Give a folder that exists and may be read, or correct its permissions.",
        ) from error


def _read(path: Path) -> DeviceProfile:
    try:
        # Some editors write a byte order mark, which TOML has no place for.
        data = tomllib.loads(reading.text(path, what="a device profile", encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}).", "Correct its permissions, or remove it."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not valid TOML ({error}).", "Correct it, or remove it."
        ) from error
    try:
        profile = decode(DeviceProfile, data, "profile")
        if profile.name != path.stem:
            raise UsageError(
                f"{path}: 'name' is {profile.name!r}, which cannot be.",
                f"Give the file's name, '{path.stem}', or rename the file.",
            )
        _check(str(path), profile)
    except RecordError as error:
        raise UsageError(f"{path}: {error.message}", error.remedy) from error
    except ValueError as error:
        # Python writes out no number of more than some thousand digits.
        raise UsageError(
            f"{path} holds a number that cannot be ({error}).", "Correct it, or remove the file."
        ) from error
    return profile


def _check(where: str, profile: DeviceProfile) -> None:
    for key, value, demand in _faults(profile):
        shown = textwrap.shorten(repr(value), 80, placeholder=" ...")
        raise UsageError(f"{where}: '{key}' is {shown}, which cannot be.", f"Give {demand}.")


_Fault = tuple[str, object, str]
"""A key, what it is, and what it has to be."""


def _faults(profile: DeviceProfile) -> Iterator[_Fault]:
    yield from _naming_faults(profile)
    yield from _address_faults(profile)
    yield from _core_faults(profile)
    yield from _cool_down_faults(profile.cool_down)
    width = profile.bandwidth_gb_s
    if width is not None and not 0 < width <= 10_000:
        yield "bandwidth_gb_s", width, "GB/s, more than 0 and at most 10000"


def _naming_faults(profile: DeviceProfile) -> Iterator[_Fault]:
    if not _NAME.fullmatch(profile.name):
        yield "name", profile.name, "a name in small letters, digits and . _ -"
    if not profile.title.strip():
        yield "title", profile.title, "a name that people know the device by"
    if not _PLUGIN.fullmatch(profile.link):
        yield "link", profile.link, "the name of a device link, as in 'host'"
    if not profile.engines or not all(map(_PLUGIN.fullmatch, profile.engines)):
        yield "engines", profile.engines, "at least one engine's name, as in ['onnxruntime']"
    if not all(map(_PLUGIN.fullmatch, profile.formats)):
        yield "formats", profile.formats, "formats of exports, as in ['executorch', 'onnx']"
    if not all(alias.strip() for alias in profile.aliases):
        yield "aliases", profile.aliases, "a list of names"


def _address_faults(profile: DeviceProfile) -> Iterator[_Fault]:
    for name, values in profile.match.items():
        if not _PROPERTY.fullmatch(name):
            yield "match", name, "names of properties, as in 'ro.product.device'"
        if not values or not all(value.strip(" *") for value in values):
            yield f"match.{name}", values, "at least one value that fits, as in ['flame']"
    address, architectures = profile.address, sorted(set(_ABIS.values()))
    if address and not (_ADDRESS.fullmatch(address) and address.isprintable()):
        yield "address", address, "an address that begins with no dash and has no spaces around it"
    if profile.architecture and profile.architecture not in architectures:
        yield "architecture", profile.architecture, f"one of: {', '.join(architectures)}"


def _core_faults(profile: DeviceProfile) -> Iterator[_Fault]:
    if not 1 <= profile.threads <= _COUNT:
        yield "threads", profile.threads, f"a number of threads, 1 to {_COUNT}"
    seen: set[int] = set()
    for i, cluster in enumerate(profile.clusters):
        key = f"clusters[{i}]"
        if not cluster.name.strip():
            yield f"{key}.name", cluster.name, "a name for this kind of core"
        if not cluster.cores or not _are_cores(cluster.cores):
            yield f"{key}.cores", cluster.cores, f"numbers from 0 to {_COUNT - 1}, each once"
        if seen & set(cluster.cores):
            yield f"{key}.cores", cluster.cores, "cores that are in no other cluster"
        if cluster.max_khz not in _KHZ:
            yield f"{key}.max_khz", cluster.max_khz, f"kHz, {_KHZ[0]} to {_KHZ[-1]}"
        seen |= set(cluster.cores)
    if not _are_cores(profile.cores):
        yield "cores", profile.cores, f"numbers from 0 to {_COUNT - 1}, each once"
    if seen and not seen.issuperset(profile.cores):
        yield "cores", profile.cores, "cores that are in one of the clusters"


def _are_cores(numbers: tuple[int, ...]) -> bool:
    return len(set(numbers)) == len(numbers) and all(0 <= n < _COUNT for n in numbers)


def _cool_down_faults(rule: CoolDown) -> Iterator[_Fault]:
    for key, low, high, unit in (
        ("thermal_status", 0, 6, "Android's number of a thermal status"),
        ("skin_c", 10, 80, "degrees Celsius"),
        ("limit_s", 0, 86_400, "seconds"),
        ("poll_s", 0.1, 3_600, "seconds"),
    ):
        value = getattr(rule, key)
        if not low <= value <= high:
            yield f"cool_down.{key}", value, f"{unit}, {low} to {high}"
