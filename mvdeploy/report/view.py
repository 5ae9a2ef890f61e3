"""`View`: every number of a report, derived once from what was saved.

Renderers read a view and compute nothing, so all formats agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from mvdeploy.records import Breakdown, Run, SavedRun
from mvdeploy.report.cases import CaseView, case_views
from mvdeploy.report.findings import WordedFinding, word_all
from mvdeploy.report.ratios import ComparisonView, Difference, comparison_views, differences
from mvdeploy.report.signs import case_findings, run_findings


# Compared by identity, so that drawn figures can be kept for it.
@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """A run as reports show it.

    Attributes:
        run: the conditions that all cases share.
        cases: every case, also failed ones and those the run did not come to.
        comparisons: pairs of cases that took turns.
        differences: breakdowns side by side.
        findings: gravest first.
    """

    run: Run
    cases: tuple[CaseView, ...]
    comparisons: tuple[ComparisonView, ...]
    differences: tuple[Difference, ...]
    findings: tuple[WordedFinding, ...]

    @property
    def measured(self) -> tuple[CaseView, ...]:
        """The cases with a latency."""
        return tuple(case for case in self.cases if case.timing)

    @property
    def profiled(self) -> tuple[CaseView, ...]:
        """The cases with a breakdown."""
        return tuple(case for case in self.cases if case.shares)

    @property
    def threads(self) -> int:
        """Inference threads of every case."""
        return self.run.plan.threads

    def findings_of(self, case: CaseView) -> tuple[WordedFinding, ...]:
        """Return the findings about one case."""
        return tuple(f for f in self.findings if case.name in f.subjects)


def view_of(saved: SavedRun, breakdowns: Mapping[str, Breakdown]) -> View:
    """Derive the view of a run.

    Args:
        saved: the run.
        breakdowns: where the latency goes, by slug of the case.
    """
    cases = case_views(saved, breakdowns)
    by_slug = {case.slug: case for case in cases}
    comparisons = comparison_views(saved.comparisons, by_slug, saved.run.plan.threads)
    return View(
        run=saved.run,
        cases=cases,
        comparisons=comparisons,
        differences=differences(comparisons, cases),
        findings=word_all(
            run_findings(saved.run, cases, len(comparisons)),
            tuple((case.name, case_findings(case)) for case in cases),
        ),
    )
