"""What is measured of a study beside what is published, on made-up runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from mvdeploy.analysis.study import Ratio, StudyView, study_view_of
from mvdeploy.analysis.view import View
from mvdeploy.records.study import Published, Study, StudyPart, StudyRow, StudyRun, StudyWay
from tests.saved_runs import Story, two_cases


def latency(values: Mapping[str, float], device: str = "") -> Published:
    return Published("latency", "Elsewhere", "ms", "an abacus", "table 1", dict(values), device)


def study_of(*published: Published, rows: tuple[str, ...] = ("A", "B"), **changes: object) -> Study:
    named = tuple(StudyRow(name, model="mobilevit_xxs") for name in rows)
    usual = Study("A study", "A paper", "", "A", named, published)
    return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]


def viewed(study: Study, runs: tuple[View, ...], **slugs: str) -> StudyView:
    cases = {row: (slug,) for row, slug in slugs.items()}
    names = tuple(f"run-{number}" for number in range(len(runs)))
    saved = StudyRun("s", study, "2026", {}, (StudyWay("onnx", "fp32"),), cases, names)
    return study_view_of(saved, runs)


@pytest.fixture(scope="module")
def run() -> View:
    """A run of cases ``a`` and ``b``, b taking about 0.886 of a's time."""
    return view_for(two_cases())


def view_for(story: Story) -> View:
    from mvdeploy.analysis.view import view_of

    return view_of(story.saved, story.breakdowns)


def test_ratios_are_those_of_the_turns(run: View) -> None:
    (way,) = viewed(study_of(), (run,), A="a", B="b").ways
    a, b = way.entries
    assert a.ratio == Ratio(1.0)
    (pair,) = run.comparisons
    assert pair.estimate is not None and b.ratio is not None
    assert (b.ratio.value, b.ratio.low) == (pair.estimate.ratio, pair.estimate.low)
    assert b.ratio.value == pytest.approx(0.886, rel=0.02)


def test_without_turns_the_ratio_is_that_of_the_medians_of_one_run(run: View) -> None:
    alone = dataclasses.replace(run, comparisons=())
    (way,) = viewed(study_of(), (alone,), A="a", B="b").ways
    a, b = way.entries
    assert a.ns and b.ns and b.ratio == Ratio(b.ns / a.ns)


def test_numbers_of_another_device_are_compared_as_ratios(run: View) -> None:
    numbers = latency({"A": 2000.0, "B": 1000.0}, device="iphone12")
    (way,) = viewed(study_of(numbers), (run,), A="a", B="b").ways
    (found,) = way.agreements
    assert not found.same_device and found.worst == "B"
    assert found.difference == pytest.approx(0.886 / 0.5, rel=0.02)
    assert (found.told, found.contradicted) == (1, ())
    assert found.rank is None  # of two rows every order is one


def test_numbers_of_the_same_device_are_compared_as_they_are(run: View) -> None:
    numbers = latency({"A": 5.0, "B": 9.0}, device="host")
    (way,) = viewed(study_of(numbers), (run,), A="a", B="b").ways
    (found,) = way.agreements
    entry = way.entries[1]
    assert entry.ns is not None and found.same_device
    assert found.worst == "B" and found.difference == pytest.approx(entry.ns / 1e6 / 9.0)
    assert found.contradicted == (("B", "A"),)


def test_rows_that_are_hardly_told_apart_have_no_order(run: View) -> None:
    (way,) = viewed(study_of(latency({"A": 8.23, "B": 8.30})), (run,), A="a", B="b").ways
    assert way.agreements[0].told == 0


def test_ranks_are_correlated_from_three_rows_on(run: View) -> None:
    numbers = latency({"A": 3.0, "B": 2.0, "C": 3.0})
    study = study_of(numbers, rows=("A", "B", "C"))
    (way,) = viewed(study, (run,), A="a", B="b", C="a").ways
    assert way.agreements[0].rank == pytest.approx(1.0)
    same = study_of(latency({"A": 3.0, "B": 3.0, "C": 3.0}), rows=("A", "B", "C"))
    (way,) = viewed(same, (run,), A="a", B="b", C="a").ways
    assert way.agreements[0].rank is None


def test_shares_add_up_and_are_compared_in_points(run: View) -> None:
    parts = (StudyPart("Attention", ("attention",)), StudyPart("FFN", ("ffn",)))
    numbers = Published("share", "FFN", "%", "an abacus", "t", {"A": 50.0}, part="FFN")
    study = study_of(numbers, divided="category", parts=parts)
    (way,) = viewed(study, (run,), A="a", B="b").ways
    for entry, case in zip(way.entries, run.cases, strict=True):
        assert sum(entry.shares.values()) + entry.other + entry.unattributed == pytest.approx(1)
        assert case.breakdown is not None
        by_key = {part.key: part.share for part in case.breakdown.parts}
        assert entry.shares == {"Attention": by_key["attention"], "FFN": by_key["ffn"]}
    a = way.entries[0]
    assert 0.01 < a.unattributed < 0.1
    ours = 100 * a.shares["FFN"] / (1 - a.unattributed)
    assert way.agreements[0].difference == pytest.approx(ours - 50)


def test_kinds_of_operators_add_up_too(run: View) -> None:
    parts = (StudyPart("Small", ("Softmax", "LayerNorm", "Activation")),)
    (way,) = viewed(study_of(divided="kind", parts=parts), (run,), A="a", B="b").ways
    for entry in way.entries:
        assert sum(entry.shares.values()) + entry.other + entry.unattributed == pytest.approx(1)
        assert 0 < entry.shares["Small"] < 0.5 < entry.other


def test_none_is_faster_and_more_accurate_than_the_front(run: View) -> None:
    def front(a: float, b: float) -> tuple[str, ...]:
        accuracy = Published("accuracy", "Top-1", "%", "photographs", "t", {"A": a, "B": b})
        return viewed(study_of(accuracy), (run,), A="a", B="b").ways[0].front

    assert front(70, 71) == ("B",)
    assert front(71, 70) == ("A", "B")


def test_a_row_that_failed_and_one_that_waits_say_so() -> None:
    story = two_cases()
    a, b = story.saved.cases
    from mvdeploy.records import Failure

    b = dataclasses.replace(b, measurement=None, failure=Failure("No kernel.", "Wait.", 4))
    failed = view_for(Story(dataclasses.replace(story.saved, cases=(a, b)), {}))
    study = study_of(latency({"A": 1.0, "B": 2.0, "C": 1.0}), rows=("A", "B", "C"))
    (way,) = viewed(study, (failed,), A="a", B="b", C="c").ways
    assert [entry.reason for entry in way.entries] == [
        "",
        "No kernel.",
        "It has not been measured yet.",
    ]
    assert way.agreements[0].rows == ("A",)
    assert [entry.ratio for entry in way.entries] == [Ratio(1.0), None, None]


def test_nothing_measured_is_no_fault() -> None:
    view = viewed(study_of(latency({"A": 1.0})), (), A="a", B="b")
    assert view.device is None
    assert view.ways[0].front == () and view.ways[0].agreements[0].rows == ()


def test_the_reference_speaks_from_the_first_run_that_has_it(run: View) -> None:
    story = two_cases()
    _, b = story.saved.cases
    empty = view_for(Story(dataclasses.replace(story.saved, cases=(b,), comparisons=()), {}))
    (way,) = viewed(study_of(), (empty, run), A="a", B="b").ways
    assert way.entries[0].ns == run.cases[0].timing.wall.p50  # type: ignore[union-attr]
