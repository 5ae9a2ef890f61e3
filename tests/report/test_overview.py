"""The answer of a run in a few words."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mvdeploy.analysis.view import View, view_of
from mvdeploy.records import Comparison, PairGroup, Samples, SavedRun
from mvdeploy.report import overview, prose
from mvdeploy.stats.reliability import Grade
from mvdeploy.text_format import percent
from tests.analysis.test_rankings import run_of
from tests.saved_runs import groups, several_cases, two_cases


def ranked(two: Any, *ms: float, **more: Any) -> View:
    return view_of(run_of(two, ms, **more), {})


def test_a_winner_is_named_with_its_factor_and_interval(two: Any) -> None:
    (answer,) = overview.answers(view := ranked(two, 5.0, 4.0, 5.6))
    estimate = view.rankings[0].cases[1].estimate
    assert estimate is not None
    assert answer.factor == f"{estimate.ratio:.2f}×"
    assert answer.headline == f"B: c1 is fastest of 3: {answer.factor} as fast as the next, A: c0"
    assert f"{estimate.low:.3f}–{estimate.high:.3f} with 98.3 %, CPU time" in answer.evidence
    assert answer.decided and answer.grade in set(Grade)
    assert "".join((answer.words[0], answer.factor, answer.words[1])) == answer.headline


def test_a_tie_is_called_one(two: Any) -> None:
    (answer,) = overview.answers(ranked(two, 5.0, 5.0, sd=0.02))
    assert not answer.decided and not answer.factor
    assert answer.headline.startswith("No difference detected between the fastest: ")
    assert answer.words == (answer.headline, "")


def test_too_few_rounds_are_told(two: Any) -> None:
    (answer,) = overview.answers(ranked(two, 5.0, 4.0, rounds=1))
    assert not answer.decided
    assert "cannot be told" in answer.headline


@pytest.mark.parametrize(
    ("factor", "words", "decided"),
    [
        (0.8, "is 1.25× as fast as", True),
        (1.25, "takes 1.25× as long as", True),
        (1.0, "No difference detected", False),
    ],
)
def test_two_that_took_turns(factor: float, words: str, decided: bool) -> None:
    story = two_cases()
    pairs = groups(3, factor)
    if factor == 1.0:  # the same samples on both sides
        pairs = tuple(dataclasses.replace(g, b=g.a) for g in pairs)
    saved = dataclasses.replace(story.saved, comparisons=(Comparison("a", "b", pairs),))
    (answer,) = overview.answers(view_of(saved, {}))
    assert words in answer.headline
    assert answer.decided == decided
    assert answer.factor in answer.headline


def test_many_are_counted_against_their_reference(view_for: Any) -> None:
    story = several_cases(5)
    times = (0.7, 0.9, 1.2, 1.3)
    saved = dataclasses.replace(
        story.saved,
        comparisons=tuple(
            Comparison("c0", f"c{i}", groups(i, factor)) for i, factor in enumerate(times, 1)
        ),
    )
    view = view_of(saved, {})
    (answer,) = overview.answers(view)
    best = view.comparisons[0].estimate
    assert best is not None
    assert answer.about == "4 cases against A"
    assert answer.headline.startswith("Most gained by B: ")
    assert f": {1 / best.ratio:.2f}× as fast as A: " in answer.headline
    assert answer.evidence.endswith("2 faster, 2 slower, of 4 cases")
    assert f"B ({prose.evidence(best)})" in prose.compared(view)[0]


def test_a_comparison_without_samples_is_not_decided() -> None:
    story = two_cases()
    empty = PairGroup(1, Samples(), Samples())
    saved = dataclasses.replace(story.saved, comparisons=(Comparison("a", "b", (empty,)),))
    (answer,) = overview.answers(view_of(saved, {}))
    assert answer.headline == "That cannot be told" and not answer.decided
    assert answer.evidence


def test_one_case_is_its_median(single: Any, view_for: Any) -> None:
    view = view_for(single)
    (answer,) = overview.answers(view)
    timing = view.cases[0].timing
    assert answer.headline == answer.factor == f"{timing.wall.p50 / 1e6:.3f} ms"
    assert answer.evidence.startswith(f"±{percent(timing.interval.half_width_relative, 2)}")


def test_nothing_measured_says_why(trouble: Any) -> None:
    failed = SavedRun(trouble.saved.run, trouble.saved.cases[:1])
    (answer,) = overview.answers(view_of(failed, {}))
    assert answer.headline == "No case has a latency"
    assert answer.evidence == "The runner was killed (out of memory)."


@pytest.mark.parametrize("count", [1, 2, 4, 8, 50])
def test_summaries_are_at_most_ten_sentences(count: int, view_for: Any) -> None:
    assert 2 <= len(prose.summary(view_for(several_cases(count)))) <= 10
