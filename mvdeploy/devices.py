"""Device profiles: which devices are known by name, and what is set for each.

A profile is a file ``<name>.toml``. It is looked for in the folders that were given, then in the
user's own, then among the shipped ones; the first file of a name is the one that counts.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from mvdeploy import plugins
from mvdeploy.errors import UsageError
from mvdeploy.records import DeviceProfile
from mvdeploy.records.codec import RecordError, decode

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_PLUGIN = re.compile(r"[a-z][a-z0-9_]*")


def folders(extra: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Return the folders that are searched for profiles, in order; the user's may not exist.

    Args:
        extra: folders to search before the user's and the shipped one.
    """
    import platformdirs

    user = platformdirs.user_config_path("mvdeploy") / "devices"
    return (*extra, user, _shipped())


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
    found = _search(extra)
    claims = sorted({alias for known in found.good.values() for alias in known.claims})
    clashes = [error for alias in claims if (error := _clash(alias, found.claimants(alias)))]
    return (*found.broken.values(), *clashes)


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
    found = _search(extra)
    key = name.strip().casefold()
    if key in found.good:
        return found.good[key].profile
    for stem, error in found.broken.items():
        if stem.casefold() == key:
            raise error
    claimants = found.claimants(key)
    if clash := _clash(key, claimants):
        raise clash
    if not claimants:
        raise plugins.unknown("device", name, tuple(found.good))
    return claimants[0].profile


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
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
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
    except RecordError as error:
        raise UsageError(f"{path}: {error.message}", error.remedy) from error
    _check(path, profile)
    return profile


def _check(path: Path, profile: DeviceProfile) -> None:
    demands = (
        (
            "name",
            profile.name == path.stem and _NAME.fullmatch(profile.name),
            f"the file's name in small letters, digits and . _ - (it is '{path.stem}')",
        ),
        ("title", profile.title.strip(), "a name that people know the device by"),
        ("link", _PLUGIN.fullmatch(profile.link), "the name of a device link, as in 'host'"),
        (
            "engines",
            profile.engines and all(map(_PLUGIN.fullmatch, profile.engines)),
            "a list of at least one engine's name, as in ['onnxruntime']",
        ),
        ("aliases", all(alias.strip() for alias in profile.aliases), "a list of names"),
        ("threads", profile.threads >= 1, "a number of threads, 1 or more"),
    )
    for key, good, demand in demands:
        if not good:
            raise UsageError(
                f"{path}: '{key}' is {getattr(profile, key)!r}, which cannot be.",
                f"Give {demand}.",
            )
