"""`Plan`: how long and in what way to measure."""

from __future__ import annotations

import dataclasses

from mvdeploy.records.limits import Core, Count, Number, Positive, Size, Target, Threads


@dataclasses.dataclass(frozen=True)
class Warmup:
    """When an engine session counts as warm.

    Either a fixed number of inferences, or at least `min_iterations` and `min_seconds` and until
    the median of a window is not below that of the window before by more than `tolerance`, but no
    longer than `max_seconds`. The Python runner asks for CPU time with one thread; others for wall
    time, and for medians that agree in both directions.

    Attributes:
        iterations: exact number, or None for the rule above.
        min_iterations: inferences at least.
        min_seconds: seconds at least.
        window_seconds: length of one window.
        tolerance: by how much a window may be faster than the one before, relative.
        max_seconds: seconds at most.
    """

    iterations: Count | None = None
    min_iterations: Count = 5
    min_seconds: Size = 0.5
    window_seconds: Size = 0.25
    tolerance: Size = 0.05
    max_seconds: Size = 5.0


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run does with every case.

    Example:
        >>> import mvdeploy
        >>> mvdeploy.Plan(threads=2, iterations=100).sessions
        4

    Attributes:
        threads: inference threads.
        sweep: other numbers of threads that cases are measured with too.
        warmup: see `Warmup`.
        iterations: measured inferences of each case over all sessions; None to go by time.
        session_time_s: measured seconds of each case in one session.
        max_time_s: measured seconds of each case over all sessions, at most; seconds spent on
            nothing but turns, at most.
        target: half the width of the median's interval, as a share of the median, at which a case
            has been measured long enough.
        sessions: how often the engine sessions are made anew, at least; even, so that every case
            is created first as often as last.
        groups: sessions in which cases take turns, at least, when there are several cases and time
            for them; with fewer, stopping at the target makes false alarms likelier.
        pair_time_s: seconds of turns in one session, for each pair of cases.
        pair_target: the same as `target` for paired ratios; None for what the clock that decides
            can give.
        anchor: whether a fixed small network runs between the cases as a yardstick.
        cores: CPU numbers the runner is bound to; empty for all.
        seed: of the order in which cases take turns.
        profile_iterations: inferences under the engine's profiler; 0 for no breakdown.
        profiler_cost: whether it is measured what an engine's profiler adds to each operator, or
            leaves out.
        time_limit_s: seconds after which one job counts as hung; None to work it out.
        pairs_only: whether cases only take turns, without blocks that give each a latency of its
            own.
        sustained_s: seconds for which each case runs without a pause; 0 for sessions.
        interval_s: seconds of such a run that are summed up in one line.
        alternate: whether cases run in turns then, an interval each, and not one after the other.
        pipeline: whether the stages around the inference are timed too.
        starts: of processes, of each kind, to see what the first answer costs; 0 for none.
        energy: whether it is measured what energy an inference takes, after everything else.
        energy_block_s: seconds of each case, and at rest, in one block of that; None for what the
            meter needs.
    """

    threads: Threads = 1
    warmup: Warmup = Warmup()
    iterations: Number | None = None
    session_time_s: Size = 2.5
    max_time_s: Positive = 60.0
    target: Target = 0.02
    sessions: Number = 4
    groups: Count = 10
    pair_time_s: Size = 1.0
    pair_target: Target | None = None
    anchor: bool = False
    cores: tuple[Core, ...] = ()
    seed: int = 0
    profile_iterations: Count = 100
    profiler_cost: bool = False
    time_limit_s: Positive | None = None
    pairs_only: bool = False
    sweep: tuple[Threads, ...] = ()
    sustained_s: Size = 0.0
    interval_s: Size = 0.0
    alternate: bool = False
    pipeline: bool = False
    starts: Count = 0
    energy: bool = False
    energy_block_s: Positive | None = None

    def __post_init__(self) -> None:
        # Plans that were saved before there was a field for it say it with a time of zero.
        if self.iterations is None and self.session_time_s == 0:
            object.__setattr__(self, "pairs_only", True)
