"""Measure the cases of a run.

Every case is first probed alone, in a process of its own: that shows whether it runs at all, what
one inference takes, and its load time, first inference and memory undisturbed. Then the cases of
one engine share a number of sessions (see `mvdeploy.bench.schedule`).
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import statistics
from collections.abc import Callable, Mapping, Sequence

from mvdeploy.bench import schedule
from mvdeploy.errors import EngineError
from mvdeploy.records import (
    Comparison,
    DeviceState,
    Finding,
    Job,
    JobModel,
    JobResult,
    Level,
    Measurement,
    PairGroup,
    Plan,
    Reading,
    Session,
)
from mvdeploy.transports import Link

_SLACK_S, _SLACK_FACTOR = 60.0, 10.0
"""A job counts as hung after this many seconds plus this many times its expected length."""

OnMeasurement = Callable[[str, Measurement], None]
OnFailure = Callable[[str, EngineError], None]
OnStep = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A case as bench sees it.

    Attributes:
        slug: its name in the run.
        model: what a runner has to load.
    """

    slug: str
    model: JobModel


@dataclasses.dataclass(frozen=True)
class Listener:
    """Is told what happens, as it happens, so that nothing finished is ever lost.

    Attributes:
        measured: a case has new samples; called again after each of its sessions.
        failed: a case is given up.
        step: a part of the work begins.
    """

    measured: OnMeasurement
    failed: OnFailure
    step: OnStep


@dataclasses.dataclass
class _Progress:
    """What is known of one case so far."""

    entry: Entry
    probe: JobResult
    before: DeviceState
    sessions: list[Session] = dataclasses.field(default_factory=list)
    findings: list[Finding] = dataclasses.field(default_factory=list)

    @property
    def estimate_ns(self) -> float:
        """Nanoseconds of one warm inference, about."""
        model = self.probe.models[0]
        return statistics.median((model.warmup.wall_ns or model.first.wall_ns)[-20:])

    def measurement(self, plan: Plan, after: DeviceState) -> Measurement:
        model = self.probe.models[0]
        return Measurement(
            engine=self.entry.model.engine,
            conditions=_conditions(self.probe, self.entry, plan),
            sessions=tuple(self.sessions),
            load_ns=model.load_ns,
            first=model.first,
            peak_memory_bytes=self.probe.peak_memory,
            baseline_memory_bytes=model.memory_before,
            before=self.before,
            after=after,
            findings=tuple(self.findings),
        )


def measure(
    entries: Sequence[Entry], link: Link, plan: Plan, listener: Listener
) -> tuple[Comparison, ...]:
    """Measure cases that can share a runner: of one engine, with one number of threads.

    Args:
        entries: the cases; the first is the reference of the comparisons.
        link: an open link to the device.
        plan: how.
        listener: gets the measurements and failures.

    Returns:
        The paired samples of the first case with each other one.
    """
    runs = [run for entry in entries if (run := _probe(entry, link, plan, listener)) is not None]
    groups: dict[tuple[str, str], list[PairGroup]] = {}
    for number in range(plan.sessions):
        runs = _session(runs, number, link, plan, listener, groups)
        after = link.state()
        for run in runs:
            listener.measured(run.entry.slug, run.measurement(plan, after))
    return tuple(Comparison(a, b, tuple(found)) for (a, b), found in groups.items())


def _probe(entry: Entry, link: Link, plan: Plan, listener: Listener) -> _Progress | None:
    listener.step(f"{entry.slug}: load and warm up")
    before = link.state()
    job = Job((entry.model,), (), plan.threads, plan.warmup, plan.cores)
    try:
        result = link.run(job, plan.time_limit_s or _SLACK_S + _SLACK_FACTOR * 30)
    except EngineError as error:
        listener.failed(entry.slug, error)
        return None
    return _Progress(entry, result, before)


