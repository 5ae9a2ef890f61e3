"""Where tasks are done: on this machine (`local`), or on many (`cluster`).

An executor has one task done on one device, and tells how it goes. Which task is next, what is done
again and what is kept is not its business.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol

from mvdeploy.errors import MvdeployError
from mvdeploy.pipeline.fleet.tasks import Assignment
from mvdeploy.records.fleet import Unit


@dataclasses.dataclass(frozen=True)
class Event:
    """What became of a task, or how it goes on.

    Attributes:
        key: of the task.
        step: what begins, if it goes on.
        run: name of the folder with its run, if it is done; the folder is there.
        error: why it came to nothing.
        lost: why its machine will not end it; it may be done again elsewhere.
    """

    key: str
    step: str = ""
    run: str = ""
    error: MvdeployError | None = None
    lost: str = ""

    @property
    def last(self) -> bool:
        """Whether nothing more is told of the task."""
        return not self.step


class Executor(Protocol):
    """Has tasks done."""

    def units(self) -> tuple[Unit, ...]:
        """Return the devices that there are now, busy or not.

        Raises:
            DeviceUnavailable: what leads to them is gone.
        """

    def start(self, job: Assignment, unit: Unit, root: Path) -> None:
        """Have a task done on a device that this executor has no other task for.

        Args:
            job: the task.
            unit: the device.
            root: where the run gets its folder.

        Raises:
            UsageError: it cannot be done there.
        """

    def next(self, timeout_s: float) -> Event | None:
        """Return what is to be told next; None if that is nothing for so long.

        Raises:
            DeviceUnavailable: what leads to the devices is gone.
        """

    def cancel(self) -> None:
        """Interrupt all tasks; what is told of them then still comes by `next`."""

    def close(self) -> None:
        """End what is left of them, and let go of what was opened."""
