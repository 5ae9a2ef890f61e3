"""What the first answer after a start takes, and what of it takes longest."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mvdeploy.analysis.cases import CaseView
from mvdeploy.records.first_run import FirstRun, Start
from mvdeploy.stats.interval import Interval
from mvdeploy.stats.percentiles import percentile
from mvdeploy.stats.ranks import median_by_ranks

READING, BUILDING, FIRST = "reading", "building", "first"

PART_TITLES = {
    READING: "reading the file",
    BUILDING: "building the session",
    FIRST: "the first inference",
}


@dataclasses.dataclass(frozen=True)
class Known:
    """A median of a few starts, nanoseconds, and its interval; None with too few for one."""

    p50: float
    interval: Interval | None


@dataclasses.dataclass(frozen=True)
class KindView:
    """The starts of one kind.

    Attributes:
        count: how many.
        imported: importing the engine's library; None where it is built in.
        load: from the file to a session.
        first: the first inference.
        second: the one after; None where there was one only.
        answered: load and first inference together.
    """

    count: int
    imported: Known | None
    load: Known
    first: Known
    second: Known | None
    answered: Known


@dataclasses.dataclass(frozen=True)
class FirstRunView:
    """The starts of a case.

    Attributes:
        record: what was timed.
        warm: with the file in the system's cache.
        cold: without; None where that was not possible.
        reading: how much longer load and first inference take without the file in the cache, by
            pairs of starts that followed each other; None without cold starts.
        steady_p50: median latency; None where it is not known.
    """

    record: FirstRun
    warm: KindView
    cold: KindView | None
    reading: Known | None
    steady_p50: float | None

    @property
    def reading_is_seen(self) -> bool:
        """Whether reading the file takes more time than starts differ by anyway."""
        known = self.reading
        return known is not None and known.interval is not None and known.interval.low > 0

    @property
    def parts(self) -> dict[str, Known]:
        """What the first answer takes, longest first, by key of `PART_TITLES`."""
        found = {BUILDING: self.warm.load, FIRST: self.warm.first}
        if self.reading is not None and self.reading_is_seen:
            found[READING] = self.reading
        return dict(sorted(found.items(), key=lambda pair: -pair[1].p50))

    @property
    def longest(self) -> str:
        """The key of the part that takes longest; empty where its interval meets another's."""
        (key, first), *others = self.parts.items()
        for _, other in others:
            if first.interval is None or other.interval is None:
                return ""
            if first.interval.low <= other.interval.high:
                return ""
        return key

    @property
    def first_to_steady(self) -> float | None:
        """The first inference divided by a steady one."""
        return self.warm.first.p50 / self.steady_p50 if self.steady_p50 else None


def first_run_view(case: CaseView) -> FirstRunView | None:
    """Derive the starts of a case; None where there are none."""
    record = case.case.first_run
    if record is None:
        return None
    warm, cold = record.of(cold=False), record.of(cold=True)
    longer = [a.answered_ns - b.answered_ns for a, b in zip(cold, warm, strict=False)]
    return FirstRunView(
        record=record,
        warm=_kind(warm),
        cold=_kind(cold) if cold else None,
        reading=_known(longer) if longer else None,
        steady_p50=case.timing.wall.p50 if case.timing else None,
    )


def _kind(starts: Sequence[Start]) -> KindView:
    imports = [start.import_ns for start in starts if start.import_ns is not None]
    seconds = [start.inferences_ns[1] for start in starts if len(start.inferences_ns) > 1]
    return KindView(
        count=len(starts),
        imported=_known(imports) if imports else None,
        load=_known([start.load_ns for start in starts]),
        first=_known([start.first_ns for start in starts]),
        second=_known(seconds) if seconds else None,
        answered=_known([start.answered_ns for start in starts]),
    )


def _known(values: Sequence[float]) -> Known:
    return Known(percentile(values, 50), median_by_ranks(values))
