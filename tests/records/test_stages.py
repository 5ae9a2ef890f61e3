from __future__ import annotations

import dataclasses

import pytest

from mvdeploy.records import Said, Stages, StagesSession
from mvdeploy.records.codec import RecordError, dumps, loads

SESSION = StagesSession({"decode": (50, 60), "inference": (30, 31)}, (85, 95), (84, 90, 91), 3)
STAGES = Stages(
    "Python", "photo.jpg", 1, "softmax", (SESSION,), (Said(3, 0.5),), (Said(3, 0.5),), 0.0
)


def test_they_are_read_as_they_were_written() -> None:
    assert loads(Stages, dumps(STAGES), "it") == STAGES
    none = Stages(unavailable="it has none")
    assert loads(Stages, dumps(none), "it") == none


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"total_ns": (79, 95)}, "stages of 80 ns in a pass of 79 ns"),
        ({"total_ns": (85,)}, "2 times of 'decode' in 1 passes"),
        ({"stages": {"inference": (30, 31), "decode": (50, 60)}}, "has the stages"),
        ({"stages": {"decode": (50, 60)}}, "has the stages decode"),
        ({"stages": {"inference": (30, 31), "paint": (1, 1)}}, "has the stages"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], fault: str) -> None:
    broken = dataclasses.replace(SESSION, **changes)  # type: ignore[arg-type]
    with pytest.raises(RecordError, match=fault):
        loads(Stages, dumps(dataclasses.replace(STAGES, sessions=(broken,))), "it")


def test_times_and_a_reason_why_there_are_none_exclude_each_other() -> None:
    for both in (dataclasses.replace(STAGES, unavailable="no"), Stages()):
        with pytest.raises(RecordError, match="or neither"):
            loads(Stages, dumps(both), "it")


@pytest.mark.parametrize(
    ("difference", "said", "agrees"),
    [
        (0.0, (Said(3, 0.5),), True),
        (1e-6, (Said(7, 0.5),), True),  # two classes that tie
        (1e-4, (Said(3, 0.5001),), True),
        (1e-4, (Said(3, 0.51),), False),
        (1e-4, (Said(7, 0.5),), False),
        (1e-4, (), False),
        (1e-4, (Said(3, 0.5, (0.0, 0.0, 1.0, 1.0)),), False),
    ],
)
def test_answers_agree(difference: float, said: tuple[Said, ...], agrees: bool) -> None:
    assert dataclasses.replace(STAGES, difference=difference, said=said).agrees is agrees


def test_an_engine_that_does_not_repeat_itself_is_held_to_no_more() -> None:
    other = dataclasses.replace(STAGES, difference=1e-4, said=(Said(7, 0.5),))
    assert not other.agrees
    assert not dataclasses.replace(other, repeats=2e-5).agrees
    assert dataclasses.replace(other, repeats=3e-5).agrees
