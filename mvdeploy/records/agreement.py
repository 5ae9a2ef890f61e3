"""What the files of one run must be to each other: each may be sound and another case's."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mvdeploy.records import codec

if TYPE_CHECKING:
    from mvdeploy.records.run import Case, SavedRun

ANCHOR = "yardstick"
"""How the name of the anchor begins in the orders of sessions."""


def problems(saved: SavedRun) -> Iterator[str]:
    """Give what in one file does not fit what is in another, each as a clause."""
    yield from _names(saved)
    for case in saved.cases:
        yield from _parts(case)
    yield from _twins(saved.cases)
    yield from _times(saved)


def _names(saved: SavedRun) -> Iterator[str]:
    known = {*saved.run.cases}
    pairs = ([(c.a, c.b) for c in saved.comparisons], [(o.a, o.b) for o in saved.outputs])
    named = {slug for compared in pairs for pair in compared for slug in pair}
    created = (name for order in saved.orders for name in order.created)
    others = {*named, *(name for name in created if not name.startswith(ANCHOR))} - known
    for name in sorted(others):
        yield f"{name!r} took part, but is not among its cases"
    for compared in pairs:
        for a, b in sorted(codec.repeated(compared)):
            yield f"{a!r} and {b!r} are compared twice"


def _parts(case: Case) -> Iterator[str]:
    measurement, trace, artifact = case.measurement, case.trace, case.artifact
    name = repr(case.slug)
    for part, engine in (("measurement", measurement), ("trace", trace)):
        if engine is not None and engine.engine != case.engine:
            yield f"the {part} of {name} is of {engine.engine!r}, not of {case.engine!r}"
    if artifact is None:
        return
    for what in ("format", "precision"):
        own, files = getattr(case, what), getattr(artifact, what)
        if own and own != files:  # earlier results do not say it of the case
            yield f"{name} has the {what} {own!r}, but its file has {files!r}"
    # Of a file with others beside it, the runner is sent one, with another checksum.
    measured = measurement.conditions.get("artifact_sha256") if measurement else None
    if measured and not (artifact.data or artifact.twin) and measured != artifact.sha256:
        yield f"the manifest of {name} is of another file than was measured"


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
    """Hold the samples against the order in which they were taken.

    An order is saved before its samples, so a run that was killed may have one session more of the
    one than of the other. Of a case that failed, or took turns with one that did, the samples of
    some sessions were left out.
    """
    if not saved.orders or any(case.failure for case in saved.cases):
        return
    for case in saved.cases:
        if case.measurement is None:
            continue
        taken = _taken(saved, case)
        ran: dict[int, int] = collections.defaultdict(int)
        for order in saved.orders:
            if case.slug in order.created:
                ran[order.number] += order.counts()[case.slug]
        total, last = sum(ran.values()), ran[max(ran, default=0)]
        if not total - last <= taken <= total:
            yield f"{case.slug!r} has {taken} inferences, but {total} were run"


def _taken(saved: SavedRun, case: Case) -> int:
    """Return the number of samples of a case, alone and in turns."""
    alone = len(case.measurement.steady) if case.measurement else 0
    return alone + sum(map(len, saved.turns_of(case.slug)))
