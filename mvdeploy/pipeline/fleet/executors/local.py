"""Devices of this machine, each measured by a process of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from pathlib import Path

from mvdeploy.pipeline.fleet.child import PROGRAM, Child
from mvdeploy.pipeline.fleet.executors import Event
from mvdeploy.pipeline.fleet.tasks import Assignment
from mvdeploy.pipeline.fleet.turns import GivenUp, Turns
from mvdeploy.records.fleet import Unit

_END_S = 10.0


class LocalExecutor:
    """Has tasks done on this machine.

    Args:
        units: its devices.
        program: what a task is done by; see `mvdeploy.pipeline.fleet.child`.
    """

    def __init__(self, units: Sequence[Unit], program: Sequence[str] = PROGRAM) -> None:
        self._units, self._program = tuple(units), program
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._turns, self._children = Turns(), dict[str, Child]()
        self._threads: list[threading.Thread] = []
        self._lock, self._cancelled = threading.Lock(), threading.Event()

    def units(self) -> tuple[Unit, ...]:
        """Return the devices."""
        return self._units

    def start(self, job: Assignment, unit: Unit, root: Path) -> None:
        """Have a task done on a device."""
        thread = threading.Thread(target=self._do, args=(job, unit, root), daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()

    def next(self, timeout_s: float) -> Event | None:
        """Return what is to be told next; None if that is nothing for so long."""
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def cancel(self) -> None:
        """Interrupt all tasks."""
        self._cancelled.set()
        with self._lock:
            for child in self._children.values():
                child.interrupt()

    def close(self) -> None:
        """End what is left of the tasks."""
        if any(thread.is_alive() for thread in self._threads):
            self.cancel()
        for thread in self._threads:
            thread.join(_END_S)

    def _do(self, job: Assignment, unit: Unit, root: Path) -> None:
        key = job.task.key
        try:
            with self._turns.taken(unit.name, unit.alone, self._cancelled.is_set):
                self._have_done(key, job, unit, root)
        except GivenUp:
            self._events.put(Event(key, lost="it was interrupted before it began"))
        except OSError as error:
            self._events.put(Event(key, lost=f"no process can be started ({error.strerror})"))

    def _have_done(self, key: str, job: Assignment, unit: Unit, root: Path) -> None:
        shelf = job.request.shelf
        kept = None if shelf is None else (shelf.folder, shelf.size)
        with self._lock:
            if self._cancelled.is_set():
                raise GivenUp
            child = Child(job.task, unit, job.files, root, kept, self._program)
            self._children[key] = child
        try:
            for told in child.told():
                self._events.put(Event(key, told.step, told.run, told.error))
        finally:
            with self._lock:
                del self._children[key]
