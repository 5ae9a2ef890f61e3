"""Sessions that cases share: cases of one engine, with one number of threads.

Every case is first probed alone, in a process of its own: that shows whether it runs at all, what
one inference takes, and its load time, first inference and memory undisturbed. Then the cases share
sessions (see `mvdeploy.timing.schedule`), until every median and every ratio is known as well as
the plan asks for, or its time is up.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import random
from collections.abc import Callable, Mapping, Sequence

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
from mvdeploy.timing import schedule
from mvdeploy.timing.case import Entry, Progress

_STATE_EVERY_S = 5.0
"""Seconds after which the device's state is read again."""

LEAST_GROUPS = 4
"""Groups without which the spread between them cannot be told; they may exceed the time."""

_SLACK_S, _SLACK_FACTOR = 60.0, 10.0
"""A job counts as hung after this many seconds plus this many times its expected length."""

_ELSEWHERE = 2.0
"""Time not spent waiting for a core, divided by the CPU time of the thread that calls the engine:
above this, its CPU time does not hold the work."""

_ELSEWHERE_NS = 100_000_000
"""Less than this is not looked at: some CPU clocks move in steps of 16 ms."""

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


def probe(entry: Entry, link: Link, plan: Plan, listener: Listener) -> Progress | None:
    """Run a case alone for the first time; None, and it is told, when it does not run."""
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
    job = Job((model,), (), plan.threads, _brief(plan.warmup), plan.cores)
    result = link.run(job, _alone_limit(plan))
    entry.check_outputs(result.models[0])
    return result


def _brief(warmup: Warmup) -> Warmup:
    """Return a warm-up that tells what one inference takes, about; nothing is measured after it."""
    if warmup.iterations is not None:
        return warmup
    return dataclasses.replace(
        warmup,
        min_seconds=min(warmup.min_seconds, 0.2),
        window_seconds=min(warmup.window_seconds, 0.1),
        max_seconds=min(warmup.max_seconds, 1.0),
    )


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


def narrow_enough(groups: Sequence[PairGroup], plan: Plan, spent_s: float, next_s: float) -> bool:
    """Say whether a ratio is known as well as the plan asks for, or its time is up.

    Args:
        groups: what is known of it; without any, time alone decides.
        plan: with the target, the limit and the number of threads.
        spent_s: seconds spent on it so far.
        next_s: seconds that the next step will take.
    """
    choice = paired.clock_of(groups, plan.threads)
    try:
        width = paired.ratio(groups, choice.clock).half_width
    except ValueError:
        width = None  # too few pairs, or times of zero: more of them may mend it
    target = plan.pair_target or paired.TARGETS[choice.clock]
    return stopping.decide(width, target, spent_s, plan.max_time_s, next_s) is not None


