"""The blocks of a study or a sweep on several devices of one kind.

All cases of a block are measured on one device, with the reference among them, which brings blocks
of several devices to one level.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from mvdeploy.errors import DeviceUnavailable, MvdeployError
from mvdeploy.pipeline.bench import OnStep, Request
from mvdeploy.pipeline.fleet import tasks
from mvdeploy.pipeline.fleet.bench import exported
from mvdeploy.pipeline.fleet.executors import Executor
from mvdeploy.pipeline.fleet.queue import Queue
from mvdeploy.pipeline.fleet.tasks import Assignment
from mvdeploy.records.run import load_run

_GOES_ON = "The same command goes on from here."


def run(
    requests: Mapping[str, Request],
    keep: Callable[[str], None],
    on_step: OnStep,
    *,
    executor: Executor,
    wait_s: float = 0.0,
) -> None:
    """Measure blocks, as many at once as there are devices; see `mvdeploy.pipeline.blocks.here`.

    Args:
        requests: what is measured in each, by what is announced of it; all have one root.
        keep: is told the name of each run that is complete.
        on_step: is told what begins.
        executor: has the blocks measured.
        wait_s: how long a device that there is not is waited for.

    Raises:
        MvdeployError: a block came to nothing; what was measured of others is saved.
    """
    if not requests:
        return
    names = {}
    jobs = []
    for number, (name, request) in enumerate(requests.items(), 1):
        job = tasks.job(request)
        names[job.task.key] = f"block {number} of {len(requests)}"
        on_step(f"block {number} of {len(requests)}: {name}")
        jobs.append(job)
    root = next(iter(requests.values())).root
    keeper = _Keeper(names, keep, on_step, lambda name: _gone(root / name))
    Queue(exported(jobs, on_step), executor, root, keeper, wait_s).run()
    if keeper.failures:
        keeper.failures[0].add(_GOES_ON)
        raise keeper.failures[0]


def _gone(folder: Path) -> DeviceUnavailable | None:
    """Return why a device was lost in a run, if it was."""
    for case in load_run(folder).cases:
        if case.failure and case.failure.exit_code == DeviceUnavailable.exit_code:
            return DeviceUnavailable(case.failure.message, case.failure.remedy)
    return None


@dataclasses.dataclass
class _Keeper:
    """Keeps what becomes of blocks."""

    names: Mapping[str, str]
    keep: Callable[[str], None]
    on_step: OnStep
    gone: Callable[[str], DeviceUnavailable | None]
    failures: list[MvdeployError] = dataclasses.field(default_factory=list)

    def step(self, job: Assignment, text: str) -> None:
        """Tell what begins."""
        self.on_step(f"{self.names[job.task.key]}: {text}")

    def done(self, job: Assignment, run: str) -> None:
        """Keep a run."""
        self.keep(run)
        if gone := self.gone(run):
            self.failed(job, gone)

    def failed(self, job: Assignment, error: MvdeployError) -> None:
        """Keep why a block came to nothing."""
        self.failures.append(error)
        self.step(job, error.message)
