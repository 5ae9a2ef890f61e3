"""The stages of a pipeline, derived from what was timed."""

from __future__ import annotations

import math

import pytest

from mvdeploy.analysis import stages
from mvdeploy.records import Said
from mvdeploy.records.stages import TITLES
from mvdeploy.report import stages as prose
from tests.saved_runs import Story
from tests.staged import MS, session, timed


def test_parts_add_up_to_the_whole(two: Story) -> None:
    case, other = timed(two).cases
    assert stages.stages_view(other) is None
    found = stages.stages_view(case)
    assert found is not None
    assert [part.key for part in found.parts] == [*(n for n in TITLES if n in MS), stages.BETWEEN]
    assert math.fsum(part.ns for part in found.parts) == pytest.approx(found.ns)
    assert math.fsum(part.share for part in found.parts) == pytest.approx(1)
    # The two passes in which something else ran move neither.
    assert found.ns == pytest.approx(14.0e6, rel=0.02)
    assert found.part("between").p50 == 3000
    assert found.inference.share == pytest.approx(5.2 / 14.0, rel=0.02)
    assert found.shares == pytest.approx([5.2 / 14.0] * 2, rel=0.02)
    assert found.passes == 80
    assert found.interval is not None
    assert found.interval.low < found.p50 < found.interval.high


def test_a_sentence_has_the_share_of_the_engine(two: Story) -> None:
    (said,) = prose.sentences(timed(two))
    assert "an app waits 14." in said
    assert "the engine's share, the inference, is 37 % (37 % by session)" in said
    assert "'decode the picture' 43 % and 'resize and crop' 14 %" in said
    assert "Between the other stages the inference takes 5.2" in said


def test_a_reason_stands_in_the_place_of_times(two: Story) -> None:
    view = timed(two, sessions=(), unavailable="a phone has no Python")
    (said,) = prose.sentences(view)
    assert said.endswith("its whole pipeline is unavailable: a phone has no Python.")
    assert stages.stages_view(view.cases[0]) is None
    assert [*stages.findings(view.cases[0])] == []


def test_another_answer_is_a_finding(two: Story) -> None:
    assert [*stages.findings(timed(two).cases[0])] == []
    view = timed(two, wanted=(Said(7, 0.5),), difference=0.2)
    (found,) = (f for f in view.findings if f.finding.code == "pipeline_differs")
    assert found.finding.values == {"percent": 20.0, "said": "3, 7", "wanted": "7"}


def test_stages_that_cost_time_are_a_finding(two: Story) -> None:
    slow = (session(1, 0.7), session(2, 0.7))
    codes = [found.code for found in stages.findings(timed(two, sessions=slow).cases[0])]
    assert codes == ["stages_cost_time"]
