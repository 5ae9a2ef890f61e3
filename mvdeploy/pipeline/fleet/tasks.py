"""What is to be measured, as plain JSON and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import mvdeploy
from mvdeploy import files, models
from mvdeploy.errors import UsageError
from mvdeploy.pipeline import calibration
from mvdeploy.pipeline.bench import Request
from mvdeploy.pipeline.kept_exports import Shelf
from mvdeploy.records import DeviceProfile, FileInputs, ModelSpec, Plan, codec
from mvdeploy.records.fleet import Task, Unit
from mvdeploy.records.limits import Filled, FolderName


@dataclasses.dataclass(frozen=True)
class SentFile:
    """A file that goes with a task.

    Attributes:
        name: that the task has for it.
        file: its own name, which its case is called after.
    """

    name: FolderName
    file: Annotated[str, Filled()]


@dataclasses.dataclass(frozen=True)
class Asked:
    """A `Request` without what belongs to the place where it is measured.

    Attributes:
        subjects: networks, and files that go with it.
        device: as it is known to who asks; that of the unit takes its place.
        plan: as in `Request`, as are all others but these.
        photograph: a file that goes with it; None for the one that is always there.
        images: that scales of whole numbers are taken from: how many, or a folder.
    """

    subjects: tuple[ModelSpec | SentFile, ...]
    device: DeviceProfile
    plan: Plan
    formats: tuple[str, ...]
    precisions: tuple[str | None, ...]
    engines: tuple[str, ...]
    force: bool
    engine_options: dict[str, str]
    link_options: dict[str, str]
    said: FileInputs | None
    network: ModelSpec | None
    left_out: tuple[str, ...]
    images: int | str
    method: str
    percentile: float
    keep_float: tuple[str, ...]
    portable: bool
    photograph: SentFile | None = None


_SAME: tuple[str, ...] = ("plan", "formats", "precisions", "engines", "force", "said", "network")
_SAME += ("left_out", "keep_float", "portable")
"""Fields that a `Request` and an `Asked` have in common as they are."""


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A task, and what is needed here to have it done.

    Attributes:
        task: plain JSON.
        request: that it was made of.
        files: where those that go with it are, by name.
        exports: keys of its exports on the shelf of the request.
        bound: what no other machine has of it, in words.
    """

    task: Task
    request: Request
    files: Mapping[str, Path]
    exports: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()


def job(request: Request, unit: str = "") -> Assignment:
    """Return the task that a request is.

    Args:
        request: what is to be measured.
        unit: the one device that it is for; empty for any with its profile.

    Raises:
        UsageError: a network is held by this program and by no file, or a file cannot be read.
    """
    if held := next((spec for spec in request.specs if models.is_held(spec)), None):
        raise UsageError(
            f"{held.label} is a network that this program holds, and processes of their own "
            "measure several devices.",
            "Export it first with mvdeploy.export, and measure the file.",
        )
    places: dict[str, Path] = {}

    def sent(path: Path) -> SentFile:
        for name, known in places.items():
            if known == path:
                return SentFile(name, path.name)
        name = f"file{len(places) + 1}"
        places[name] = path
        return SentFile(name, path.name)

    subjects = tuple(sent(s) if isinstance(s, Path) else s for s in request.subjects)
    wish = request.wish
    asked = Asked(
        subjects=subjects,
        device=dataclasses.replace(request.device, address=""),
        engine_options=dict(request.engine_options),
        link_options=dict(request.link_options),
        images=wish.images if isinstance(wish.images, int) else str(wish.images.absolute()),
        method=wish.method,
        percentile=wish.percentile,
        photograph=sent(request.photograph) if request.photograph is not None else None,
        **{name: getattr(request, name) for name in _SAME},
    )
    known = dict(request.files)
    sums = {
        name: known[path].sha256 if path in known else _sha256(path)
        for name, path in places.items()
    }
    task = Task(
        kind="bench",
        device=request.device.name,
        unit=unit or request.device.address,
        asked=codec.encode(asked),
        files=sums,
        mvdeploy=mvdeploy.__version__,
    )
    return Assignment(task, request, places, bound=tuple(_bound(request)))


def _sha256(path: Path) -> str:
    try:
        return files.sha256(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}).", "Give a file that can be."
        ) from error


def request(
    task: Task, unit: Unit, places: Mapping[str, Path], root: Path, shelf: Shelf | None
) -> Request:
    """Return what a task asks to be measured on a unit.

    Args:
        task: the task.
        unit: the device.
        places: where the files that go with the task are, by name.
        root: where the run gets its folder.
        shelf: where exports are kept; None for nowhere.

    Raises:
        RecordError: the task was made by another mvdeploy.
    """
    asked = codec.decode(Asked, task.asked)
    images = asked.images if isinstance(asked.images, int) else Path(asked.images)
    return Request(
        subjects=tuple(places[s.name] if isinstance(s, SentFile) else s for s in asked.subjects),
        device=unit.profile,
        root=root,
        photograph=places[asked.photograph.name] if asked.photograph is not None else None,
        engine_options=asked.engine_options,
        link_options=asked.link_options,
        wish=calibration.Wish(images, asked.method, asked.percentile),
        shelf=shelf,
        **{name: getattr(asked, name) for name in _SAME},
    )


def _bound(request: Request) -> Iterator[str]:
    """Give what another machine does not have of a request, each as words."""
    networks = (*request.specs, *([request.network] if request.network is not None else []))
    yield from (spec.label for spec in networks if [*models.paths(spec)])
    if isinstance(request.wish.images, Path):
        yield f"the folder {request.wish.images}"
