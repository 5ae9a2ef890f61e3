"""One job with the engine's profiler, in turns with the same model without it."""

from __future__ import annotations

import dataclasses
import random

from mvdeploy.bench.measure import Entry
from mvdeploy.records import Job, Plan, Warmup
from mvdeploy.transports import Link

_WARMUP = Warmup(iterations=5)
_PLAIN, _PROFILED = 0, 1


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


def profile(entry: Entry, link: Link, plan: Plan, limit_s: float = 600.0) -> Profile | None:
    """Profile a case; None when the engine left no profile.

    Args:
        entry: the case.
        link: an open link to the device.
        plan: ``profile_iterations`` says how many inferences are profiled.
        limit_s: seconds after which the job counts as hung.

    Raises:
        EngineError: the job failed.
    """
    folder = f"{link.scratch()}/profile-{entry.slug}"
    profiled = dataclasses.replace(entry.model, profile_to=folder)
    rng = random.Random(plan.seed)
    order: list[int] = []
    for _ in range(plan.profile_iterations):
        order += rng.sample((_PLAIN, _PROFILED), 2)
    job = Job((entry.model, profiled), tuple(order), plan.threads, _WARMUP, plan.cores)
    result = link.run(job, plan.time_limit_s or limit_s)
    path = result.models[_PROFILED].profile
    if path is None:
        return None
    return Profile(
        path,
        plan.profile_iterations,
        result.samples_of(_PROFILED).wall_ns,
        result.samples_of(_PLAIN).wall_ns,
    )
