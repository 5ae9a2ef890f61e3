"""Measure the cases of a run.

Cases that differ in a setting of the whole device cannot share a session: the sessions of one
setting and those of the other take turns.

Every case is first probed alone, in a process of its own: that shows whether it runs at all, what
one inference takes, and its load time, first inference and memory undisturbed. Then the cases of
one engine share sessions (see `mvdeploy.bench.schedule`), until every median and every ratio is
known as well as the plan asks for, or its time is up.

What comes out is looked at every time: a case whose outputs are not finite, or not those that its
entry expects, fails; one that computes something else later, or with one thread, has a finding.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence

from mvdeploy.bench import schedule
from mvdeploy.bench.case import Entry, Progress
from mvdeploy.errors import EngineError
from mvdeploy.links import Link
from mvdeploy.records import (
    UNAVAILABLE,
    Comparison,
    DeviceState,
    Finding,
    Job,
    JobResult,
    Level,
    Measurement,
    PairGroup,
    Plan,
    Session,
    SessionOrder,
    Warmup,
)
from mvdeploy.stats import paired, stopping

_STATE_EVERY_S = 5.0
"""Seconds after which the device's state is read again."""

_LEAST_GROUPS = 4
"""Groups without which the spread between them cannot be told; they may exceed the time."""

_SLACK_S, _SLACK_FACTOR = 60.0, 10.0
"""A job counts as hung after this many seconds plus this many times its expected length."""

OnMeasurement = Callable[[str, Measurement], None]
OnFailure = Callable[[str, EngineError], None]
OnStep = Callable[[str], None]
OnComparison = Callable[[tuple[Comparison, ...]], None]
OnLoaded = Callable[[str, JobResult], None]
OnOrder = Callable[[SessionOrder], None]
Clock = Callable[[], float]


@dataclasses.dataclass(frozen=True)
class Listener:
    """Is told what happens, as it happens, so that nothing finished is ever lost.

    Attributes:
        measured: a case has new samples; called again after each of its sessions.
        failed: a case is given up.
        step: a part of the work begins.
        compared: a comparison has new pairs; called again after each session.
        loaded: a case ran alone for the first time; its output tensors are where the result says,
            on the device. It may raise an `EngineError`, and the case is given up for it.
        ordered: a session was run, in this order.
    """

    measured: OnMeasurement
    failed: OnFailure
    step: OnStep
    compared: OnComparison = lambda _: None
    loaded: OnLoaded = lambda _slug, _result: None
    ordered: OnOrder = lambda _: None


def measure(
    entries: Sequence[Entry],
    link: Link,
    plan: Plan,
    listener: Listener,
    anchor: Entry | None = None,
    clock: Clock = time.monotonic,
) -> tuple[Comparison, ...]:
    """Measure cases that can share a runner: of one engine, with one number of threads.

    Args:
        entries: the cases; the first in each setting is the reference of its comparisons.
        link: an open link to the device.
        plan: how.
        listener: gets the measurements and failures.
        anchor: a small network that runs between the blocks of the cases, as a yardstick.
        clock: seconds, for the time limits.

    Returns:
        The paired samples of the first case with each other one in its setting.
    """
    works: dict[str, _Work] = {}
    for setting in dict.fromkeys(entry.setting for entry in entries):
        link.take(setting)
        found = (_probe(e, link, plan, listener) for e in entries if e.setting == setting)
        runs = [run for run in found if run is not None]
        works[setting] = _Work(runs, link, plan, listener, clock)
        if anchor is not None and runs:
            works[setting].set_anchor(anchor)
    while unfinished := {s: work for s, work in works.items() if not work.finished()}:
        for setting, work in unfinished.items():
            link.take(setting)
            work.session(work.counts())
    for work in works.values():
        work.tell(final=True)
    return tuple(comparison for work in works.values() for comparison in work.comparisons())


def _probe(entry: Entry, link: Link, plan: Plan, listener: Listener) -> Progress | None:
    listener.step(f"{entry.slug}: load and warm up")
    before = link.state()
    try:
        run = Progress(entry, _load(entry, link, plan), before)
        listener.loaded(entry.slug, run.probe)
    except EngineError as error:
        listener.failed(entry.slug, error)
        return None
    if run.probe.models[0].finite is False:
        run.findings.append(Finding("outputs_not_finite", Level.WARNING))
    if plan.threads > 1 and _depends_on_threads(run, link, plan):
        values: dict[str, str | int | float] = {"threads": plan.threads}
        run.findings.append(Finding("outputs_depend_on_threads", Level.NOTE, values))
    return run


def _load(entry: Entry, link: Link, plan: Plan) -> JobResult:
    """Run a case alone, keep its output tensors on the device, and check them."""
    outputs_to = f"{link.scratch()}/outputs-{entry.slug}"
    model = dataclasses.replace(entry.model, outputs_to=outputs_to)
    job = Job((model,), (), plan.threads, plan.warmup, plan.cores)
    result = link.run(job, _alone_limit(plan))
    entry.check_outputs(result.models[0])
    return result


