"""`View`: every number of a report, derived once from what was saved.

Renderers read a view and compute nothing, so all formats agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from mvdeploy.analysis.breakdown_view import KINDS, category_titles
from mvdeploy.analysis.cases import CaseView, case_views, devices_of
from mvdeploy.analysis.derived_findings import case_findings, run_findings, verdict_findings
from mvdeploy.analysis.energy import EnergyView, energy_findings, energy_view, of_cases
from mvdeploy.analysis.engine_differences import EngineDifference, engine_differences
from mvdeploy.analysis.findings import ViewFinding, collect
from mvdeploy.analysis.rankings import Ranking, rankings
from mvdeploy.analysis.ratios import ComparisonView, Difference, comparison_views, differences
from mvdeploy.analysis.rooflines import Roofline, rooflines
from mvdeploy.analysis.sustained import SustainedView, sustained_views
from mvdeploy.records import Breakdown, Device, OutputComparison, Run, Samples, SavedRun
from mvdeploy.stats.reliability import Verdict


@dataclasses.dataclass(frozen=True)
class OutputsView:
    """How the outputs of two cases differ.

    Attributes:
        a: the reference.
        b: the other.
        found: the record.
    """

    a: CaseView
    b: CaseView
    found: OutputComparison


# Compared by identity, so that drawn figures can be kept for it.
@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """A run as reports show it.

    Attributes:
        run: the conditions that all cases share.
        cases: every case, also failed ones and those the run did not come to.
        comparisons: pairs of cases that took turns.
        rankings: cases of several engines, the fastest first.
        rooflines: how much of the machine's measured rate cases use.
        outputs: how the outputs of files differ, of those that are compared.
        differences: breakdowns side by side.
        engines: the same network on two engines, module by module.
        findings: gravest first.
        categories: into which latencies are divided: ids with their titles, in order; kinds of
            operators where nothing has a category.
        sustained: cases that ran without a pause.
        energy: what an inference of each case takes; None where that was not asked for.
    """

    run: Run
    cases: tuple[CaseView, ...]
    comparisons: tuple[ComparisonView, ...]
    rankings: tuple[Ranking, ...]
    rooflines: tuple[Roofline, ...]
    outputs: tuple[OutputsView, ...]
    differences: tuple[Difference, ...]
    engines: tuple[EngineDifference, ...]
    findings: tuple[ViewFinding, ...]
    categories: dict[str, str]
    sustained: tuple[SustainedView, ...] = ()
    energy: EnergyView | None = None

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices that cases ran on, in order; that of the run when it has no case."""
        return devices_of(self.run, self.cases)

    @property
    def measured(self) -> tuple[CaseView, ...]:
        """The cases with a latency."""
        return tuple(case for case in self.cases if case.timing)

    @property
    def profiled(self) -> tuple[CaseView, ...]:
        """The cases with a breakdown."""
        return tuple(case for case in self.cases if case.breakdown)

    @property
    def by_kind(self) -> bool:
        """Whether nothing in the run has a category: kinds of operators take their place."""
        return self.categories == KINDS

    @property
    def threads(self) -> tuple[int, ...]:
        """Numbers of inference threads of the cases, each once."""
        usual = self.run.plan.threads
        return tuple(dict.fromkeys(case.case.threads or usual for case in self.cases)) or (usual,)

    @property
    def verdicts(self) -> tuple[tuple[str, Verdict], ...]:
        """Every latency and every ratio that was judged: its name, and how it was judged."""
        latencies = [(case.name, case.verdict) for case in self.cases if case.verdict]
        ratios = [(c.name, c.reliability) for c in self.comparisons if c.reliability]
        return (*latencies, *ratios)

    def findings_of(self, case: CaseView) -> tuple[ViewFinding, ...]:
        """Return the findings about one case."""
        return tuple(f for f in self.findings if case.name in f.subjects)


def view_of(
    saved: SavedRun,
    breakdowns: Mapping[str, Breakdown],
    engine_titles: Mapping[str, str] | None = None,
) -> View:
    """Derive the view of a run.

    Args:
        saved: the run.
        breakdowns: where the latency goes, by slug of the case.
        engine_titles: what engines are called, by name; others go by their names.
    """
    artifacts = [case.artifact for case in saved.cases if case.artifact]
    categories = category_titles(artifacts, breakdowns.values())
    cases = case_views(saved, breakdowns, categories, engine_titles)
    by_slug = {case.slug: case for case in cases}
    comparisons = comparison_views(saved.comparisons, by_slug, saved.run.plan)
    energy = energy_view(saved.energy, cases, saved.comparisons) if saved.energy else None
    return View(
        run=saved.run,
        cases=cases,
        comparisons=comparisons,
        rankings=rankings(saved.comparisons, by_slug, saved.run.plan),
        rooflines=rooflines(cases, saved.run.plan),
        outputs=tuple(
            OutputsView(by_slug[found.a], by_slug[found.b], found)
            for found in saved.outputs
            if found.a in by_slug and found.b in by_slug
        ),
        differences=differences(comparisons, cases),
        engines=engine_differences(comparisons, cases),
        findings=collect(
            (
                *run_findings(saved.run, cases, len(comparisons), metered=saved.energy is not None),
                *(energy_findings(energy) if energy else ()),
            ),
            (
                *(
                    (case.name, case_findings(case, sum(saved.turns_of(case.slug), Samples())))
                    for case in cases
                ),
                *(
                    (c.name, tuple(verdict_findings(c.reliability)))
                    for c in comparisons
                    if c.reliability
                ),
                *(of_cases(energy) if energy else ()),
            ),
        ),
        categories=categories,
        sustained=sustained_views(cases, saved.run.plan),
        energy=energy,
    )
