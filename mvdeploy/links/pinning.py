"""Cores to run on where a device refuses those that its profile names.

A phone switches cores off, and makers keep some for others: a runner that asks for them is refused.
What somebody asked for with ``--cores`` stays refused; the default of a profile gives way to the
next cores there are, which is told.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterator

from mvdeploy.links import RunnerFailed
from mvdeploy.records import DeviceProfile, Job, JobResult

KIND = "cores"
"""Kind of the error that a runner ends with which cannot be bound to the cores of a job."""

Cores = tuple[int, ...]


class Pinning:
    """Remembers which cores stand in for those of a profile.

    Args:
        profile: of the device.
        allowed: returns the numbers of the cores that a runner may use there.
        told: is told of the cores that were refused, and of those that are used.
    """

    def __init__(
        self,
        profile: DeviceProfile,
        allowed: Callable[[], Collection[int]],
        told: Callable[[Cores, Cores], None],
    ) -> None:
        self._profile = profile
        self._allowed = allowed
        self._told = told
        self._instead: Cores | None = None

    def run(self, job: Job, run: Callable[[Job], JobResult]) -> JobResult:
        """Have a job done, on other cores if the profile's own are refused.

        Raises:
            RunnerFailed: it failed for another reason; or every choice of cores is refused, or
                those of the job are not the profile's default.
        """
        if not job.cores or job.cores != self._profile.cores:
            return run(job)
        if self._instead is not None:
            return run(dataclasses.replace(job, cores=self._instead))
        try:
            return run(job)
        except RunnerFailed as error:
            if not _is_refusal(error):
                raise
            return self._elsewhere(job, run, error)

    def _elsewhere(
        self, job: Job, run: Callable[[Job], JobResult], refused: RunnerFailed
    ) -> JobResult:
        for cores in choices(self._profile, frozenset(self._allowed())):
            try:
                result = run(dataclasses.replace(job, cores=cores))
            except RunnerFailed as error:
                if _is_refusal(error):
                    continue
                raise
            self._instead = cores
            self._told(job.cores, cores)
            return result
        raise refused


def choices(profile: DeviceProfile, allowed: Collection[int]) -> Iterator[Cores]:
    """Yield the cores that can stand in for those of a profile, the most alike first.

    First what is left of them; then the other kinds of cores, the fastest first.

    Args:
        profile: of the device.
        allowed: numbers of the cores that a runner may use.
    """
    tried = {profile.cores}
    faster = sorted(profile.clusters, key=lambda cluster: cluster.max_khz, reverse=True)
    for group in (profile.cores, *(cluster.cores for cluster in faster)):
        cores = tuple(core for core in group if core in allowed)
        if cores and cores not in tried:
            tried.add(cores)
            yield cores


def may_use(hello: str) -> Collection[int]:
    """Return the cores that a runner says it may use; none if it does not.

    Args:
        hello: its ``hello`` event.
    """
    try:
        event = json.loads(hello)
    except ValueError:
        return ()
    cores = event.get("cores") if isinstance(event, dict) else None
    return tuple(c for c in cores if isinstance(c, int)) if isinstance(cores, list) else ()


def _is_refusal(error: RunnerFailed) -> bool:
    return any(event.get("kind") == KIND for event in error.events if event["event"] == "error")
