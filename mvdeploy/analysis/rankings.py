"""`Ranking`: cases of several engines whose sessions took turns, the fastest first.

Each case is held against the fastest by the rounds that both took part in. Which one is fastest is
seen in the same samples, so each interval is as wide as it takes for all pairs of the ranking to be
right together (Bonferroni): that the best of several equal cases looks fast by luck is in it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from mvdeploy.analysis.cases import CaseView, cpu_complete
from mvdeploy.analysis.ratios import sessions_of
from mvdeploy.records import Comparison, Plan, SessionPair
from mvdeploy.stats.paired import Clock, RatioEstimate, choose_clock, of_sessions, ratio
from mvdeploy.stats.reliability import Verdict, judge_comparison, threads_of

_ERROR = 0.05
"""Probability that any pair of a ranking of equal cases is called different."""


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A case among others.

    Attributes:
        case: the case.
        estimate: its time divided by that of the fastest; None for the fastest itself, and where
            there is none.
        reliability: whether that can be relied on; None where there is none.
    """

    case: CaseView
    estimate: RatioEstimate | None
    reliability: Verdict | None = None


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Cases that are compared with each other.

    Attributes:
        cases: the fastest first.
        clock: which times decide.
        level: confidence of each interval; all of them together have 95 %.
    """

    cases: tuple[Ranked, ...]
    clock: Clock
    level: float

    @property
    def precision(self) -> str:
        """What the cases compute in."""
        return " and ".join(dict.fromkeys(r.case.precision for r in self.cases if r.case.precision))

    @property
    def winner(self) -> CaseView | None:
        """The case that is faster than each other one; None where that is not sure."""
        first, *others = self.cases
        sure = all(r.estimate is not None and r.estimate.verdict == "slower" for r in others)
        return first.case if others and sure else None


def rankings(
    comparisons: Sequence[Comparison], cases: Mapping[str, CaseView], plan: Plan
) -> tuple[Ranking, ...]:
    """Rank the cases that were compared session by session with the same reference.

    Args:
        comparisons: of the run.
        cases: by slug.
        plan: of the run.
    """
    stars: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        if comparison.sessions and {comparison.a, comparison.b} <= cases.keys():
            stars.setdefault(comparison.a, []).append(comparison)
    return tuple(_Star(star, cases, plan).ranking() for star in stars.values())


Place = tuple[int, int]
"""A session of a case: its number, and which process of the round it was in."""


class _Star:
    """Cases that have a reference in common."""

    def __init__(
        self, comparisons: Sequence[Comparison], cases: Mapping[str, CaseView], plan: Plan
    ) -> None:
        self._cases, self._plan = cases, plan
        self._slugs = [comparisons[0].a, *(c.b for c in comparisons)]
        # The reference was in every round: its session tells which ones belong together.
        self._rounds: dict[int, dict[str, Place]] = {}
        for comparison in comparisons:
            for pair in comparison.sessions:
                places = self._rounds.setdefault(pair.a, {comparison.a: (pair.a, pair.at_a)})
                places[comparison.b] = (pair.b, pair.at_b)
        views = [cases[slug] for slug in self._slugs]
        threads = max(threads_of(view.case.measurement, plan) for view in views)
        complete = all(cpu_complete(view.case) for view in views)
        self._clock = choose_clock(threads, cpu_complete=complete).clock
        self._level = 1 - _ERROR / math.comb(len(views), 2)

    def ranking(self) -> Ranking:
        estimates = {slug: self._estimate(self._slugs[0], slug) for slug in self._slugs[1:]}
        times = {slug: found.ratio for slug, found in estimates.items() if found is not None}
        times[self._slugs[0]] = 1.0
        ordered = sorted(self._slugs, key=lambda slug: times.get(slug, math.inf))
        ranked = [Ranked(self._cases[ordered[0]], None)]
        for slug in ordered[1:]:
            estimate = self._estimate(ordered[0], slug)
            judged = judge_comparison(estimate, self._plan.pair_target) if estimate else None
            ranked.append(Ranked(self._cases[slug], estimate, judged))
        return Ranking(tuple(ranked), self._clock, self._level)

    def _estimate(self, a: str, b: str) -> RatioEstimate | None:
        """Return the time of B divided by that of A; None when that cannot be told."""
        both = [p for _, p in sorted(self._rounds.items()) if a in p and b in p]
        pairs = [SessionPair(p[a][0], p[b][0], p[a][1], p[b][1]) for p in both]
        groups = of_sessions(pairs, *(sessions_of(self._cases[slug]) for slug in (a, b)))
        try:
            return ratio(groups, self._clock, level=self._level)
        except ValueError:  # too few rounds, or times of zero
            return None
