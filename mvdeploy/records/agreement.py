"""What the files of one run must be to each other: each may be sound and another case's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mvdeploy.records import codec
from mvdeploy.records.job import Samples
from mvdeploy.records.measurement import Session, SessionOrder
from mvdeploy.records.plan import Plan

if TYPE_CHECKING:
    from mvdeploy.records.run import Case, SavedRun

ANCHOR = "yardstick"
"""How the name of the anchor begins in the orders of sessions."""


def problems(saved: SavedRun) -> Iterator[str]:
    """Give what in one file does not fit what is in another, each as a clause."""
    yield from _names(saved)
    for case in saved.cases:
        yield from _parts(case, saved.run.plan)
    yield from _session_pairs(saved)
    yield from _twins(saved.cases)
    yield from _times(saved)


def _names(saved: SavedRun) -> Iterator[str]:
    known = {*saved.run.cases}
    pairs = ([(c.a, c.b) for c in saved.comparisons], [(o.a, o.b) for o in saved.outputs])
    named = {slug for compared in pairs for pair in compared for slug in pair}
    created = (name for order in saved.orders for name in order.created)
    metered = (b.case for b in saved.energy.blocks if b.case) if saved.energy else ()
    others = {*named, *metered, *(n for n in created if not n.startswith(ANCHOR))} - known
    for name in sorted(others):
        yield f"{name!r} took part, but is not among its cases"
    for compared in pairs:
        for a, b in sorted(codec.repeated(compared)):
            yield f"{a!r} and {b!r} are compared twice"


def _parts(case: Case, plan: Plan) -> Iterator[str]:
    measurement, trace, artifact = case.measurement, case.trace, case.artifact
    name = repr(case.slug)
    for part, engine in (("measurement", measurement), ("trace", trace)):
        if engine is not None and engine.engine != case.engine:
            yield f"the {part} of {name} is of {engine.engine!r}, not of {case.engine!r}"
    threads = measurement.conditions.get("threads", plan.threads) if measurement else plan.threads
    if threads not in (plan.threads, *plan.sweep):
        yield f"{name} ran on {threads} threads, but the plan has {plan.threads}"
    if artifact is None:
        return
    for what in ("format", "precision"):
        own, files = getattr(case, what), getattr(artifact, what)
        if own and own != files:  # earlier results do not say it of the case
            yield f"{name} has the {what} {own!r}, but its file has {files!r}"
    # Of a file with others beside it, the runner is sent one, with another checksum.
    measured = measurement.conditions.get("artifact_sha256") if measurement else None
    if (
        measured is not None
        and not (artifact.data or artifact.twin)
        and measured != artifact.sha256
    ):
        yield f"the manifest of {name} is of another file than was measured"


def _session_pairs(saved: SavedRun) -> Iterator[str]:
    """Find pairs of sessions that are not there, or have no samples of their case."""
    sessions = {c.slug: c.measurement.sessions if c.measurement else () for c in saved.cases}
    for comparison in saved.comparisons:
        for slug, side in ((comparison.a, "a"), (comparison.b, "b")):
            own = sessions.get(slug, ())
            numbers = [getattr(pair, side) for pair in comparison.sessions]
            if any(n >= len(own) or not len(own[n].steady) for n in numbers):
                yield f"{slug!r} is compared by sessions that it does not have"


def _twins(cases: Iterable[Case]) -> Iterator[str]:
    """Find samples that two cases share to the nanosecond, as no two measurements do."""
    seen: dict[object, str] = {}
    for case in cases:
        times = (
            case.measurement and case.measurement.steady.wall_ns,
            case.trace and case.trace.profiled_ns,
        )
        for kind, sample in enumerate(times):
            if not sample or len({*sample}) < 3:  # clocks may be too coarse to tell
                continue
            other = seen.setdefault((kind, sample), case.slug)
            if other != case.slug:
                yield f"{case.slug!r} has the times of {other!r}"


def _times(saved: SavedRun) -> Iterator[str]:
    """Hold the samples against the order in which they were taken, and against their sum.

    Of a case that failed, or took turns with one that did, samples of some sessions were left out.
    """
    if not saved.orders or any(case.failure for case in saved.cases):
        return
    kept: dict[int, list[_Part]] = {number: [] for number in range(len(saved.orders))}
    for case in saved.cases:
        sessions = case.measurement.sessions if case.measurement else ()
        turns = saved.turns_of(case.slug)
        orders = {
            number: order.counts()[case.slug]
            for number, order in enumerate(saved.orders)
            if case.slug in order.created
        }
        parts = _aligned([*orders.values()], sessions, turns)
        if parts is None:
            taken = sum(len(session.steady) for session in sessions) + sum(map(len, turns))
            total = sum(orders.values())
            yield f"{case.slug!r} has {taken} inferences, not those of the {total} in order"
            continue
        for number, part in zip(orders, parts, strict=False):
            kept[number].append(part)
    for number, together in kept.items():
        yield from _sums(saved.orders[number], together)


_Part = tuple[Session, Samples]
"""What a session brought of one case, alone and in turns."""


def _aligned(
    orders: Sequence[int], sessions: Sequence[Session], turns: Sequence[Samples]
) -> list[_Part] | None:
    """Put together what each session brought; None when it is not as many as the orders say.

    An order is saved before its blocks, and these before its turns: a run that was killed in
    between has more of the first, and what its last session brought is left out here.

    Args:
        orders: inferences of the case in each session.
        sessions: its blocks.
        turns: its turns, of the sessions that had any.
    """
    parts: list[_Part] = []
    left = iter(turns)
    for number, (count, session) in enumerate(zip(orders, sessions, strict=False)):
        in_turns = count - len(session.steady)
        taken = next(left, None) if in_turns else Samples()
        if taken is None:  # killed
            return (
                parts if in_turns > 0 and number == len(orders) - 1 == len(sessions) - 1 else None
            )
        if len(taken) != in_turns:
            return None
        parts.append((session, taken))
    killed = len(orders) - len(sessions)
    return parts if killed in (0, 1) and next(left, None) is None else None


def _sums(order: SessionOrder, parts: Sequence[_Part]) -> Iterator[str]:
    """Hold what all cases of a session took against what the runner counted."""
    counted = {session.measured_ns for session, _ in parts}
    if len(parts) < len(order.created) or counted == {0}:  # it had an anchor, was killed, or is old
        return
    taken = sum(sum(session.steady.wall_ns) + sum(turns.wall_ns) for session, turns in parts)
    if counted != {taken}:
        names = ", ".join(sorted(order.created))
        yield (
            f"the inferences of {names} in session {order.number + 1} took {taken} ns, but "
            f"{' and '.join(map(str, sorted(counted)))} ns were measured"
        )
