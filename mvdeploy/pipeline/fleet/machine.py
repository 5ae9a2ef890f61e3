"""A machine of a cluster: its devices, what was sent to it, and the tasks that it does.

Nothing here knows how a cluster talks.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mvdeploy import devices, files, links
from mvdeploy.errors import DeviceUnavailable, MvdeployError
from mvdeploy.files import writing
from mvdeploy.links import registry
from mvdeploy.pipeline.fleet import parcels
from mvdeploy.pipeline.fleet.child import PROGRAM, Child
from mvdeploy.pipeline.fleet.executors import here
from mvdeploy.pipeline.fleet.turns import Turns
from mvdeploy.pipeline.kept_exports import Shelf, usual
from mvdeploy.records import codec
from mvdeploy.records.fleet import Task, Unit

_POLL_S = 0.5
_END_S = 20.0

Find = Callable[[], Sequence[Unit]]


def finder(names: Sequence[str], extra: Sequence[Path], options: Mapping[str, str]) -> Find:
    """Return what finds the devices that a machine offers.

    Args:
        names: of those that are offered; empty for this machine and all that is attached.
        extra: folders of profiles.
        options: of links.

    Raises:
        UsageError: a name is of no device.
    """
    fixed: list[Unit] = []
    kinds: list[str] = []
    for name in names:
        try:
            profile = links.profile(name, extra, options)
        except DeviceUnavailable:
            kinds.append(name)
            continue
        if hasattr(registry.family(profile.link), "attached"):
            kinds.append(profile.address or profile.name)
        elif profile.link == "host":
            fixed.append(here.host(profile))
        else:
            fixed.append(here.units_of([profile], options)[0])
    if not names:
        fixed.append(here.host(devices.get("host", extra)))

    def find() -> Sequence[Unit]:
        try:
            attached = here.attached(options, extra) if kinds or not names else []
        except MvdeployError:
            attached = []
        wanted = [u for u in attached if not names or {u.name, u.profile.name} & {*kinds}]
        return [_named(unit) for unit in (*fixed, *wanted)]

    return find


def _named(unit: Unit) -> Unit:
    """Return a unit; a host is called by its name where there are several machines."""
    if unit.profile.link != "host":
        return unit
    return dataclasses.replace(unit, profile=dataclasses.replace(unit.profile, title=unit.machine))


class Machine:
    """Does tasks on its devices.

    Args:
        find: finds the devices.
        options: of links, which a task's own go before.
        folder: where what is sent is kept; None for the usual.
        program: what a task is done by; see `mvdeploy.pipeline.fleet.child`.
        every_s: how often devices are looked for.
    """

    def __init__(
        self,
        find: Find,
        options: Mapping[str, str],
        folder: Path | None = None,
        program: Sequence[str] = PROGRAM,
        every_s: float = 5.0,
    ) -> None:
        self._find, self._options, self._program = find, dict(options), program
        self.folder = folder or files.user_folder("cache") / "fleet"
        self._shelf: Shelf | None = usual()
        self._turns, self._every_s = Turns(), every_s
        self._closing = threading.Event()
        self.units: tuple[Unit, ...] = tuple(find())
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._closing.wait(self._every_s):
            self.units = tuple(self._find())

    def lacking(self, sent: Sequence[str], exports: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return which of some parcels, by sha256, and of some exports, by key, are not here."""
        shelf = self._shelf
        return (
            [sha256 for sha256 in sent if not (self.folder / sha256).is_dir()],
            [] if shelf is None else [key for key in exports if not (shelf.folder / key).is_dir()],
        )

    def take(self, sent: Mapping[str, bytes], exports: Mapping[str, bytes]) -> None:
        """Keep parcels, by their sha256, and exports, by their keys.

        Raises:
            UsageError: one is not what it is said to be.
            NotWritten: the disk is full.
        """
        for sha256, parcel in sent.items():
            parcels.demand(parcel, sha256)
            parcels.unpack(parcel, self.folder / sha256)
        for key, parcel in exports.items():
            if self._shelf is not None:
                # Whether it is whole is looked at whenever it is taken.
                parcels.unpack(parcel, self._shelf.folder / key)

    def work(
        self, order: Mapping[str, Any], tell: Callable[[str], None], given_up: Callable[[], bool]
    ) -> dict[str, Any]:
        """Do a task; return its run as a parcel, or the error.

        Args:
            order: see `mvdeploy.pipeline.fleet.executors.cluster`.
            tell: is told of every step.
            given_up: says that nobody waits for it any more.

        Raises:
            GivenUp: before it began.
        """
        task, unit = codec.decode(Task, order["task"]), codec.decode(Unit, order["unit"])
        if self._options:
            own = {**self._options, **task.asked.get("link_options", {})}
            task = dataclasses.replace(task, asked={**task.asked, "link_options": own})

        def ended() -> bool:
            return self._closing.is_set() or given_up()

        try:
            with self._turns.taken(unit.name, unit.alone, ended), writing.temporary() as root:
                return self._measured(task, unit, order["places"], root, tell, ended)
        except MvdeployError as error:
            return {"error": [error.message, error.remedy, error.exit_code]}

    def _measured(
        self,
        task: Task,
        unit: Unit,
        sent: Mapping[str, Sequence[str]],
        root: Path,
        tell: Callable[[str], None],
        ended: Callable[[], bool],
    ) -> dict[str, Any]:
        places = {name: self.folder / sha256 / file for name, (sha256, file) in sent.items()}
        shelf = None if self._shelf is None else (self._shelf.folder, self._shelf.size)
        child = Child(task, unit, places, root, shelf, self._program)
        over = threading.Event()
        watch = threading.Thread(target=_watch, args=(child, over, ended), daemon=True)
        watch.start()
        try:
            for told in child.told():
                if told.step:
                    tell(told.step)
                elif told.error is not None:
                    error = told.error
                    return {"error": [error.message, error.remedy, error.exit_code]}
                else:
                    return {"run": told.run, "parcel": parcels.pack(root / told.run)}
        finally:
            over.set()
            watch.join()
        raise AssertionError  # the last that is told is a run or an error

    def close(self) -> None:
        """Interrupt all tasks."""
        self._closing.set()


def _watch(child: Child, over: threading.Event, ended: Callable[[], bool]) -> None:
    """Interrupt a task that nobody waits for; end it if that takes too long."""
    while not over.wait(_POLL_S):
        if ended():
            child.interrupt()
            if not over.wait(_END_S):
                child.interrupt()
            return
