"""Which engine is fastest, and how sure that is."""

from __future__ import annotations

from mvdeploy.analysis.rankings import Ranked, Ranking
from mvdeploy.analysis.ratios import CLOCK_NAMES
from mvdeploy.analysis.view import View
from mvdeploy.report.tables.table import Column, Table, tagged, text
from mvdeploy.report.wording import interval_text, ratio_text
from mvdeploy.stats.paired import SESSIONS_METHOD
from mvdeploy.text_format import NONE, milliseconds, percent


def ranking(view: View, ranked: Ranking) -> Table:
    """Show cases of several engines, the fastest first."""
    precision = f" in {ranked.precision}" if ranked.precision else ""
    columns = ("p50, ms", "time ÷ that of the first", "interval")
    return Table(
        f"Which is fastest{precision}",
        (
            *map(text, ("Case", "Engine")),
            *map(Column, columns),
            *map(text, ("verdict", "reliability")),
            Column("of the core's rate"),
        ),
        tuple(_row(view, case) for case in ranked.cases),
        note=(
            f"Sessions of the engines took turns, by {CLOCK_NAMES[ranked.clock]}: "
            f"{SESSIONS_METHOD}. Each interval holds with "
            f"{percent(ranked.level)}, so that those of all pairs of cases hold together with 95 %."
        ),
    )


def _row(view: View, ranked: Ranked) -> tuple[str, ...]:
    case, estimate = ranked.case, ranked.estimate
    wall = case.timing.wall.p50 if case.timing else None
    used = next((r.share for r in view.rooflines if r.case is case), None)
    head = (tagged(view, case), case.case.engine or NONE, milliseconds(wall))
    share = percent(used, 0) if used is not None else NONE
    if estimate is None:
        return (*head, *[NONE] * 4, share)
    return (
        *head,
        ratio_text(estimate),
        interval_text(estimate),
        estimate.verdict,
        ranked.reliability.grade if ranked.reliability else NONE,
        share,
    )
