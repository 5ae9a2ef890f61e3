from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvdeploy.analysis.baselines import baseline_of, counterpart, estimate_ratio
from mvdeploy.analysis.comparability import conditions_of
from mvdeploy.analysis.view import View, view_of
from mvdeploy.errors import UsageError
from mvdeploy.records import Case, Failure, Samples, SavedRun
from mvdeploy.records.baseline import load_baseline, save_baseline


def test_it_holds_what_was_measured(two: Any) -> None:
    view = view_of(two.saved, two.breakdowns)
    baseline, run = baseline_of(view), view.run
    assert (baseline.name, baseline.created, baseline.mvdeploy) == (
        run.name,
        run.created,
        run.mvdeploy,
    )
    for kept, case in zip(baseline.cases, view.cases, strict=True):
        measured = case.case.measurement
        assert measured is not None
        assert (kept.slug, kept.label) == (case.slug, case.case.label)
        assert kept.conditions == conditions_of(case, run.plan)
        assert kept.sessions == tuple(s.steady.wall_ns for s in measured.sessions)
        assert kept.loads_ns == tuple(s.load_ns for s in measured.sessions)
        assert kept.firsts_ns == tuple(s.first.wall_ns[0] for s in measured.sessions)
        assert kept.peak_memory_bytes == measured.peak_memory_bytes
        total = two.breakdowns[case.slug].total_ns
        assert sum(kept.parts_ns.values()) == pytest.approx(total)


def test_it_survives_a_file(two: Any, tmp_path: Path) -> None:
    baseline = baseline_of(view_of(two.saved, two.breakdowns))
    save_baseline(baseline, tmp_path / "b.json")
    assert load_baseline(tmp_path / "b.json") == baseline


def test_cases_without_a_result_are_left_out(trouble: Any) -> None:
    baseline = baseline_of(view_of(trouble.saved, trouble.breakdowns))
    assert [c.slug for c in baseline.cases] == ["drifting", "plain"]
    assert baseline.cases[0].firsts_ns == ()
    assert baseline.cases[1].parts_ns == {}


def test_a_case_that_failed_half_way_is_left_out(two: Any) -> None:
    a, b = two.saved.cases
    half = dataclasses.replace(a, failure=Failure("The runner died.", "Try again.", 4))
    saved = dataclasses.replace(two.saved, cases=(half, b))
    assert [c.slug for c in baseline_of(view_of(saved, {})).cases] == ["b"]


def test_sessions_without_samples_keep_their_load_times(two: Any) -> None:
    a = two.saved.cases[0]
    first, *others = a.measurement.sessions
    turns = dataclasses.replace(first, steady=Samples(), first=Samples())
    a = dataclasses.replace(
        a, measurement=dataclasses.replace(a.measurement, sessions=(turns, *others))
    )
    kept = baseline_of(view_of(SavedRun(two.saved.run, (a,)), {})).cases[0]
    assert (len(kept.sessions), len(kept.loads_ns), len(kept.firsts_ns)) == (3, 4, 3)


@pytest.mark.parametrize(
    ("cases", "reason"),
    [
        ((), "The run ended before this case's turn"),
        ((Case("a", "x", "e"),), "It was not measured"),
        ((Case("a", "x", "e", failure=Failure("It\nbroke.", "Mend.", 4)),), "It broke"),
    ],
)
def test_without_a_measured_case_there_is_none(
    two: Any, cases: tuple[Case, ...], reason: str
) -> None:
    run = dataclasses.replace(two.saved.run, cases=("a",))
    with pytest.raises(UsageError, match="the run measured nothing") as caught:
        baseline_of(view_of(SavedRun(run, cases), {}))
    assert f": {reason}." in caught.value.message
    assert caught.value.remedy


def test_turns_make_no_baseline(two: Any) -> None:
    cases = tuple(
        dataclasses.replace(c, measurement=dataclasses.replace(c.measurement, sessions=()))
        for c in two.saved.cases
    )
    with pytest.raises(UsageError, match="measured nothing: It only took turns with another case"):
        baseline_of(view_of(dataclasses.replace(two.saved, cases=cases), {}))


def test_a_run_without_cases_has_none(two: Any) -> None:
    run = dataclasses.replace(two.saved.run, cases=())
    with pytest.raises(UsageError, match=r"nothing: it has no cases\. "):
        baseline_of(view_of(SavedRun(run, ()), {}))


def only(view: View, *slugs: str) -> View:
    return dataclasses.replace(view, cases=tuple(c for c in view.cases if c.slug in slugs))


def test_counterparts(two: Any) -> None:
    baseline = baseline_of(view_of(two.saved, two.breakdowns))
    a, b = baseline.cases
    assert counterpart(b, 2, baseline) is b
    renamed = dataclasses.replace(b, slug="new")
    assert counterpart(renamed, 2, baseline) is None
    assert counterpart(renamed, 1, baseline) is None
    alone = dataclasses.replace(baseline, cases=(a,))
    assert counterpart(b, 2, alone) is None
    assert counterpart(b, 1, alone) is a


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("p50", 2), ("p90", 3), ("p95", 3), ("p99", 3), ("mean", 2.2), ("load", 5), ("first", 7)],
)
def test_every_metric_compares_its_own_times(two: Any, metric: str, expected: float) -> None:
    a = baseline_of(view_of(two.saved, two.breakdowns)).cases[0]
    rng = np.random.default_rng(0)
    session = (1000,) * 100
    slower = (2000,) * 80 + (3000,) * 20
    loads = tuple((1000 + rng.integers(0, 5, 4)).tolist())
    a = dataclasses.replace(a, sessions=(session,) * 3, loads_ns=loads, firsts_ns=loads)
    b = dataclasses.replace(
        a,
        sessions=(slower,) * 2,
        loads_ns=tuple(5 * t for t in loads),
        firsts_ns=tuple(7 * t for t in loads),
    )
    assert estimate_ratio(metric, a, b).ratio == pytest.approx(expected)
    assert estimate_ratio(metric, b, a).ratio == pytest.approx(1 / expected)


@pytest.mark.parametrize("metric", ["p50", "mean", "load", "first"])
def test_too_few_sessions_is_a_value_error(two: Any, metric: str) -> None:
    a = baseline_of(view_of(two.saved, two.breakdowns)).cases[0]
    few = dataclasses.replace(a, sessions=a.sessions[:1], loads_ns=(1,), firsts_ns=())
    with pytest.raises(ValueError, match="two or more sessions"):
        estimate_ratio(metric, few, a)
    with pytest.raises(ValueError, match="two or more sessions"):
        estimate_ratio(metric, a, few)
