"""Which of several engines is fastest."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from mvdeploy.analysis.rankings import Ranking
from mvdeploy.analysis.view import View, view_of
from mvdeploy.records import Comparison, Measurement, Run, Samples, SavedRun, SessionPair
from mvdeploy.records.agreement import problems
from mvdeploy.report import document, prose
from mvdeploy.report.renderers.json import as_json
from mvdeploy.report.renderers.terminal import show

ROUNDS = 10


def measured(like: Measurement, seed: int, ms: float, sd: float) -> Measurement:
    rng = np.random.default_rng(seed)
    sessions = []
    for _ in range(ROUNDS):
        level = ms * float(np.exp(rng.normal(0, sd)))
        cpu = (level * 1e6 * np.exp(rng.normal(0, 0.01, 40))).astype(int)
        steady = Samples(tuple((cpu + cpu // 20).tolist()), tuple(cpu.tolist()))
        sessions.append(dataclasses.replace(like.sessions[0], created=0, steady=steady))
    return dataclasses.replace(like, sessions=tuple(sessions))


def run_of(two: Any, ms: tuple[float, ...], sd: float = 0.004, rounds: int = ROUNDS) -> SavedRun:
    like = two.saved.cases[0]
    slugs = tuple(f"c{i}" for i in range(len(ms)))
    cases = tuple(
        dataclasses.replace(
            like,
            slug=slug,
            label=slug,
            measurement=measured(like.measurement, i, ms[i], sd),
        )
        for i, slug in enumerate(slugs)
    )
    comparisons = tuple(
        Comparison(
            "c0",
            slug,
            (),
            tuple(
                SessionPair(n, n, *((0, i) if n % 2 else (len(ms), len(ms) - i)))
                for n in range(rounds)
            ),
        )
        for i, slug in enumerate(slugs)
        if i
    )
    run: Run = dataclasses.replace(two.saved.run, cases=slugs)
    return SavedRun(run, cases, comparisons)


def view(saved: SavedRun) -> View:
    return view_of(saved, {})


def ranking(saved: SavedRun) -> Ranking:
    (found,) = view(saved).rankings
    return found


def test_the_fastest_comes_first_and_the_others_by_their_ratio(two: Any) -> None:
    found = ranking(run_of(two, (10.0, 8.0, 9.0)))
    assert [ranked.case.slug for ranked in found.cases] == ["c1", "c2", "c0"]
    first, *others = found.cases
    assert first.estimate is None
    ratios = [ranked.estimate.ratio for ranked in others if ranked.estimate]
    assert ratios == pytest.approx([9 / 8, 10 / 8], rel=0.01)
    assert found.winner is first.case
    assert found.clock == "cpu"


def test_a_winner_has_to_be_sure(two: Any) -> None:
    found = ranking(run_of(two, (10.0, 10.0, 14.0), sd=0.02))
    assert found.winner is None
    said = prose.ranking(found)
    assert said.startswith("No difference detected in fp32 between the fastest: ")
    assert "c2" not in said


def test_all_pairs_are_right_together(two: Any) -> None:
    assert ranking(run_of(two, (10.0, 11.0))).level == pytest.approx(0.95)
    # Five cases make ten pairs.
    assert ranking(run_of(two, (10.0, 11.0, 12.0, 13.0, 14.0))).level == pytest.approx(0.995)


def test_of_equal_cases_one_is_seldom_called_the_fastest(two: Any) -> None:
    rng = np.random.default_rng(0)
    template = run_of(two, (10.0,) * 4)
    wrong = 0
    for _ in range(120):
        seeds = rng.integers(0, 2**31, 4)
        cases = tuple(
            dataclasses.replace(c, measurement=measured(c.measurement, int(s), 10.0, 0.01))
            for c, s in zip(template.cases, seeds, strict=True)
        )
        found = ranking(dataclasses.replace(template, cases=cases))
        wrong += any(r.estimate and r.estimate.verdict == "slower" for r in found.cases)
    assert wrong <= 12


def test_too_few_rounds_are_no_verdict(two: Any) -> None:
    found = ranking(run_of(two, (10.0, 8.0), rounds=2))
    assert [ranked.estimate for ranked in found.cases] == [None, None]
    assert found.winner is None
    assert "too few rounds" in prose.ranking(found)


def test_wall_time_decides_where_other_threads_compute(two: Any) -> None:
    saved = run_of(two, (10.0, 8.0))
    case = saved.cases[1]
    conditions = {**case.measurement.conditions, "threads": 2}  # type: ignore[union-attr]
    threaded = dataclasses.replace(
        case,
        measurement=dataclasses.replace(case.measurement, conditions=conditions),  # type: ignore[type-var]
    )
    plan = dataclasses.replace(saved.run.plan, sweep=(2,))
    run = dataclasses.replace(saved.run, plan=plan)
    found = ranking(dataclasses.replace(saved, run=run, cases=(saved.cases[0], threaded)))
    assert found.clock == "wall"


def test_every_report_says_it(two: Any) -> None:
    found = view(run_of(two, (10.0, 8.0, 9.0)))
    tables = [b.title for s in document.sections(found) for b in s.blocks if hasattr(b, "title")]
    assert "Which is fastest in fp32" in tables
    out = io.StringIO()
    show(found, Console(file=out, width=120))
    assert "Fastest in fp32: onnxruntime (B)" in out.getvalue()
    (told,) = as_json(found)["rankings"]
    assert told["winner"] == "c1"
    assert [case["slug"] for case in told["cases"]] == ["c1", "c2", "c0"]
    assert "10 pairs of sessions" in as_json(found)["comparisons"][0]["summary"]


def test_sessions_that_are_not_there_are_no_whole_run(two: Any) -> None:
    saved = run_of(two, (10.0, 8.0))
    assert not [p for p in problems(saved) if "sessions" in p]
    (comparison,) = saved.comparisons
    broken = dataclasses.replace(comparison, sessions=(SessionPair(0, ROUNDS, 0, 1),))
    assert any(
        "'c1' is compared by sessions that it does not have" in problem
        for problem in problems(dataclasses.replace(saved, comparisons=(broken,)))
    )
