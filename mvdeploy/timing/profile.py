"""One job with the engine's profiler, in turns with the same models without it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from mvdeploy.links import Link
from mvdeploy.records import Job, JobModel, Plan, Warmup
from mvdeploy.timing.case import Entry

_WARMUP = Warmup(iterations=5)


@dataclasses.dataclass(frozen=True)
class Profile:
    """What a profiled job left.

    Attributes:
        path: the engine's profile, on the device.
        runs: number of profiled inferences; those before them in the profile were warm-up.
        profiled_ns: their wall times.
        plain_ns: wall times of the inferences without the profiler between them.
    """

    path: str
    runs: int
    profiled_ns: tuple[int, ...]
    plain_ns: tuple[int, ...]


def profile(
    entries: Sequence[Entry], link: Link, plan: Plan, limit_s: float = 600.0
) -> dict[str, Profile]:
    """Profile cases, all of them in turns in one process, so that they meet the same disturbances.

    Args:
        entries: the cases; those of one setting of the device and with one number of threads share
            a process.
        link: an open link to the device.
        plan: ``profile_iterations`` says how many inferences of each case are profiled.
        limit_s: seconds after which the job counts as hung.

    Returns:
        Profiles by the case's slug, of those whose engine left one.

    Raises:
        EngineError: the job failed.
    """
    profiles: dict[str, Profile] = {}
    for setting, threads in dict.fromkeys((entry.setting, entry.threads) for entry in entries):
        link.take(setting)
        own = [e for e in entries if (e.setting, e.threads) == (setting, threads)]
        same = dataclasses.replace(plan, threads=threads or plan.threads)
        profiles |= _together(own, link, same, limit_s)
    return profiles


def _together(
    entries: Sequence[Entry], link: Link, plan: Plan, limit_s: float
) -> dict[str, Profile]:
    models: list[JobModel] = []
    for entry in entries:
        folder = f"{link.scratch()}/profile-{entry.slug}"
        models += (entry.model, dataclasses.replace(entry.model, profile_to=folder))
    rng = random.Random(plan.seed)
    order: list[int] = []
    for _ in range(plan.profile_iterations):
        order += rng.sample(range(len(models)), len(models))
    job = Job(tuple(models), tuple(order), plan.threads, _WARMUP, plan.cores)
    result = link.run(job, plan.time_limit_s or limit_s)
    profiles = {}
    for i, entry in enumerate(entries):
        path = result.models[2 * i + 1].profile
        if path is not None:
            profiled, plain = result.samples_of(2 * i + 1), result.samples_of(2 * i)
            profiles[entry.slug] = Profile(
                path, plan.profile_iterations, profiled.wall_ns, plain.wall_ns
            )
    return profiles
