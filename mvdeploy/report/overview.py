"""The answer of a run in a few words: which case wins, by how much, and how sure that is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.rankings import Ranking
from mvdeploy.analysis.ratios import CLOCK_NAMES, ComparisonView
from mvdeploy.analysis.view import View
from mvdeploy.report import prose
from mvdeploy.report.tables.table import tagged
from mvdeploy.report.wording import NAMED, interval_text
from mvdeploy.stats.paired import RatioEstimate
from mvdeploy.stats.reliability import Verdict
from mvdeploy.text_format import clean, count, elide, milliseconds, percent

_NAME_WIDTH = 70
"""Characters of a name in an answer; tables have all of it."""

_NAMED = 4
"""Cases that an answer names; of more it says how many there are."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came out.

    Attributes:
        about: what was asked.
        headline: the answer.
        evidence: how sure it is, and by what.
        grade: whether it can be relied on: a `Grade`'s value; empty when that was not judged.
        decided: whether there is a difference, or nothing that one was looked for in.
        factor: the part of the headline that is the number.
    """

    about: str
    headline: str
    evidence: str
    grade: str = ""
    decided: bool = True
    factor: str = ""

    @property
    def words(self) -> tuple[str, str]:
        """The headline before and after its number."""
        before, _, after = self.headline.partition(self.factor) if self.factor else ("", "", "")
        return (before, after) if self.factor else (self.headline, "")


def answers(view: View) -> tuple[Answer, ...]:
    """Return what a run answers, first what is ranked, then what was held against a reference."""
    ranked = {(r.case.slug) for ranking in view.rankings for r in ranking.cases}
    pairs = [c for c in view.comparisons if not {c.a.slug, c.b.slug} <= ranked]
    by_reference: dict[str, list[ComparisonView]] = {}
    for pair in pairs:
        by_reference.setdefault(pair.a.slug, []).append(pair)
    found = (
        *(_ranking(view, ranking) for ranking in view.rankings),
        *(_against(view, group) for group in by_reference.values()),
    )
    return found or (_alone(view),)


def _ranking(view: View, ranking: Ranking) -> Answer:
    about = f"Which is fastest{f' in {ranking.precision}' if ranking.precision else ''}"
    first, *others = ranking.cases
    known = [(r.case, r.estimate) for r in others if r.estimate is not None]
    if not known:
        return Answer(about, "That cannot be told", "there are too few rounds", decided=False)
    grade = _gravest(r.reliability for r in others)
    close = [case for case, estimate in known if estimate.verdict != "slower"]
    if close:
        fastest = (first.case, *close)
        names = ", ".join(_name(view, case) for case in fastest[:_NAMED])
        more = f" and {len(fastest) - _NAMED} others" if len(fastest) > _NAMED else ""
        headline = f"No difference detected between the fastest: {names}{more}"
        return Answer(about, headline, _evidence(known[0][1]), grade, decided=False)
    second, estimate = known[0]
    factor = prose.times(estimate.ratio)
    rest = f" of {len(ranking.cases)}" if len(ranking.cases) > 2 else ""
    headline = (
        f"{_name(view, first.case)} is fastest{rest}: {factor} as fast as "
        f"{'the next, ' if rest else ''}{_name(view, second)}"
    )
    return Answer(about, headline, _evidence(estimate), grade, factor=factor)


def _against(view: View, pairs: Sequence[ComparisonView]) -> Answer:
    reference = _name(view, pairs[0].a)
    known = [(pair, pair.estimate) for pair in pairs if pair.estimate is not None]
    if len(pairs) == 1:
        about = f"{pairs[0].b.key} against {pairs[0].a.key}"
    else:
        about = f"{count(len(pairs), 'case')} against {pairs[0].a.key}"
    if not known:
        return Answer(about, "That cannot be told", pairs[0].problem, decided=False)
    best, estimate = min(known, key=lambda pair: pair[1].ratio)
    grade = _gravest(pair.reliability for pair, _ in known)
    if len(pairs) == 1:
        headline = prose.outcome(best, estimate, lambda case: _name(view, case))
        decided = estimate.verdict != "no difference detected"
        factor = _factor(estimate) if decided else ""
        return Answer(about, headline, _evidence(estimate), grade, decided, factor)
    evidence = f"{_evidence(estimate)}; {prose.counts(pairs)}"
    if estimate.verdict != "faster":
        evidence = f"closest {best.b.key}: {evidence}"
        return Answer(about, f"None is faster than {reference}", evidence, grade)
    factor = _factor(estimate)
    headline = f"Most gained by {_name(view, best.b)}: {factor} as fast as {reference}"
    return Answer(about, headline, evidence, grade, factor=factor)


def _factor(estimate: RatioEstimate) -> str:
    """Return the number that `prose.outcome` says of a difference."""
    return prose.times(1 / estimate.ratio if estimate.verdict == "faster" else estimate.ratio)


def _alone(view: View) -> Answer:
    measured = [(case, case.timing) for case in view.measured if case.timing]
    if not measured:
        reason = next((case.reason for case in view.cases), "")
        return Answer("Latency", "No case has a latency", reason, decided=False)
    case, timing = min(measured, key=lambda pair: pair[1].wall.p50)
    about = "Median latency (p50)"
    shown = f"{milliseconds(timing.wall.p50)} ms"
    width = (
        f"±{percent(timing.interval.half_width_relative, 2)} within this run"
        if timing.interval
        else "no interval: too few samples"
    )
    grade = str(case.verdict.grade) if case.verdict else ""
    if len(measured) == 1:
        where = "" if len(view.cases) == 1 else f" ({_name(view, case)})"
        return Answer(about, f"{shown}{where}", width, grade, factor=shown)
    slowest, last = max(measured, key=lambda pair: pair[1].wall.p50)
    return Answer(
        about,
        f"From {shown}, {_name(view, case)}, to {milliseconds(last.wall.p50)} ms, "
        f"{_name(view, slowest)}",
        "the cases did not take turns, so which is faster is not judged",
        _gravest(one.verdict for one, _ in measured),
        decided=False,
    )


def _evidence(estimate: RatioEstimate) -> str:
    return (
        f"time ratio {interval_text(estimate)} with {100 * estimate.level:.3g} %, "
        f"{CLOCK_NAMES[estimate.clock]}"
    )


def _name(view: View, case: CaseView) -> str:
    name = case.name if len(view.cases) <= NAMED else tagged(view, case)
    return elide(clean(name), _NAME_WIDTH)


def _gravest(verdicts: Iterable[Verdict | None]) -> str:
    judged: Iterator[Verdict] = (verdict for verdict in verdicts if verdict is not None)
    found = max((verdict.grade for verdict in judged), key=lambda g: g.severity, default=None)
    return "" if found is None else str(found)
