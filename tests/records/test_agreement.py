"""Runs whose files are each sound, but not of one another."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mvdeploy.records import Comparison, Failure, Samples, SavedRun, SessionOrder
from mvdeploy.records.agreement import problems
from tests.saved_runs import two_cases

STORY = two_cases().saved
SAVED = dataclasses.replace(
    STORY,
    cases=tuple(
        dataclasses.replace(
            case,
            measurement=dataclasses.replace(
                case.measurement,
                sessions=(
                    *case.measurement.sessions,
                    *[dataclasses.replace(case.measurement.sessions[0], steady=Samples())] * 6,
                ),
            ),
        )
        for case in STORY.cases
    ),
)
A, B = SAVED.cases


def orders(*numbers: int) -> tuple[SessionOrder, ...]:
    """Orders in which both cases ran so often in each session."""
    return tuple(
        SessionOrder(i, "2026-03-04T10:00:00+00:00", ("a", "b"), ((0, n), (1, n)))
        for i, n in enumerate(numbers)
    )


BLOCKS, TURNS = 260, 60
RAN = (*[BLOCKS + TURNS] * 4, *[TURNS] * 6)
"""Inferences of each session: of four with blocks, and of six that only had turns."""


def ordered(*numbers: int) -> SavedRun:
    return dataclasses.replace(SAVED, orders=orders(*numbers))


def case(**changes: Any) -> SavedRun:
    return dataclasses.replace(SAVED, cases=(dataclasses.replace(A, **changes), B))


def measured(**changes: Any) -> SavedRun:
    return case(measurement=dataclasses.replace(A.measurement, **changes))


def said(sha256: str) -> dict[str, str]:
    return {**A.measurement.conditions, "artifact_sha256": sha256}


@pytest.mark.parametrize(
    "saved",
    [
        SAVED,
        ordered(*RAN),
        # It was killed after a session was run, before its samples were saved.
        ordered(*RAN, TURNS),
        measured(conditions=said(A.artifact.sha256)),
        case(measurement=None),
    ],
)
def test_a_sound_run_has_no_problem(saved: SavedRun) -> None:
    assert [*problems(saved)] == []


COMPARED = SAVED.comparisons[0]


@pytest.mark.parametrize(
    ("saved", "problem"),
    [
        (dataclasses.replace(SAVED, comparisons=(COMPARED, COMPARED)), "'b' are compared twice"),
        (
            dataclasses.replace(SAVED, comparisons=(Comparison("a", "c", COMPARED.groups),)),
            "'c' took part, but is not among its cases",
        ),
        (case(engine="executorch"), "the measurement of 'a' is of 'onnxruntime'"),
        (case(format="coreml"), "'a' has the format 'coreml', but its file has 'onnx'"),
        (case(precision="fp16"), "'a' has the precision 'fp16', but its file has 'fp32'"),
        (measured(conditions=said("00")), "the manifest of 'a' is of another file"),
        (measured(conditions={"threads": 2}), "'a' ran on 2 threads, but the plan has 1"),
        (case(measurement=B.measurement), "'b' has the times of 'a'"),
        (ordered(*RAN[:-1]), "'a' has 1640 inferences, not those of the 1580 in order"),
        (ordered(*RAN, TURNS, TURNS), "'a' has 1640 inferences, not those of the 1760"),
        (ordered(RAN[0] + 1, *RAN[1:]), "'a' has 1640 inferences, not those of the 1641"),
        (ordered(RAN[0] + 1, RAN[1] - 1, *RAN[2:]), "'a' has 1640 inferences"),
    ],
)
def test_what_does_not_fit_is_named(saved: SavedRun, problem: str) -> None:
    assert any(problem in found for found in problems(saved))


def summed(off: int = 0) -> SavedRun:
    """A run whose sessions say how long all inferences took."""
    pairs = [*SAVED.comparisons[0].groups]
    own = [[session.steady for session in case.measurement.sessions] for case in (A, B)]
    turns = [[group.a for group in pairs], [group.b for group in pairs]]
    totals = [
        sum(sum(one.wall_ns) for side in (*own, *turns) for one in side[i : i + 1])
        for i in range(len(RAN))
    ]
    totals[3] += off
    cases = tuple(
        dataclasses.replace(
            case,
            measurement=dataclasses.replace(
                case.measurement,
                sessions=tuple(
                    dataclasses.replace(session, measured_ns=total)
                    for session, total in zip(case.measurement.sessions, totals, strict=True)
                ),
            ),
        )
        for case in (A, B)
    )
    return dataclasses.replace(SAVED, cases=cases, orders=orders(*RAN))


def test_a_time_that_was_changed_shows_in_the_sum() -> None:
    assert [*problems(summed())] == []
    (problem,) = problems(summed(off=1))
    assert problem.startswith("the inferences of a, b in session 4 took ")


def test_failed_cases_may_lack_sessions() -> None:
    failed = dataclasses.replace(B, failure=Failure("It fell.", "Catch it.", 4))
    saved = dataclasses.replace(SAVED, cases=(A, failed), orders=orders(*RAN[:3]))
    assert [*problems(saved)] == []