def _session(
    runs: list[_Progress],
    number: int,
    link: Link,
    plan: Plan,
    listener: Listener,
    groups: dict[tuple[str, str], list[PairGroup]],
) -> list[_Progress]:
    """Run one session of all cases; return those that are still alive."""
    if not runs:
        return []
    listener.step(f"session {number + 1} of {plan.sessions}")
    try:
        _together(runs, number, link, plan, groups)
        return runs
    except EngineError as error:
        if len(runs) == 1:
            listener.failed(runs[0].entry.slug, error)
            return []
    # One of them took the runner down with it. Alone, each answers for itself.
    alive = []
    for run in runs:
        listener.step(f"session {number + 1} of {plan.sessions}: {run.entry.slug} alone")
        try:
            _together([run], number, link, plan, groups)
        except EngineError as error:
            listener.failed(run.entry.slug, error)
        else:
            run.findings.append(Finding("not_interleaved", Level.WARNING, {"session": number + 1}))
            alive.append(run)
    return alive


def _together(
    runs: Sequence[_Progress],
    number: int,
    link: Link,
    plan: Plan,
    groups: dict[tuple[str, str], list[PairGroup]],
) -> None:
    """Run one session of these cases in one process and keep its samples."""
    estimates = [run.estimate_ns for run in runs]
    counts = [_count(plan, number, estimate) for estimate in estimates]
    turns = min(counts) if len(runs) > 1 else 0
    order = schedule.session_schedule(
        counts, estimates, turns, random.Random(f"{plan.seed}/{number}")
    )
    created = schedule.creation_order(len(runs), number, plan.seed)
    position = {case: i for i, case in enumerate(created)}
    job = Job(
        models=tuple(runs[case].entry.model for case in created),
        order=tuple(position[case] for case in order.order),
        threads=plan.threads,
        warmup=plan.warmup,
        cores=plan.cores,
    )
    result = link.run(job, _limit(plan, order, estimates))
    for case, run in enumerate(runs):
        index = position[case]
        model = result.models[index]
        steady = result.samples_of(index, 0, order.steady)
        run.sessions.append(Session(index, model.load_ns, model.first, model.warmup, steady))
    if turns:
        _keep_pairs(runs, result, order, position, groups)


def _keep_pairs(
    runs: Sequence[_Progress],
    result: JobResult,
    order: schedule.Schedule,
    position: Mapping[int, int],
    groups: dict[tuple[str, str], list[PairGroup]],
) -> None:
    reference = result.samples_of(position[0], order.steady)
    for case in range(1, len(runs)):
        first = 1 if position[0] < position[case] else -1
        group = PairGroup(first, reference, result.samples_of(position[case], order.steady))
        groups.setdefault((runs[0].entry.slug, runs[case].entry.slug), []).append(group)


def _count(plan: Plan, number: int, estimate_ns: float) -> int:
    """Return how often one case runs in its blocks of one session."""
    if plan.iterations is not None:
        return schedule.split(plan.iterations, plan.sessions)[number]
    return max(1, round(plan.min_time_s / plan.sessions * 1e9 / max(estimate_ns, 1.0)))


def _limit(plan: Plan, order: schedule.Schedule, estimates_ns: Sequence[float]) -> float:
    if plan.time_limit_s is not None:
        return plan.time_limit_s
    expected = sum(estimates_ns[case] for case in order.order) / 1e9
    expected += len(estimates_ns) * plan.warmup.max_seconds
    return _SLACK_S + _SLACK_FACTOR * expected


def _conditions(result: JobResult, entry: Entry, plan: Plan) -> dict[str, Reading]:
    hello = result.hello
    engine = entry.model.engine
    clock = hello.get("clock", {}).get("wall", {})
    return {
        "engine": engine,
        "engine_version": str(hello.get("engines", {}).get(engine, "unavailable")),
        "runner": f"{hello.get('runner', 'unavailable')} {hello.get('mvdeploy', '')}".strip(),
        "threads": plan.threads,
        "cores": tuple(str(core) for core in hello.get("cores") or ()) or "unavailable",
        "clock": str(clock.get("implementation", "unavailable")),
        "clock_resolution_s": clock.get("resolution_s", "unavailable"),
        "artifact_sha256": entry.model.sha256,
        "output_sha256": result.models[0].output_sha256,
    }


def by_engine(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Group cases that can share a runner: engines' thread pools disturb each other."""
    ordered = sorted(entries, key=lambda e: e.model.engine)
    groups = itertools.groupby(ordered, key=lambda e: e.model.engine)
    return [list(group) for _, group in groups]
