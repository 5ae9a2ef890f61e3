"""Sessions that are planned before anything is known of the device, and what came of them.

Where no program is there to look at the first inferences and go on from these, as in a page that is
kept, the order of all inferences is settled beforehand: the same blocks and turns as in other
sessions (`mvdeploy.timing.schedule`), for networks that take about as long as those of phones.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Mapping, Sequence

from mvdeploy.errors import EngineError
from mvdeploy.records import (
    Comparison,
    DeviceState,
    Job,
    JobModel,
    JobResult,
    Measurement,
    PairGroup,
    Plan,
    SessionOrder,
)
from mvdeploy.timing import schedule
from mvdeploy.timing.case import Entry, Progress
from mvdeploy.timing.sessions import session_of

_PACE_NS = 25_000_000.0
"""What an inference is taken to last."""

STEPS = 500
"""Steps of the clock in an inference without which cases are not compared.

By a clock of steps a time may be wrong by one step, the ratio of two times of so many by 0.4 %:
about the least that a comparison by wall time finds.
"""


def probes(models: Sequence[JobModel], plan: Plan, outputs_to: str) -> tuple[Job, ...]:
    """Return the job of each case alone, which leaves its outputs."""
    return tuple(
        Job((dataclasses.replace(model, outputs_to=outputs_to),), (), plan.threads, plan.warmup)
        for model in models
    )


def sessions(models: Sequence[JobModel], plan: Plan) -> tuple[tuple[Job, int], ...]:
    """Return the jobs of sessions that cases share, each with its number of inferences in blocks.

    Args:
        models: of one engine.
        plan: with a number of iterations.
    """
    planned = []
    paces = [_PACE_NS] * len(models)
    for number, count in enumerate(schedule.split(plan.iterations or 0, plan.sessions)):
        rng = random.Random(f"{plan.seed}/{number}")
        turns = count if len(models) > 1 else 0
        order = schedule.session_schedule([count] * len(models), paces, turns, rng)
        created = schedule.creation_order(len(models), number, plan.seed)
        position = {case: i for i, case in enumerate(created)}
        job = Job(
            models=tuple(models[case] for case in created),
            order=tuple(position[case] for case in order.order),
            threads=plan.threads,
            warmup=plan.warmup,
            warmup_order=tuple(rng.sample(range(len(models)), len(models))),
        )
        planned.append((job, order.steady))
    return tuple(planned)


@dataclasses.dataclass(frozen=True)
class Seen:
    """A session that was run.

    Attributes:
        started_at: ISO 8601, UTC.
        job: what was done.
        steady: inferences in blocks.
        result: what came of it.
    """

    started_at: str
    job: Job
    steady: int
    result: JobResult


@dataclasses.dataclass(frozen=True)
class Gathered:
    """What planned sessions brought.

    Attributes:
        measurements: by case.
        comparisons: paired samples; none where the clock is too coarse for them.
        orders: of the sessions, with the turns only where these are compared.
        failures: why cases have no result.
        step_ns: the largest step of the clock.
        shares: of each case, that step as a share of an inference.
    """

    measurements: Mapping[str, Measurement]
    comparisons: tuple[Comparison, ...]
    orders: tuple[SessionOrder, ...]
    failures: Mapping[str, EngineError]
    step_ns: float
    shares: Mapping[str, float]


def gather(
    entries: Sequence[Entry],
    probed: Sequence[JobResult],
    seen: Sequence[Seen],
    plan: Plan,
    states: tuple[DeviceState, DeviceState],
) -> Gathered:
    """Put together what sessions brought that were planned beforehand.

    Args:
        entries: the cases that ran alone.
        probed: what came of that, one for each of them.
        seen: the sessions, in order.
        plan: as they were run.
        states: of the device before and after.
    """
    runs = [Progress(entry, probe, states[0]) for entry, probe in zip(entries, probed, strict=True)]
    results = [*probed, *(session.result for session in seen)]
    step_ns = max((_step_ns(result) for result in results), default=0.0)
    shares = {run.entry.slug: step_ns / max(run.estimate_ns, 1.0) for run in runs}
    compared = len(runs) > 1 and max(shares.values()) <= 1 / STEPS
    failures: dict[str, EngineError] = {}
    groups: dict[tuple[str, str], list[PairGroup]] = {}
    orders: list[SessionOrder] = []
    for number, session in enumerate(seen):
        places = {model.path: index for index, model in enumerate(session.job.models)}
        of_run = [places[run.entry.model.path] for run in runs]
        for run, index in zip(runs, of_run, strict=True):
            model = session.result.models[index]
            try:
                run.entry.check_outputs(model)
            except EngineError as error:
                failures.setdefault(run.entry.slug, error)
            run.check_checksum(model, number + 1)
            run.sessions.append(session_of(session.result, index, session.steady, ()))
        if compared:
            for run, index in itertools.islice(zip(runs, of_run, strict=True), 1, None):
                pair = runs[0].entry.slug, run.entry.slug
                groups.setdefault(pair, []).append(_pairs(session, of_run[0], index))
        orders.append(_order(number, session, runs, places, turns=compared))
    return Gathered(
        {run.entry.slug: run.measurement(plan, states[1]) for run in runs},
        tuple(Comparison(a, b, tuple(found)) for (a, b), found in groups.items()),
        tuple(orders) if compared or len(runs) == 1 else (),
        failures,
        step_ns,
        shares,
    )


def _pairs(session: Seen, a: int, b: int) -> PairGroup:
    return PairGroup(
        first_created=1 if a < b else -1,
        a=session.result.samples_of(a, session.steady),
        b=session.result.samples_of(b, session.steady),
        block_a=1,
        block_b=1,
    )


def _order(
    number: int, session: Seen, runs: Sequence[Progress], places: Mapping[str, int], *, turns: bool
) -> SessionOrder:
    names = {places[run.entry.model.path]: run.entry.slug for run in runs}
    order = session.job.order if turns else session.job.order[: session.steady]
    lengths = tuple((index, len([*same])) for index, same in itertools.groupby(order))
    return SessionOrder(number, session.started_at, tuple(names[i] for i in sorted(names)), lengths)


def _step_ns(result: JobResult) -> float:
    clock = result.hello.get("clock", {}).get("wall", {})
    step = clock.get("resolution_s", 0.0)
    return 1e9 * step if isinstance(step, int | float) else 0.0
