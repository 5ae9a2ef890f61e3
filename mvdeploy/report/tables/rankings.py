"""Which engine is fastest, and how sure that is."""

from __future__ import annotations

from mvdeploy.analysis.rankings import Ranked, Ranking
from mvdeploy.analysis.ratios import CLOCK_NAMES
from mvdeploy.analysis.view import View
from mvdeploy.report.tables.table import Column, Table, about, text
from mvdeploy.report.wording import interval_text, ratio_text
from mvdeploy.stats.paired import SESSIONS_METHOD
from mvdeploy.text_format import NONE, milliseconds, percent


def ranking(view: View, ranked: Ranking) -> Table:
    """Show cases of several engines, the fastest first."""
    precision = f" in {ranked.precision}" if ranked.precision else ""
    columns = ("p50, ms", "time ÷ that of the first", "interval")
    rated = _rated(view, ranked)
    return Table(
        f"Which is fastest{precision}",
        (
            *map(text, ("Case", "Engine")),
            *map(Column, columns),
            *map(text, ("verdict", "reliability")),
            *([Column("of the core's rate")] if rated else []),
        ),
        tuple((*_row(view, case), *rated.get(case.case.slug, ())) for case in ranked.cases),
        note=(
            f"Sessions of the engines took turns, by {CLOCK_NAMES[ranked.clock]}: "
            f"{SESSIONS_METHOD}. Each interval holds with "
            f"{percent(ranked.level)}, so that those of all pairs of cases hold together with 95 %."
        ),
        cases=about(case.case for case in ranked.cases),
    )


def _rated(view: View, ranked: Ranking) -> dict[str, tuple[str]]:
    """Return what share of a core's rate each case uses; empty where that is known of none."""
    known = {found.case.slug: percent(found.share, 0) for found in view.rooflines}
    slugs = [one.case.slug for one in ranked.cases]
    return {slug: (known.get(slug, NONE),) for slug in slugs} if known.keys() & {*slugs} else {}


def _row(view: View, ranked: Ranked) -> tuple[str, ...]:
    case, estimate = ranked.case, ranked.estimate
    wall = case.timing.wall.p50 if case.timing else None
    alike = len({other.label for other in view.cases}) == 1
    named = case.key if alike else f"{case.key}: {case.label}"
    head = (named, case.engine or NONE, milliseconds(wall))
    if estimate is None:
        return (*head, *[NONE] * 4)
    return (
        *head,
        ratio_text(estimate),
        interval_text(estimate),
        estimate.verdict,
        ranked.reliability.grade if ranked.reliability else NONE,
    )
