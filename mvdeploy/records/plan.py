"""`Plan`: how long and in what way to measure."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Warmup:
    """When an engine session counts as warm.

    Either a fixed number of inferences, or at least `min_iterations` and `min_seconds` and until
    the medians of two successive windows agree, but no longer than `max_seconds`.

    Attributes:
        iterations: exact number, or None for the rule above.
        min_iterations: inferences at least.
        min_seconds: seconds at least.
        window_seconds: length of one window.
        tolerance: relative difference of the two medians that counts as agreement.
        max_seconds: seconds at most.
    """

    iterations: int | None = None
    min_iterations: int = 5
    min_seconds: float = 0.5
    window_seconds: float = 0.25
    tolerance: float = 0.05
    max_seconds: float = 5.0


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run does with every case.

    Attributes:
        threads: inference threads.
        warmup: see `Warmup`.
        iterations: measured inferences of each case over all sessions; None to go by time.
        min_time_s: measured seconds of each case over all sessions, when `iterations` is None.
        sessions: how often the engine sessions are made anew; even, so that every case is created
            first as often as last.
        cores: CPU numbers the runner is bound to; empty for all.
        seed: of the order in which cases take turns.
        profile_iterations: inferences under the engine's profiler; 0 for no breakdown.
        time_limit_s: seconds after which one job counts as hung; None to work it out.
    """

    threads: int = 1
    warmup: Warmup = Warmup()
    iterations: int | None = None
    min_time_s: float = 10.0
    sessions: int = 4
    cores: tuple[int, ...] = ()
    seed: int = 0
    profile_iterations: int = 100
    time_limit_s: float | None = None