def _depends_on_threads(run: Progress, link: Link, plan: Plan) -> bool:
    """Say whether a case computes something else with one thread."""
    checksum = run.probe.models[0].output_sha256
    if checksum == UNAVAILABLE:
        return False
    job = Job((run.entry.model,), (), 1, Warmup(iterations=0), plan.cores)
    try:
        return link.run(job, _alone_limit(plan)).models[0].output_sha256 != checksum
    except EngineError:
        return False  # it is measured with several threads, and with these it runs


def _alone_limit(plan: Plan) -> float:
    return plan.time_limit_s or _SLACK_S + _SLACK_FACTOR * 30


class _Work:
    """Sessions that cases share, one after the other."""

    def __init__(
        self, runs: list[Progress], link: Link, plan: Plan, listener: Listener, clock: Clock
    ) -> None:
        self._runs = runs
        self._link, self._plan, self._listener, self._clock = link, plan, listener, clock
        self._anchor: Progress | None = None
        self._number = 0
        self._groups: dict[tuple[str, str], list[PairGroup]] = {}
        self._interleaved = True
        # Of the sessions that had nothing but turns: seconds of all of them, and of the longest.
        self._pairs_s, self._longest_s = 0.0, plan.pair_time_s
        self._latest_state: tuple[float, DeviceState] | None = None

    def set_anchor(self, entry: Entry) -> None:
        """Use an anchor; without one that runs, its cases are told."""
        self._listener.step(f"{entry.slug}: load and warm up")
        before = self._link.state()
        try:
            self._anchor = Progress(entry, _load(entry, self._link, self._plan), before)
        except EngineError as error:
            for run in self._runs:
                values = {"reason": error.message}
                run.findings.append(Finding("anchor_failed", Level.WARNING, dict(values)))

    def counts(self) -> list[int]:
        """Return how often each case is to run in its blocks of the next session."""
        return [run.count(self._plan, self._number) for run in self._runs]

    def finished(self) -> bool:
        """Say whether no further session is needed."""
        return not any(self.counts()) and self.settled()

    def settled(self) -> bool:
        """Say whether the comparisons need no further session."""
        plan = self._plan
        if plan.iterations is not None:
            return self._number >= plan.sessions or not self._runs
        if len(self._runs) < 2 or not self._interleaved:
            return True
        # An odd number of sessions would leave one order of creation ahead of the other.
        if self._number < min(plan.groups, _LEAST_GROUPS) or self._number % 2:
            return False
        alive = {run.entry.slug for run in self._runs}
        groups = [pair_groups for pair, pair_groups in self._groups.items() if alive >= {*pair}]
        if self._number < plan.groups:
            return self._stop(()) is not None
        return all(self._stop(pair_groups) is not None for pair_groups in groups)

    def _stop(self, groups: Sequence[PairGroup]) -> stopping.Stop | None:
        """Say whether a comparison has gone on for long enough; without groups, by time alone."""
        plan = self._plan
        choice = paired.clock_of(groups, plan.threads)
        try:
            width = paired.ratio(groups, choice.clock).half_width
        except ValueError:
            width = None  # too few pairs, or times of zero: more of them may mend it
        target = plan.pair_target or paired.TARGETS[choice.clock]
        return stopping.decide(width, target, self._pairs_s, plan.max_time_s, 2 * self._longest_s)

    def session(self, counts: Sequence[int]) -> None:
        """Run one session of all cases; those that do not survive it are given up."""
        began = self._clock()
        name = f"session {self._number + 1}"
        self._listener.step(name)
        try:
            self._runs = self._together(self._runs, counts)
        except EngineError as error:
            if len(self._runs) == 1:
                self._listener.failed(self._runs[0].entry.slug, error)
                self._runs = []
            else:
                # One of them took the runner down with it. Alone, each answers for itself.
                self._apart(counts, name)
        if not any(counts):
            self._pairs_s += self._clock() - began
            self._longest_s = max(self._longest_s, self._clock() - began)
        self._number += 1
        self.tell()

    def _apart(self, counts: Sequence[int], name: str) -> None:
        alive: list[Progress] = []
        for run, count in zip(self._runs, counts, strict=True):
            self._listener.step(f"{name}: {run.entry.slug} alone")
            try:
                well = self._together([run], [count])
            except EngineError as error:
                self._listener.failed(run.entry.slug, error)
                continue
            if well:
                values = {"session": self._number + 1}
                run.findings.append(Finding("not_interleaved", Level.WARNING, dict(values)))
                alive += well
        # If all of them are well alone, trying again will not make them take turns.
        self._interleaved = len(alive) < len(self._runs)
        self._runs = alive

    def _together(self, runs: Sequence[Progress], counts: Sequence[int]) -> list[Progress]:
        """Run one session of these cases in one process and keep its samples.

        Returns:
            The cases whose outputs can be theirs; the others are given up.
        """
        plan, estimates = self._plan, [run.estimate_ns for run in runs]
        rng = random.Random(f"{plan.seed}/{self._number}")
        anchor = self._anchor if any(counts) else None
        turns = self._turns(counts, estimates) if len(runs) > 1 else 0
        pace = anchor.estimate_ns if anchor else None
        order = schedule.session_schedule(counts, estimates, turns, rng, pace)
        created = schedule.creation_order(len(runs), self._number, plan.seed)
        models = [runs[case].entry.model for case in created]
        position = {case: i for i, case in enumerate(created)}
        position[len(runs)] = len(runs)
        if anchor:
            models.append(anchor.entry.model)
        job = Job(
            models=tuple(models),
            order=tuple(position[case] for case in order.order),
            threads=plan.threads,
            warmup=plan.warmup,
            cores=plan.cores,
            warmup_order=tuple(rng.sample(range(len(models)), len(models))),
        )
        started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        result = self._link.run(job, _limit(plan, order, [*estimates, pace or 0.0]))
        created_runs = [runs[case] for case in created] + ([anchor] if anchor else [])
        names = tuple(run.entry.slug for run in created_runs)
        lengths = tuple((index, len([*same])) for index, same in itertools.groupby(job.order))
        self._listener.ordered(SessionOrder(self._number, started_at, names, lengths))
        good = self._good(runs, result, position)
        for case in good:
            anchors = order.anchors_of(case, len(runs)) if anchor else ()
            runs[case].sessions.append(_session(result, position[case], order.steady, anchors))
        if turns:
            sizes = schedule.turn_sizes(estimates)
            self._keep_pairs(runs, good, result, order.steady, position, sizes)
        return [runs[case] for case in good]

    def _good(
        self, runs: Sequence[Progress], result: JobResult, position: Mapping[int, int]
    ) -> list[int]:
        """Return the indices of cases whose outputs can be theirs; give the others up."""
        good = []
        for case, run in enumerate(runs):
            model = result.models[position[case]]
            try:
                run.entry.check_outputs(model)
            except EngineError as error:
                self._listener.failed(run.entry.slug, error)
            else:
                run.check_checksum(model, self._number + 1)
                good.append(case)
        return good

    def _turns(self, counts: Sequence[int], estimates: Sequence[float]) -> int:
        if self._plan.iterations is None:
            return schedule.rounds(estimates, self._plan.pair_time_s)
        sizes = schedule.turn_sizes(estimates)
        return max(
            min(count // size for count, size in zip(counts, sizes, strict=True)),
            min(1, *counts),
        )

    def _keep_pairs(
        self,
        runs: Sequence[Progress],
        good: Sequence[int],
        result: JobResult,
        steady: int,
        position: Mapping[int, int],
        sizes: Sequence[int],
    ) -> None:
        reference = good[0] if good else 0
        for case in good[1:]:
            group = PairGroup(
                first_created=1 if position[reference] < position[case] else -1,
                a=result.samples_of(position[reference], steady),
                b=result.samples_of(position[case], steady),
                block_a=sizes[reference],
                block_b=sizes[case],
            )
            pair = runs[reference].entry.slug, runs[case].entry.slug
            self._groups.setdefault(pair, []).append(group)

    def tell(self, *, final: bool = False) -> None:
        """Tell the listener what is known."""
        after = self._state(final)
        for run in self._runs:
            self._listener.measured(run.entry.slug, run.measurement(self._plan, after))
        self._listener.compared(self.comparisons())

    def _state(self, final: bool) -> DeviceState:
        # Reading the state takes a while, in which nothing is measured.
        now = self._clock()
        if final or self._latest_state is None or now - self._latest_state[0] > _STATE_EVERY_S:
            self._latest_state = (now, self._link.state())
        return self._latest_state[1]

    def comparisons(self) -> tuple[Comparison, ...]:
        """Return the paired samples so far."""
        return tuple(Comparison(a, b, tuple(groups)) for (a, b), groups in self._groups.items())


def _session(result: JobResult, index: int, steady: int, anchors: Sequence[int]) -> Session:
    model = result.models[index]
    return Session(
        created=index,
        load_ns=model.load_ns,
        first=model.first,
        warmup=model.warmup,
        steady=result.samples_of(index, 0, steady),
        anchor=result.samples_at(anchors),
        usage=result.usage,
        measured_ns=sum(result.samples.wall_ns),
    )


def _limit(plan: Plan, order: schedule.Schedule, estimates_ns: Sequence[float]) -> float:
    if plan.time_limit_s is not None:
        return plan.time_limit_s
    expected = sum(estimates_ns[case] for case in order.order) / 1e9
    expected += len(estimates_ns) * plan.warmup.max_seconds
    return _SLACK_S + _SLACK_FACTOR * expected
