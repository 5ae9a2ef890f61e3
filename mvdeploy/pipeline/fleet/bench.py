"""Several devices measured by one command, each a saved run, in a folder of their own.

::

    fleet.json        the FleetRun: what was asked, and which runs there are
    runs/<run>/       what was measured on one device, as 'mvdeploy bench' saves a run
    report.html, …    one page of them all

What asks for the same again, while something is missing, goes on in the same folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path

from mvdeploy import formats
from mvdeploy.errors import DeviceUnavailable, MvdeployError, UsageError
from mvdeploy.files import writing
from mvdeploy.links.lock import DeviceLock
from mvdeploy.pipeline import blocks
from mvdeploy.pipeline.bench import OnStep, Request, title_of
from mvdeploy.pipeline.export import Builder
from mvdeploy.pipeline.fleet.executors import Executor
from mvdeploy.pipeline.fleet.queue import Queue
from mvdeploy.pipeline.fleet.tasks import Assignment
from mvdeploy.pipeline.kept_exports import Content, Shelf
from mvdeploy.pipeline.prepare import Wanted
from mvdeploy.pipeline.report import FLEET, RUNS, load_fleet
from mvdeploy.records import ModelSpec
from mvdeploy.records.fleet import FleetRun, FleetTask
from mvdeploy.records.run import load_run


@dataclasses.dataclass(frozen=True)
class Planned:
    """What can begin.

    Attributes:
        jobs: that are still to be done.
        folder: of it all.
        saved: what is known of it.
    """

    jobs: tuple[Assignment, ...]
    folder: Path
    saved: FleetRun


def plan(jobs: Sequence[Assignment]) -> Planned:
    """Find what was done of some tasks before, and where to go on.

    Args:
        jobs: one for each device, of one call.

    Raises:
        UsageError: two of them are the same.
    """
    keys = [job.task.key for job in jobs]
    for number, (key, job) in enumerate(zip(keys, jobs, strict=True)):
        if key in keys[:number]:
            raise UsageError(
                f"{job.task.title} is named twice.",
                "Name each device once; --repeat-units measures each one that there is of a kind.",
            )
    request = jobs[0].request
    begun = FleetRun(
        title=title_of(request.subjects),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=request.command,
        tasks=tuple(FleetTask(job.task.key, job.task.title) for job in jobs),
    )

    def unfinished(folder: Path) -> FleetRun | None:
        found = load_fleet(folder)
        same = {task.key for task in found.tasks} == set(keys)
        return found if same and not found.complete else None

    folder, earlier = blocks.place_of(request.root / f"fleet-{begun.title}", FLEET, unfinished)
    saved = earlier or begun
    done = {task.key for task in saved.tasks if task.done}
    return Planned(tuple(job for job in jobs if job.task.key not in done), folder, saved)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        saved: what is known of it now.
        failed: the tasks that came to nothing, and why.
    """

    saved: FleetRun
    failed: tuple[tuple[str, MvdeployError], ...]


def run(
    planned: Planned,
    executor: Executor,
    on_step: OnStep = lambda _: None,
    wait_s: float = 0.0,
) -> Outcome:
    """Measure on all devices; a task that comes to nothing takes no other with it.

    Args:
        planned: see `plan`.
        executor: has the tasks done.
        on_step: is told what begins, and on which device.
        wait_s: how long a device that there is not is waited for.

    Raises:
        NotWritten: the disk is full; what was measured before is saved.
        DeviceUnavailable: another command works on the same, or what leads to the devices is gone;
            what was measured before is saved.
    """
    with _alone(planned.folder):
        blocks.save(planned.saved, planned.folder / FLEET)
        keeper = _Keeper(planned, on_step)
        try:
            jobs = exported(planned.jobs, on_step)
            Queue(jobs, executor, planned.folder / RUNS, keeper, wait_s).run()
        except KeyboardInterrupt as error:
            error.add_note(f"What was measured until then is saved in {planned.folder}.")
            raise
        except DeviceUnavailable as error:
            error.add("What was measured is saved; the same command measures what is missing.")
            raise
        finally:
            blocks.remove_unless_begun(planned.folder / FLEET)
    return Outcome(keeper.saved, tuple(keeper.failures))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep another command from going on in the same folder."""
    lock = DeviceLock(f"what is saved in {folder}")
    lock.take(f"fleet {folder.absolute()}")
    try:
        yield
    finally:
        lock.release()


class _Keeper:
    """Keeps what becomes of tasks."""

    def __init__(self, planned: Planned, on_step: OnStep) -> None:
        self.saved, self.failures = planned.saved, list[tuple[str, MvdeployError]]()
        self._folder, self._on_step = planned.folder, on_step

    def step(self, job: Assignment, text: str) -> None:
        """Tell what begins."""
        self._on_step(f"{job.task.title}: {text}")

    def done(self, job: Assignment, run: str) -> None:
        """Keep a run; one whose device was lost is to be done again, and shown until then."""
        gone = DeviceUnavailable.exit_code
        cases = load_run(self._folder / RUNS / run).cases
        done = not any(case.failure and case.failure.exit_code == gone for case in cases)
        self.saved = dataclasses.replace(
            self.saved,
            tasks=tuple(
                dataclasses.replace(task, run=run, done=done) if task.key == job.task.key else task
                for task in self.saved.tasks
            ),
        )
        blocks.save(self.saved, self._folder / FLEET)

    def failed(self, job: Assignment, error: MvdeployError) -> None:
        """Keep why a task came to nothing."""
        self.failures.append((job.task.title, error))
        self._on_step(f"{job.task.title}: {error.message}")


def exported(jobs: Sequence[Assignment], on_step: OnStep) -> list[Assignment]:
    """Make the exports, each once for all devices, before any is measured.

    One that fails is told of by the runs that need it.
    """
    known: dict[object, tuple[str, ...]] = {}
    exported = []
    for job in jobs:
        keys: list[str] = []
        for wanted in job.request.wanted:
            if isinstance(wanted.source, ModelSpec) and job.request.shelf is not None:
                what = (wanted.source, wanted.case.format, wanted.options)
                if what not in known:
                    known[what] = _export(job.request, job.request.shelf, wanted, on_step)
                keys += known[what]
        exported.append(dataclasses.replace(job, exports=tuple(dict.fromkeys(keys))))
    return exported


def _export(request: Request, shelf: Shelf, wanted: Wanted, on_step: OnStep) -> tuple[str, ...]:
    """Export a network onto a shelf, if that may hold anything; return what it is kept under."""
    if not shelf.size or not isinstance(wanted.source, ModelSpec):
        return ()
    noting = _Noting(shelf)
    told = (request.photograph, on_step, request.left_out, request.wish, noting)
    with contextlib.suppress(MvdeployError), writing.temporary() as place:
        path = place / f"export{formats.suffix(wanted.case.format)}"
        Builder(wanted.source, *told).export(wanted.case.format, path, wanted.options)
    return tuple(noting.keys)


class _Noting(Shelf):
    """Notes what is taken from a shelf, or looked for there before it is made."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf.folder, shelf.size)
        self.keys: list[str] = []

    @contextlib.contextmanager
    def taken(self, key: str) -> Iterator[Content | None]:
        """Give what is kept under a key."""
        self.keys.append(key)
        with super().taken(key) as content:
            yield content
