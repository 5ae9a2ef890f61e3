"""`View`: every number of a report, derived once from what was saved.

Renderers read a view and compute nothing, so all formats agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from mvdeploy.records import Breakdown, Run, SavedRun
from mvdeploy.report.cases import CaseView, case_views
from mvdeploy.report.engines import EngineDifference, engine_differences
from mvdeploy.report.findings import WordedFinding, word_all
from mvdeploy.report.ratios import ComparisonView, Difference, comparison_views, differences
from mvdeploy.report.signs import case_findings, run_findings, verdict_findings
from mvdeploy.stats.reliability import Grade, Verdict


# Compared by identity, so that drawn figures can be kept for it.
@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """A run as reports show it.

    Attributes:
        run: the conditions that all cases share.
        cases: every case, also failed ones and those the run did not come to.
        comparisons: pairs of cases that took turns.
        differences: breakdowns side by side.
        engines: the same network on two engines, module by module.
        findings: gravest first.
    """

    run: Run
    cases: tuple[CaseView, ...]
    comparisons: tuple[ComparisonView, ...]
    differences: tuple[Difference, ...]
    engines: tuple[EngineDifference, ...]
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

    @property
    def verdicts(self) -> tuple[tuple[str, Verdict], ...]:
        """Every latency and every ratio that was judged: its name, and how it was judged."""
        latencies = [(case.name, case.verdict) for case in self.cases if case.verdict]
        ratios = [(c.name, c.reliability) for c in self.comparisons if c.reliability]
        return (*latencies, *ratios)

    @property
    def unreliable(self) -> tuple[str, ...]:
        """One line on every result that is unreliable, with the reasons."""
        return tuple(
            f"{name} is unreliable: {' '.join(self._reasons(name, verdict))}"
            for name, verdict in self.verdicts
            if verdict.grade is Grade.UNRELIABLE
        )

    def _reasons(self, name: str, verdict: Verdict) -> Iterator[str]:
        codes = [s.code for s in verdict.reasons if s.grade is Grade.UNRELIABLE]
        for finding in self.findings:
            if name in finding.subjects and finding.code in codes:
                yield finding.sentence

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
    comparisons = comparison_views(saved.comparisons, by_slug, saved.run.plan)
    return View(
        run=saved.run,
        cases=cases,
        comparisons=comparisons,
        differences=differences(comparisons, cases),
        engines=engine_differences(comparisons, cases),
        findings=word_all(
            run_findings(saved.run, cases, len(comparisons)),
            (
                *((case.name, case_findings(case)) for case in cases),
                *(
                    (c.name, tuple(verdict_findings(c.reliability)))
                    for c in comparisons
                    if c.reliability
                ),
            ),
        ),
    )
