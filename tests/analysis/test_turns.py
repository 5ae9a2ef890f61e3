"""Reports of runs whose cases only took turns."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from rich.console import Console

from mvdeploy.analysis.view import View, view_of
from mvdeploy.records import Plan, Samples, SavedRun
from mvdeploy.report import document, prose
from mvdeploy.report.renderers.json import as_json
from mvdeploy.report.renderers.terminal import show
from mvdeploy.report.wording import unreliable


@pytest.fixture
def turns(two: Any) -> View:
    """The run of two cases without the blocks of either."""
    saved: SavedRun = two.saved
    cases = []
    for case in saved.cases:
        sessions = tuple(
            dataclasses.replace(s, steady=Samples()) for s in case.measurement.sessions
        )
        measurement = dataclasses.replace(case.measurement, sessions=sessions)
        cases.append(dataclasses.replace(case, measurement=measurement))
    plan = Plan(session_time_s=0.0)
    run = dataclasses.replace(saved.run, plan=plan)
    return view_of(dataclasses.replace(saved, run=run, cases=tuple(cases)), two.breakdowns)


def test_latencies_are_those_of_turns(turns: View) -> None:
    (comparison,) = turns.comparisons
    for case in turns.cases:
        assert case.timing is not None and case.timing.in_turns
        assert case.verdict is None
        assert case.timing.wall.count == comparison.estimate.pairs  # type: ignore[union-attr]
    codes = {finding.code for finding in turns.findings}
    assert "latency_in_turns" in codes
    assert not codes & {"drift", "preempted", "wide_interval"}


def test_the_comparison_comes_first(turns: View) -> None:
    title = document.title(turns)
    assert title.startswith(f"{turns.cases[1].name} compared with {turns.cases[0].name} on ")
    said = prose.summary(turns)
    assert said[1] == prose.comparison(turns.comparisons[0])
    assert said[2].startswith("Median latency in turns")


def test_only_the_ratio_is_judged(turns: View) -> None:
    ((name, verdict),) = turns.verdicts
    assert name == turns.comparisons[0].name
    found = as_json(turns)
    assert [case["reliability"] for case in found["cases"]] == [None, None]
    assert found["comparisons"][0]["reliability"]["verdict"] == verdict.grade


def test_the_difference_adds_up_to_the_ratio(turns: View) -> None:
    (difference,) = turns.differences
    estimate = turns.comparisons[0].estimate
    assert estimate is not None and difference.paired
    *parts, total = difference.rows
    assert total.b_ns == pytest.approx(total.a_ns * estimate.ratio)
    assert sum(p.b_ns - p.a_ns for p in parts) == pytest.approx(total.b_ns - total.a_ns)
    assert sum(p.change for p in parts) == pytest.approx(estimate.ratio - 1)


def test_the_terminal_shows_it_on_80_columns(turns: View) -> None:
    out = io.StringIO()
    show(turns, Console(file=out, width=80))
    text = out.getvalue()
    assert text.index("ratio") < text.index("Latency in turns")
    assert "decides, because" in " ".join(text.split())
    assert "From A to B" in text
    assert max(map(len, text.splitlines())) <= 80


def test_an_unreliable_ratio_is_listed_with_its_reason(two: Any) -> None:
    plan = dataclasses.replace(two.saved.run.plan, pair_target=1e-9)
    run = dataclasses.replace(two.saved.run, plan=plan)
    found = view_of(dataclasses.replace(two.saved, run=run), two.breakdowns)
    name = found.comparisons[0].name
    (line,) = [line for line in unreliable(found) if line.startswith(name)]
    assert line.startswith(f"{name} is unreliable: The ratio is known to ±")


def test_no_sample_at_all_is_no_latency(turns: View) -> None:
    saved = SavedRun(turns.run, tuple(case.case for case in turns.cases))
    for case in view_of(saved, {}).cases:
        assert case.timing is None
        assert case.reason == "No inference was measured."
