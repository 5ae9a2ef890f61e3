"""What a run has no end of is told, and nothing of a run that is whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mvdeploy.analysis.view import View, view_of
from mvdeploy.records import Finding, Level, Plan, SavedRun, Stages, Sustained
from tests.analysis.test_sustained import series
from tests.saved_runs import Story
from tests.staged import session, started, timed


def told(view: View) -> str:
    """Return what is said not to be finished; empty for nothing."""
    found = [f.finding.values["what"] for f in view.findings if f.finding.code == "unfinished"]
    assert len(found) < 2
    return str(found[0]) if found else ""


def planned(view: View, *findings: Finding, **fields: Any) -> View:
    """The view of the same run, of which its first case is left, with another plan."""
    case = view.run.cases[0]
    (first, *_) = [view_case.case for view_case in view.cases if view_case.case.slug == case]
    measured = first.measurement
    assert measured is not None
    measured = dataclasses.replace(measured, findings=(*measured.findings, *findings))
    plan = dataclasses.replace(view.run.plan, **fields)
    run = dataclasses.replace(view.run, cases=(case,), plan=plan)
    return view_of(SavedRun(run, (dataclasses.replace(first, measurement=measured),)), {})


def test_a_pipeline_has_as_many_sessions_as_were_asked_for(two: Story) -> None:
    view = timed(two, sessions=(session(1), session(2)))
    assert told(planned(view, pipeline=True, sessions=2, iterations=None)) == ""
    three = planned(view, pipeline=True, sessions=3, iterations=None)
    assert told(three) == "the whole pipeline of mobilevit_xxs 2,2,2"
    assert told(planned(view, pipeline=True, sessions=3, iterations=2)) == ""
    assert told(planned(view, pipeline=False, sessions=3)) == ""


def test_what_says_itself_why_there_is_none_is_not_unfinished(two: Story) -> None:
    none = timed(two, sessions=(), unavailable="a phone has no Python")
    assert told(planned(none, pipeline=True)) == ""
    failed = Finding("first_run_failed", Level.WARNING, {"reason": "it crashed"})
    view = started(two, starts=3)
    assert told(planned(view, starts=9)) == "the first runs of mobilevit_xxs 2,2,2"
    assert told(planned(view, starts=3)) == ""
    assert told(planned(view, failed, starts=9)) == ""
    assert isinstance(none.cases[0].case.stages, Stages)


def test_energy_that_was_asked_for_and_never_begun(two: Story) -> None:
    assert told(planned(timed(two), energy=True)) == "the energy"


@pytest.mark.parametrize(
    ("intervals", "ended", "expected"),
    [
        (18, "", ""),
        (17, "", ""),
        (9, "", "the sustained load of mobilevit_xxs 2,2,2"),
        (9, "It was interrupted.", ""),
        (0, "", "the sustained load of mobilevit_xxs 2,2,2"),
    ],
)
def test_a_load_that_was_killed_is_told(
    two: Story, intervals: int, ended: str, expected: str
) -> None:
    load = Sustained(
        "2026-01-01T00:00:00+00:00",
        180.0,
        10.0,
        0.001,
        intervals=series([8.0] * intervals) if intervals else (),
        ended=ended,
    )
    first = dataclasses.replace(two.saved.cases[0], sustained=load)
    run = dataclasses.replace(
        two.saved.run, cases=(first.slug,), plan=Plan(sustained_s=180.0, interval_s=10.0)
    )
    assert told(view_of(SavedRun(run, (first,)), {})) == expected