class Work:
    """Sessions that cases share, one after the other.

    Args:
        entries: the cases; each is probed first, and those that do not run are given up.
        link: an open link to the device.
        plan: how, and with how many threads.
        listener: gets the measurements and failures.
        clock: seconds, for the time limits.

    Attributes:
        runs: what is known of the cases that still run.
        threads: inference threads.
        seconds: that its sessions took, with loading.
        longest_s: seconds of the longest of them.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        link: Link,
        plan: Plan,
        listener: Listener,
        clock: Clock,
    ) -> None:
        found = (probe(entry, link, plan, listener) for entry in entries)
        self.runs = [run for run in found if run is not None]
        self.threads, self.seconds, self.longest_s = plan.threads, 0.0, 0.0
        self._link, self._plan, self._listener, self._clock = link, plan, listener, clock
        self._anchor: Progress | None = None
        self._number = 0
        self._groups: dict[tuple[str, str], list[PairGroup]] = {}
        self._interleaved = True
        self._settled = False
        # Of the sessions that had nothing but turns: seconds of all of them, and of the longest.
        self._pairs_s, self._longest_s = 0.0, plan.pair_time_s
        self._latest_state: tuple[float, DeviceState] | None = None

    def set_anchor(self, entry: Entry) -> None:
        """Use an anchor; without one that runs, its cases are told."""
        if not self.runs:
            return
        self._listener.step(f"{entry.slug}: load and warm up")
        before = self._link.state()
        try:
            self._anchor = Progress(entry, _load(entry, self._link, self._plan), before)
        except EngineError as error:
            for run in self.runs:
                values = {"reason": error.message}
                run.findings.append(Finding("anchor_failed", Level.WARNING, dict(values)))

    def counts(self) -> list[int]:
        """Return how often each case is to run in its blocks of the next session."""
        return [run.count(self._plan, self._number) for run in self.runs]

    def finished(self) -> bool:
        """Say whether no further session is needed."""
        return not any(self.counts()) and self.settled()

    def settled(self) -> bool:
        """Say whether the comparisons need no further session; once they do not, they never do."""
        self._settled = self._settled or self._is_settled()
        return self._settled

    def _is_settled(self) -> bool:
        plan = self._plan
        if plan.iterations is not None:
            return self._number >= plan.sessions or not self.runs
        if len(self.runs) < 2 or not self._interleaved:
            return True
        # An odd number of sessions would leave one order of creation ahead of the other.
        if self._number < min(plan.groups, LEAST_GROUPS) or self._number % 2:
            return False
        alive = {run.entry.slug for run in self.runs}
        groups = [pair_groups for pair, pair_groups in self._groups.items() if alive >= {*pair}]
        if self._number < plan.groups:
            return self._enough(())
        return all(map(self._enough, groups))

    def _enough(self, groups: Sequence[PairGroup]) -> bool:
        """Say whether a comparison has gone on for long enough; without groups, by time alone."""
        return narrow_enough(groups, self._plan, self._pairs_s, 2 * self._longest_s)

    def session(self, counts: Sequence[int], of: str = "") -> None:
        """Run one session of all cases; those that do not survive it are given up.

        Args:
            counts: how often each runs in its blocks.
            of: whose session it is, where several take turns.
        """
        began = self._clock()
        name = f"{f'{of}: ' if of else ''}session {self._number + 1}"
        self._listener.step(name)
        try:
            self.runs = self._together(self.runs, counts)
        except EngineError as error:
            if len(self.runs) == 1:
                self._listener.failed(self.runs[0].entry.slug, error)
                self.runs = []
            else:
                # One of them took the runner down with it. Alone, each answers for itself.
                self._apart(counts, name)
        took = self._clock() - began
        self.seconds += took
        self.longest_s = max(self.longest_s, took)
        if not any(counts):
            self._pairs_s += took
            self._longest_s = max(self._longest_s, took)
        self._number += 1
        self.tell()

    def _apart(self, counts: Sequence[int], name: str) -> None:
        alive: list[Progress] = []
        for run, count in zip(self.runs, counts, strict=True):
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
        self._interleaved = len(alive) < len(self.runs)
        self.runs = alive

    def _together(self, runs: Sequence[Progress], counts: Sequence[int]) -> list[Progress]:
        """Run one session of these cases in one process and keep its samples.

        Returns:
            The cases whose outputs can be theirs; the others are given up.
        """
        plan, estimates = self._plan, [run.estimate_ns for run in runs]
        rng = random.Random(f"{plan.seed}/{self._number}")
        anchor = self._anchor if any(counts) else None
        turns = self._turns(counts, estimates) if len(runs) > 1 and not self._settled else 0
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
            runs[case].sessions.append(session_of(result, position[case], order.steady, anchors))
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
                if self.threads == 1 and _works_elsewhere(result):
                    run.found_once(Finding("cpu_time_elsewhere", Level.WARNING))
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
        for run in self.runs:
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


def _works_elsewhere(result: JobResult) -> bool:
    """Say whether the thread that calls the engine only waits for others most of the time.

    What it did not compute, and no thread of the process waited for a core, others computed.
    """
    delay = result.usage.get("run_delay_ns", UNAVAILABLE)
    wall, cpu = sum(result.samples.wall_ns), sum(result.samples.cpu_ns)
    if not isinstance(delay, int) or not cpu or wall < _ELSEWHERE_NS:
        return False
    return wall - delay > _ELSEWHERE * cpu


def session_of(result: JobResult, index: int, steady: int, anchors: Sequence[int]) -> Session:
    """Return what a session brought of one of its models.

    Args:
        result: of the session.
        index: of the model.
        steady: number of leading inferences that were blocks.
        anchors: positions of those of the anchor that belong to this model's blocks.
    """
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
