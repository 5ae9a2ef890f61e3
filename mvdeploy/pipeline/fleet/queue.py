"""Which task is done on which device, and when; and what becomes of those that cannot be done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from mvdeploy.errors import DeviceUnavailable, MvdeployError
from mvdeploy.pipeline.fleet.executors import Executor
from mvdeploy.pipeline.fleet.tasks import Assignment
from mvdeploy.records.fleet import Unit
from mvdeploy.text_format import count, join

_AGAIN = 1
"""How often a task is done again whose machine was lost."""

_POLL_S = 0.5
_INTERRUPT_S = 60.0
"""How long interrupted tasks may take to end."""


class Listener(Protocol):
    """Is told what becomes of tasks."""

    def step(self, job: Assignment, text: str) -> None:
        """Take note of what begins."""

    def done(self, job: Assignment, run: str) -> None:
        """Keep the run of a task."""

    def failed(self, job: Assignment, error: MvdeployError) -> None:
        """Keep why a task came to nothing."""


class Queue:
    """Has tasks done, as many at once as there are devices for them.

    Args:
        jobs: the tasks, in the order in which they are started where they can be.
        executor: has them done.
        root: where runs get their folders.
        listener: is told what becomes of them.
        wait_s: how long a device that there is not is waited for.
        clock: seconds.
    """

    def __init__(
        self,
        jobs: Sequence[Assignment],
        executor: Executor,
        root: Path,
        listener: Listener,
        wait_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waiting = list(jobs)
        self._executor, self._root, self._listener = executor, root, listener
        self._wait_s, self._clock = wait_s, clock
        self._running: dict[str, tuple[Assignment, Unit]] = {}
        self._lost: dict[str, int] = {}
        self._absent: dict[str, float] = {}

    def run(self) -> None:
        """Go on until nothing is left to do.

        Raises:
            DeviceUnavailable: what leads to the devices is gone.
            KeyboardInterrupt: tasks were interrupted first, and what they told was listened to.
        """
        try:
            while self._waiting or self._running:
                self._start(self._executor.units())
                self._listen(_POLL_S)
        except KeyboardInterrupt:
            self._interrupt()
            raise

    def _start(self, units: Sequence[Unit]) -> None:
        busy = {(unit.place, unit.name) for _, unit in self._running.values()}
        for job in list(self._waiting):
            fitting = [unit for unit in units if unit.fits(job.task)]
            if not fitting:
                self._miss(job, units)
                continue
            self._absent.pop(job.task.key, None)
            free = next((unit for unit in fitting if (unit.place, unit.name) not in busy), None)
            if free is None:
                continue
            self._waiting.remove(job)
            busy.add((free.place, free.name))
            try:
                self._executor.start(job, free, self._root)
            except MvdeployError as error:
                self._listener.failed(job, error)
            else:
                self._running[job.task.key] = job, free

    def _miss(self, job: Assignment, units: Sequence[Unit]) -> None:
        """Give a task up that there has been no device for too long."""
        since = self._absent.setdefault(job.task.key, self._clock())
        waited = self._clock() - since
        if waited < self._wait_s:
            return
        self._waiting.remove(job)
        there = sorted({f"{unit.profile.name} ({unit.name})" for unit in units})
        present = f"There {'is' if len(there) == 1 else 'are'} {join(there)}." if there else ""
        self._listener.failed(
            job,
            DeviceUnavailable(
                f"There is no {job.task.title} to measure on. {present or 'No device is there.'}",
                "Attach it, and give the same command again: it measures what is missing.",
            ),
        )

    def _listen(self, timeout_s: float) -> None:
        event = self._executor.next(timeout_s)
        if event is None or event.key not in self._running:
            return
        job, unit = self._running[event.key]
        if not event.last:
            self._listener.step(job, event.step)
            return
        del self._running[event.key]
        if event.run:
            self._listener.done(job, event.run)
        elif event.error is not None:
            self._listener.failed(job, event.error)
        else:
            self._again(job, unit, event.lost)

    def _again(self, job: Assignment, unit: Unit, why: str) -> None:
        times = self._lost[job.task.key] = self._lost.get(job.task.key, 0) + 1
        if times <= _AGAIN:
            self._listener.step(job, f"{unit.machine} is lost ({why}); begin again")
            self._waiting.append(job)
            return
        self._listener.failed(
            job,
            DeviceUnavailable(
                f"{job.task.title} was lost {count(times, 'time')}, the last time by "
                f"{unit.machine} ({why}).",
                "Look at that machine, and give the same command again.",
            ),
        )

    def _interrupt(self) -> None:
        self._waiting.clear()
        self._executor.cancel()
        end = self._clock() + _INTERRUPT_S
        self._lost = dict.fromkeys(self._running, _AGAIN)
        while self._running and self._clock() < end:
            self._listen(_POLL_S)
