"""Exports that were verified are kept: the same one is not made and verified a second time.

What is kept lies in a folder for each export, which is called after all that it was made of (see
`mvdeploy.pipeline.identity`): the file with its manifest, what its comparison with the network came
to, and what the network returns for the image that is measured on. It is checked whenever it is
taken. Nothing that goes wrong here fails an export: it is made then, as without any of this.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mvdeploy import files, formats
from mvdeploy.errors import MvdeployError, UsageError, reason
from mvdeploy.files import writing
from mvdeploy.records import Artifact, Parity, codec
from mvdeploy.records.limits import Range

if TYPE_CHECKING:
    from mvdeploy.verify.known_reference import KnownReference

FOLDER = "MVDEPLOY_CACHE"
"""Environment: where exports are kept."""

SIZE = "MVDEPLOY_CACHE_SIZE"
"""Environment: how much may be kept."""

USUAL_SIZE = "2GB"

_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_ENTRY, _PARITY, _REFERENCE = "entry.json", "parity.json", "reference.npz"
_TWIN = "twin"
_WAIT_S = 20.0
_KEY = re.compile("[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class KeptExport:
    """An export that is kept, as its record says.

    Attributes:
        label: of the network.
        format: of the file.
        precision: of the file.
        program: what exported it, see `mvdeploy.pipeline.identity.program`.
        made: when, seconds since 1970.
        files: what lies in its folder beside this record, with its sha256; the exported file first.
    """

    label: str
    format: str
    precision: str
    program: str
    made: Annotated[float, Range(0)]
    files: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Content:
    """What is kept of an export.

    Attributes:
        path: of the file.
        artifact: its manifest.
        parity: the check that it passed; None when nothing of this machine can run the file.
        reference: what its network returns for the image that is measured on; None likewise.
        twin: the same program with a tensor as its input; None where it has none.
    """

    path: Path
    artifact: Artifact
    parity: Parity | None
    reference: KnownReference | None
    twin: Content | None = None


class Damaged(Exception):
    """What is kept is not as it was."""


def read_size(text: str) -> int:
    """Read a number of bytes, such as ``2GB`` or ``500M``.

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) ?([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f"'{text}' is no size.", "Give it as in 500MB or 2GB; 0 keeps nothing.")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def usual_folder() -> Path:
    """Return where exports are kept where nothing else is said."""
    own = os.environ.get(FOLDER)
    return Path(own).absolute() if own else files.user_folder("cache") / "exports"


def usual(size: int | None = None) -> Shelf | None:
    """Return where exports are kept; None where no folder is the user's own: nothing is kept then.

    Args:
        size: bytes at most; None for what the environment says.

    Raises:
        UsageError: the environment says no size.
    """
    with contextlib.suppress(OSError):
        return Shelf(size=size)
    return None


class Shelf:
    """Where exports are kept.

    Args:
        folder: it need not be there.
        size: bytes at most; None for what the environment says.

    Raises:
        UsageError: the environment says no size.
        PermissionError: no home folder is known, and what stands in for it is another user's.
    """

    def __init__(self, folder: Path | None = None, size: int | None = None) -> None:
        self.folder = folder or usual_folder()
        given = os.environ.get(SIZE) or USUAL_SIZE
        self.size = read_size(given) if size is None else size

    @contextlib.contextmanager
    def taken(self, key: str) -> Iterator[Content | None]:
        """Give what is kept under a key, checked; it stays there until the end. None for nothing.

        Raises:
            Damaged: it is not as it was.
        """
        place = self.folder / key
        if not place.is_dir():
            yield None
            return
        with self._locked():
            # Another process may just have removed it.
            content = _read(place) if place.is_dir() else None
            with contextlib.suppress(OSError):  # a folder that cannot be written to
                os.utime(place)
            yield content

    def keep(self, key: str, content: Content, program: str) -> None:
        """Keep an export; those that were not taken for longest make room for it.

        Raises:
            OSError, NotWritten: it cannot be.
        """
        if files.size(content.path) > self.size:
            return
        with writing.folder(self.folder, ".kept") as stage, self._locked(alone=True):
            part = stage / key
            _write(part, content, program)
            self._shrink(self.size - files.size(part), key, stage)
            files.move(part, self.folder / key, stage / ".replaced")

    def entries(self) -> list[tuple[str, KeptExport | None, int, float]]:
        """List what is kept: key, record (None where it is damaged), bytes, and when it was taken.

        What was taken last comes first.
        """
        found = []
        for place in self._places():
            with contextlib.suppress(FileNotFoundError):  # another process removes it
                size, taken = files.size(place), place.stat().st_mtime
                found.append((place.name, _record(place), size, taken))
        return sorted(found, key=lambda entry: -entry[3])

    def clear(self) -> tuple[int, int]:
        """Remove everything that is kept; return how many exports that were, and their bytes.

        Raises:
            NotWritten: something cannot be removed.
        """
        count = size = 0
        with writing.worded(self.folder, "Remove the folder yourself."):
            if not self.folder.is_dir():
                return 0, 0
            with writing.folder(self.folder, ".kept") as aside, self._locked(alone=True):
                for place in self._places():
                    size += files.size(place)
                    count += 1
                    place.replace(aside / place.name)
        return count, size

    def reference(self, artifact: Artifact, program: str) -> KnownReference | None:
        """Return what the network of a file returns, if the same programs exported the file."""
        for place in self._places():
            record = _record(place)
            if record is None or record.program != program:
                continue
            if next(iter(record.files.values())) == artifact.sha256:
                with contextlib.suppress(Damaged, OSError):
                    return _read(place).reference
        return None

    def _places(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [place for place in self.folder.iterdir() if _KEY.fullmatch(place.name)]

    def _shrink(self, room: int, besides: str, aside: Path) -> None:
        """Put what was not taken for longest aside, to be removed, until the rest fits."""
        total = 0
        for key, record, size, _ in self.entries():
            if key == besides:
                continue
            total += size
            if total > room or record is None:
                (self.folder / key).replace(aside / f"{key}.removed")

    @contextlib.contextmanager
    def _locked(self, *, alone: bool = False) -> Iterator[None]:
        """Keep other processes from changing what is kept, or from reading it as well.

        Raises:
            TimeoutError: another process does not end with it.
        """
        import fcntl

        kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            end = time.monotonic() + _WAIT_S
            while True:
                try:
                    fcntl.flock(handle, kind | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > end:
                        raise TimeoutError("another process has it") from error
                    time.sleep(0.05)
            yield
        finally:
            os.close(handle)


def _load(place: Path) -> KeptExport:
    """Read the record of what lies in a folder.

    Raises:
        UsageError: it is damaged, or names no file, or one that lies elsewhere.
    """
    record = codec.load(KeptExport, place / _ENTRY)
    if not record.files or not all(map(_in_its_folder, record.files)):
        raise UsageError(f"{_ENTRY} names no files of its folder.", "Remove the folder.")
    return record


def _in_its_folder(name: str) -> bool:
    return name == Path(name).name and name not in ("", "..")


def _record(place: Path) -> KeptExport | None:
    try:
        return _load(place)
    except UsageError:
        return None


def _read(place: Path) -> Content:
    """Read and check what lies in a folder.

    Raises:
        Damaged: it is not as it was.
    """
    try:
        record = _load(place)
        for name, sha256 in record.files.items():
            if files.sha256(place / name) != sha256:
                raise Damaged(f"{name} has another sha256")
        names = list(record.files)
        twin = _content(place / _TWIN, names[0]) if _TWIN in names else None
        return dataclasses.replace(_content(place, names[0]), twin=twin)
    except MvdeployError as error:
        raise Damaged(error.message.rstrip(".")) from error
    except (OSError, ValueError, KeyError) as error:
        raise Damaged(reason(error)) from error


def _content(place: Path, name: str) -> Content:
    """Return what a folder holds of one file, whose sha256 is right."""
    from mvdeploy.verify.known_reference import KnownReference

    parity, reference = place / _PARITY, place / _REFERENCE
    return Content(
        path=place / name,
        artifact=formats.manifest(place / name),
        parity=codec.load(Parity, parity) if parity.exists() else None,
        reference=KnownReference.load(reference) if reference.exists() else None,
    )


def _write(place: Path, content: Content, program: str) -> None:
    """Write what is kept into a new folder."""
    artifact = content.artifact
    _fill(place, content, content.path.suffix)
    if content.twin is not None:
        _fill(place / _TWIN, content.twin, content.path.suffix)
    first = f"export{content.path.suffix}"
    named = sorted(path.name for path in place.iterdir() if path.name != first)
    record = KeptExport(
        label=artifact.spec.label,
        format=artifact.format,
        precision=artifact.precision,
        program=program,
        made=time.time(),
        files={name: files.sha256(place / name) for name in (first, *named)},
    )
    codec.save(record, place / _ENTRY)


def _fill(place: Path, content: Content, suffix: str) -> None:
    place.mkdir()
    path = place / f"export{suffix}"
    copy(content.path, path)
    formats.save_manifest(dataclasses.replace(content.artifact, path=path.name), path)
    if content.parity is not None:
        codec.save(content.parity, place / _PARITY)
    if content.reference is not None:
        content.reference.save(place / _REFERENCE)


def copy(path: Path, target: Path) -> None:
    """Copy a file or a folder that counts as one."""
    if path.is_dir():
        shutil.copytree(path, target)
    else:
        shutil.copyfile(path, target)
