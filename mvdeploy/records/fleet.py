"""`Task`, `Unit` and `FleetRun`: what is done on which of many devices, and what came of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from mvdeploy.records import codec
from mvdeploy.records.device import DeviceProfile
from mvdeploy.records.limits import Filled, FolderName


@dataclasses.dataclass(frozen=True)
class _Sha256:
    """A sha256 in hexadecimal."""

    def problem(self, value: str) -> str:
        """Say what the text should be; empty when it is that."""
        return "" if re.fullmatch("[0-9a-f]{64}", value) else "a sha256"


Sha256 = Annotated[str, _Sha256()]
Text = Annotated[str, Filled()]


@dataclasses.dataclass(frozen=True)
class Task:
    """A piece of work for one device: all that is measured there in one run.

    Nothing in it depends on where it was asked for, but the path of a network's own weights or
    code, with which it can be done on the same machine only.

    Attributes:
        kind: ``bench``: a `mvdeploy.pipeline.fleet.tasks.Asked` is measured.
        device: name of the profile that the device has to have.
        unit: the one device that it is for: a serial number, or the name of a machine; empty for
            any with the profile.
        asked: what is measured, as plain JSON.
        files: sha256 of the files that it takes, by the names that `asked` has for them.
        mvdeploy: version.
        schema: version of the records.
    """

    kind: Literal["bench"]
    device: Text
    unit: str
    asked: dict[str, Any]
    files: dict[FolderName, Sha256]
    mvdeploy: Text
    schema: int = codec.SCHEMA_VERSION

    @property
    def key(self) -> str:
        """The sha256 of its canonical JSON: the same work has the same, wherever it is asked."""
        plain = json.dumps(codec.encode(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(plain.encode()).hexdigest()

    @property
    def title(self) -> str:
        """What messages call it: the device that it is for."""
        return f"{self.device} ({self.unit})" if self.unit else self.device


@dataclasses.dataclass(frozen=True)
class Unit:
    """One physical device that can be measured on.

    Attributes:
        profile: of it, with its address.
        name: tells it from others of its kind: its serial number or address; of a host, its name.
        machine: that it is attached to.
        place: how an executor finds that machine.
        alone: nothing else may happen on the machine while it is measured.
    """

    profile: DeviceProfile
    name: Text
    machine: Text
    place: str = ""
    alone: bool = False

    def fits(self, task: Task) -> bool:
        """Say whether a task may be done on it."""
        names = (self.profile.name, *self.profile.aliases, self.name)
        return task.device in names and task.unit in ("", self.name)


@dataclasses.dataclass(frozen=True)
class FleetTask:
    """A task of a fleet's run.

    Attributes:
        key: see `Task.key`.
        title: see `Task.title`.
        run: name of its run's folder; empty while there is none.
        done: whether it need not be done again.
    """

    key: Sha256
    title: str
    run: FolderName | Literal[""] = ""
    done: bool = False


@dataclasses.dataclass(frozen=True)
class FleetRun:
    """One call of ``mvdeploy bench`` for several devices.

    Attributes:
        title: what was measured.
        created: ISO 8601, UTC.
        command: the command line.
        tasks: one for each device, in the order that they were asked for.
    """

    title: FolderName
    created: str
    command: tuple[str, ...]
    tasks: tuple[FleetTask, ...]

    @property
    def runs(self) -> tuple[FolderName, ...]:
        """Folders of the runs that there are, in the order of the tasks."""
        return tuple(task.run for task in self.tasks if task.run)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return all(task.done for task in self.tasks)

    def faults(self) -> Iterator[str]:
        """Give what is wrong with it."""
        keys = codec.repeated([task.key for task in self.tasks])
        yield from (f"has the task {key[:12]} twice" for key in sorted(keys))
        if not self.tasks:
            yield "has no task"
