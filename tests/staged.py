"""Made-up runs whose first case has more than a latency."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mvdeploy.analysis.view import view_of
from mvdeploy.records import FirstRun, Said, Stages, StagesSession, Start
from tests.saved_runs import Story

MS = {"decode": 6.0, "resize": 2.0, "normalise": 0.5, "feed": 0.1, "inference": 5.2, "finish": 0.2}


def session(seed: int, slower: float = 1.0, count: int = 40) -> StagesSession:
    rng = np.random.default_rng(seed)
    times = {
        name: tuple((1e6 * ms * rng.lognormal(0, 0.02, count)).astype(int).tolist())
        for name, ms in MS.items()
    }
    whole = [sum(parts) + 3000 for parts in zip(*times.values(), strict=True)]
    whole[7] += 900_000_000  # something else ran
    plain = (1e6 * slower * 14.0 * rng.lognormal(0, 0.02, count)).astype(int)
    return StagesSession(times, tuple(whole), tuple(plain.tolist()), 5)


def timed(story: Story, **changes: Any) -> Any:
    """The view of a run whose first case has a pipeline."""
    said = (Said(3, 0.5), Said(7, 0.2))
    found = Stages("Python", "a photo", 1, "softmax", (session(1), session(2)), said, said)
    found = dataclasses.replace(found, **changes)
    first, *others = story.saved.cases
    cases = (dataclasses.replace(first, stages=found), *others)
    saved = dataclasses.replace(story.saved, cases=cases)
    return view_of(saved, story.breakdowns)


def started(story: Story, *, cold_ms: float = 60.0, no_cold: str = "", starts: int = 9) -> Any:
    """The view of a run whose first case was started anew."""
    rng = np.random.default_rng(3)

    def start(cold: bool) -> Start:
        load = 1e6 * (cold_ms if cold else 40.0) * rng.lognormal(0, 0.02)
        first = 1e6 * 9.0 * rng.lognormal(0, 0.02)
        return Start(cold, float(not cold), 90_000_000, int(load), (int(first), 6_000_000))

    kinds = (False,) if no_cold else (True, False)
    found = FirstRun(
        tuple(start(cold) for _ in range(starts) for cold in kinds), 5_100_000, no_cold
    )
    first, *others = story.saved.cases
    cases = (dataclasses.replace(first, first_run=found), *others)
    return view_of(dataclasses.replace(story.saved, cases=cases), story.breakdowns)
