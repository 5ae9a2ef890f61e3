"""What the first answer after a start costs, and what of it takes longest."""

from __future__ import annotations

import pytest

from mvdeploy.analysis.first_run import BUILDING, FIRST, READING, first_run_view
from mvdeploy.report import first_run as prose
from tests.saved_runs import Story
from tests.staged import started


def test_reading_is_what_starts_without_the_file_in_the_cache_take_longer(two: Story) -> None:
    case, other = started(two).cases
    assert first_run_view(other) is None
    found = first_run_view(case)
    assert found is not None and found.reading is not None and found.cold is not None
    assert found.reading.p50 == pytest.approx(20e6, rel=0.1)
    assert [*found.parts] == [BUILDING, READING, FIRST]
    assert found.longest == BUILDING
    assert found.warm.load.interval is not None
    assert found.warm.load.interval.low < found.warm.load.p50 < found.warm.load.interval.high
    assert found.first_to_steady == pytest.approx(9 / 5.12, rel=0.05)


def test_reading_that_starts_do_not_show_is_no_part(two: Story) -> None:
    view = started(two, cold_ms=40.0)
    found = first_run_view(view.cases[0])
    assert found is not None and found.cold is not None
    assert not found.reading_is_seen
    assert [*found.parts] == [BUILDING, FIRST]
    (said,) = prose.sentences(view)
    assert "Reading its 5.1 MB from the disk makes no difference that shows (−" in said


def test_parts_whose_intervals_meet_have_no_longest(two: Story) -> None:
    view = started(two, cold_ms=80.0)
    found = first_run_view(view.cases[0])
    assert found is not None
    assert [*found.parts][-1] == FIRST
    assert found.longest == ""
    (said,) = prose.sentences(view)
    assert "which takes longest these starts do not tell" in said


def test_a_sentence_says_what_takes_longest(two: Story) -> None:
    (said,) = prose.sentences(started(two))
    assert "What takes longest is building the session (4" in said
    assert "then reading the file (" in said
    assert "The first inference takes 1.7 times a steady one." in said
    assert "Importing the engine's library takes 90.000 ms beside." in said


def test_the_reason_why_there_is_no_cold_start_is_said(two: Story) -> None:
    view = started(two, no_cold="the phone reads it before")
    found = first_run_view(view.cases[0])
    assert found is not None and found.cold is None and found.reading is None
    (said,) = prose.sentences(view)
    assert "unavailable: the phone reads it before." in said


def test_two_starts_have_medians_and_no_intervals(two: Story) -> None:
    view = started(two, starts=2)
    assert "too few to tell what reading its 5.1 MB" in prose.sentences(view)[0]
    found = first_run_view(view.cases[0])
    assert found is not None
    assert found.warm.load.interval is None
    assert found.longest == ""
