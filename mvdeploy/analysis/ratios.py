"""`ComparisonView`: two cases that took turns, and where their difference comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from mvdeploy.analysis.cases import CaseView, cpu_complete
from mvdeploy.records import Comparison, Plan, Session
from mvdeploy.stats.paired import (
    Clock,
    ClockChoice,
    RatioEstimate,
    choose_clock,
    clock_of,
    of_sessions,
    ratio,
)
from mvdeploy.stats.reliability import Verdict, judge_comparison, threads_of

CLOCK_NAMES: dict[Clock, str] = {"wall": "wall time", "cpu": "CPU time"}


@dataclasses.dataclass(frozen=True)
class ComparisonView:
    """Two cases that took turns.

    Attributes:
        a: the reference.
        b: the other.
        choice: which clock decides, and why.
        estimate: the ratio by that clock; None when there is none.
        other: the ratio by the other clock, where it means something.
        reliability: whether the ratio can be relied on; None when there is none.
        problem: why there is no ratio; empty when there is one.
        apart: whether their sessions took turns, each in a process of its own, and not their
            inferences in one process.
    """

    a: CaseView
    b: CaseView
    choice: ClockChoice
    estimate: RatioEstimate | None
    other: RatioEstimate | None
    reliability: Verdict | None
    problem: str
    apart: bool = False

    @property
    def name(self) -> str:
        """What is compared with what."""
        return f"{self.b.name} ÷ {self.a.name}"


@dataclasses.dataclass(frozen=True)
class DifferenceRow:
    """A part of the latency in two cases.

    Attributes:
        key: of the part; empty for the whole latency.
        title: of the part.
        a_ns: nanoseconds in the reference.
        b_ns: nanoseconds in the other.
        change: the difference, as a share of the reference's whole latency.
    """

    key: str
    title: str
    a_ns: float
    b_ns: float
    change: float


@dataclasses.dataclass(frozen=True)
class Difference:
    """Where the difference between two cases comes from.

    Attributes:
        a: the reference.
        b: the other.
        rows: parts of the latency; the last row is the sum of the others.
        paired: whether B's latency is A's times the paired ratio, so that the rows add up to the
            difference that was found in turns; otherwise to that of the two medians.
    """

    a: CaseView
    b: CaseView
    rows: tuple[DifferenceRow, ...]
    paired: bool


def comparison_views(
    comparisons: Sequence[Comparison], cases: Mapping[str, CaseView], plan: Plan
) -> tuple[ComparisonView, ...]:
    """Derive every comparison whose two cases are in the run."""
    return tuple(
        _comparison_view(c, cases[c.a], cases[c.b], plan)
        for c in comparisons
        if c.a in cases and c.b in cases
    )


def differences(
    comparisons: Sequence[ComparisonView], cases: Sequence[CaseView]
) -> tuple[Difference, ...]:
    """Set the breakdowns of compared cases side by side; without comparisons, first and others."""
    profiled = [case for case in cases if case.breakdown]
    pairs = [(c.a, c.b, c.estimate) for c in comparisons]
    pairs = pairs or [(profiled[0], b, None) for b in profiled[1:]]
    return tuple(
        difference_of(a, b, estimate) for a, b, estimate in pairs if a.breakdown and b.breakdown
    )


def difference_of(a: CaseView, b: CaseView, estimate: RatioEstimate | None) -> Difference:
    """Set two breakdowns side by side; `estimate` is their paired ratio, if there is one."""
    before, after = a.breakdown, b.breakdown
    if before is None or after is None:
        raise ValueError("a difference needs two breakdowns")
    # Two medians wander apart with the machine; the paired ratio does not.
    total = after.total_ns if estimate is None else before.total_ns * estimate.ratio
    scale = total / after.total_ns if after.total_ns else 1.0
    rows = [
        (p.key, p.title, p.ns, q.ns * scale) for p, q in zip(before.parts, after.parts, strict=True)
    ]
    rows.append(("", "Latency", before.total_ns, total))
    whole = before.total_ns or 1.0
    return Difference(
        a,
        b,
        tuple(DifferenceRow(*row, change=(row[3] - row[2]) / whole) for row in rows),
        paired=estimate is not None,
    )


def _comparison_view(
    comparison: Comparison, a: CaseView, b: CaseView, plan: Plan
) -> ComparisonView:
    groups, apart = comparison.groups, not comparison.groups
    if apart:
        groups = tuple(of_sessions(comparison.sessions, sessions_of(a), sessions_of(b)))
    threads = max(threads_of(case.case.measurement, plan) for case in (a, b))
    choice = clock_of(groups, threads)
    if not (cpu_complete(a.case) and cpu_complete(b.case)):
        choice = choose_clock(threads, cpu_complete=False)
    try:
        estimate = ratio(groups, choice.clock)
        other = ratio(groups, "wall") if choice.clock == "cpu" else None
    except ValueError as error:
        # Too little data is no fault of the report: the reader gets the reason instead.
        return ComparisonView(a, b, choice, None, None, None, str(error), apart)
    reliability = judge_comparison(estimate, plan.pair_target)
    return ComparisonView(a, b, choice, estimate, other, reliability, "", apart)


def sessions_of(case: CaseView) -> Sequence[Session]:
    """Return the sessions in which a case was measured."""
    return case.case.measurement.sessions if case.case.measurement else ()
