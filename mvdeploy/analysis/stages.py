"""What an app waits for around the inference, stage by stage, and the engine's share of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from mvdeploy.analysis.cases import CaseView
from mvdeploy.records import Finding, Level, Stages
from mvdeploy.records.stages import INFERENCE, TITLES
from mvdeploy.stats.interval import Interval, median_interval
from mvdeploy.stats.middle import middle_half
from mvdeploy.stats.percentiles import percentile

BETWEEN = "between"
"""The part of a pass in which no stage runs: what calls them, and reads the clock."""

PART_TITLES = {**TITLES, BETWEEN: "between the stages"}


@dataclasses.dataclass(frozen=True)
class Part:
    """A stage, or the time between the stages.

    Attributes:
        key: in `PART_TITLES`.
        p50: median over all passes, nanoseconds.
        interval: of it, within this run; None with too few passes.
        ns: mean over the passes whose total is in the middle half: parts add up to that of the
            total.
        share: of that total.
    """

    key: str
    p50: float
    interval: Interval | None
    ns: float
    share: float

    @property
    def title(self) -> str:
        """In words."""
        return PART_TITLES[self.key]


@dataclasses.dataclass(frozen=True)
class StagesView:
    """The pipeline of a case.

    Attributes:
        record: what was timed.
        parts: the stages in order, then the time between them.
        p50: median of the whole passes, nanoseconds.
        interval: of it, within this run.
        ns: mean of the passes in the middle half; the parts' `ns` add up to it.
        plain_p50: median of the passes in which no stage was timed.
        plain_interval: of it, within this run.
        passes: that were timed by stage.
        shares: the engine's share of the passes, of each session.
    """

    record: Stages
    parts: tuple[Part, ...]
    p50: float
    interval: Interval | None
    ns: float
    plain_p50: float
    plain_interval: Interval | None
    passes: int
    shares: tuple[float, ...]

    def part(self, key: str) -> Part:
        """Return a part by its key."""
        return next(part for part in self.parts if part.key == key)

    @property
    def inference(self) -> Part:
        """The engine's part."""
        return self.part(INFERENCE)

    @property
    def cost_of_timing(self) -> float:
        """How much longer a pass takes because its stages are timed, as a share."""
        return self.p50 / self.plain_p50 - 1


def stages_view(case: CaseView) -> StagesView | None:
    """Derive the pipeline of a case; None where it was not timed."""
    record = case.case.stages
    if record is None or not record.sessions:
        return None
    totals = [s.total_ns for s in record.sessions]
    series = {
        name: [session.stages[name] for session in record.sessions]
        for name in record.sessions[0].stages
    }
    series[BETWEEN] = [
        tuple(
            whole - sum(parts)
            for whole, *parts in zip(session.total_ns, *session.stages.values(), strict=True)
        )
        for session in record.sessions
    ]
    all_totals = _together(totals)
    chosen = middle_half(all_totals)
    whole = sum(all_totals[at] for at in chosen) / len(chosen)
    plain = [s.plain_ns for s in record.sessions]
    return StagesView(
        record=record,
        parts=tuple(_part(key, one, chosen, whole) for key, one in series.items()),
        p50=percentile(all_totals, 50),
        interval=median_interval(totals),
        ns=whole,
        plain_p50=percentile(_together(plain), 50),
        plain_interval=median_interval(plain),
        passes=len(all_totals),
        shares=tuple(
            _share(session.stages[INFERENCE], session.total_ns) for session in record.sessions
        ),
    )


def _part(key: str, sessions: Sequence[Sequence[int]], chosen: Sequence[int], whole: float) -> Part:
    times = _together(sessions)
    ns = sum(times[at] for at in chosen) / len(chosen)
    return Part(key, percentile(times, 50), median_interval(sessions), ns, ns / whole)


def _together(sessions: Sequence[Sequence[int]]) -> list[int]:
    return [time for session in sessions for time in session]


def _share(part: Sequence[int], total: Sequence[int]) -> float:
    chosen = middle_half(total)
    return sum(part[at] for at in chosen) / sum(total[at] for at in chosen)


def findings(case: CaseView) -> Iterator[Finding]:
    """Give what is wrong with a pipeline: another answer, or parts that are not those of a pass."""
    record = case.case.stages
    if record is None or not record.sessions:
        return
    if not record.agrees:
        said, wanted = (
            ", ".join(str(one.number) for one in found[:5]) or "nothing"
            for found in (record.said, record.wanted)
        )
        values: dict[str, str | int | float] = {
            "percent": 100 * record.difference,
            "said": said,
            "wanted": wanted,
        }
        yield Finding("pipeline_differs", Level.ERROR, values)
    view = stages_view(case)
    if view is not None and _apart(view):
        cost = 100 * abs(view.cost_of_timing)
        yield Finding("stages_cost_time", Level.WARNING, {"percent": cost})


def _apart(view: StagesView) -> bool:
    """Say whether passes with timed stages are known to be others than those without."""
    timed, plain = view.interval, view.plain_interval
    if timed is None or plain is None or abs(view.cost_of_timing) <= _COST:
        return False
    return timed.low > plain.high or plain.low > timed.high


_COST = 0.05
"""From this share on, passes with timed stages are not those without."""
