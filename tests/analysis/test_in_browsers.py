"""What is told of pages: when they were steady, other rounding, and what they take more."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from mvdeploy.analysis.breakdown_view import Part
from mvdeploy.analysis.derived_findings import case_findings
from mvdeploy.analysis.in_browsers import _losses, together
from mvdeploy.analysis.view import view_of
from mvdeploy.records import Case, Finding, ParityInput, Samples, SavedRun
from tests.saved_runs import measurement, one_case, parity

MS = 1_000_000


def told(change: Any, code: str, browser: str = "Chrome 156") -> Finding | None:
    """Return a finding on the case of a run in a browser, after a change of the case."""
    story = one_case()
    made = story.saved.run.device
    identity = {**made.identity, "browser": browser} if browser else made.identity
    run = dataclasses.replace(story.saved.run, device=dataclasses.replace(made, identity=identity))
    view = view_of(SavedRun(run, (change(story.saved.cases[0]),)), story.breakdowns)
    return next((f for f in case_findings(view.cases[0]) if f.code == code), None)


def started(first: float, warmup: Sequence[float], **conditions: Any) -> Any:
    """Return what makes all sessions of a case start so, in milliseconds; steady are 5.1."""

    def samples(times: Sequence[float]) -> Samples:
        ns = tuple(round(ms * MS) for ms in times)
        return Samples(ns, ns)

    def change(case: Case) -> Case:
        made = case.measurement or measurement(5, 5.1)
        sessions = tuple(
            dataclasses.replace(session, first=samples([first]), warmup=samples(warmup))
            for session in made.sessions
        )
        told = {**made.conditions, **conditions}
        return dataclasses.replace(
            case, measurement=dataclasses.replace(made, sessions=sessions, conditions=told)
        )

    return change


def test_after_how_many_inferences_a_page_was_steady() -> None:
    found = told(started(18.0, [9.0, 8.0, 7.0, 5.2, 5.1, 5.1, 5.1]), "tier_up")
    assert found is not None
    # Of three inferences two are steady from the fourth one on.
    assert found.values["count"] == 3 and found.values["clock"] == "CPU time"
    assert found.values["times"] == pytest.approx(18.0 / 5.1, rel=0.02)


def test_one_that_is_never_steady_counts_all() -> None:
    found = told(started(30.0, [20.0] * 6), "tier_up")
    assert found is not None and found.values["count"] == 7


def test_a_slow_first_inference_alone_counts_one() -> None:
    found = told(started(30.0, [5.1] * 6), "tier_up")
    assert found is not None and found.values["count"] == 1


@pytest.mark.parametrize(
    ("change", "browser"),
    [
        (started(6.0, [5.2] * 6), "Chrome 156"),  # hardly slower
        (started(18.0, [9.0, 5.1, 5.1]), ""),  # no page
        (started(18.0, [9.0, 5.1, 5.1], adapter="nvidia"), "Chrome 156"),  # compiled elsewhere
    ],
)
def test_where_nothing_is_told_of_compiling(change: Any, browser: str) -> None:
    assert told(change, "tier_up", browser) is None


def rounded(precision: str, **on_page: Any) -> Any:
    """Return what makes a case one in a precision whose page has other figures than the check."""

    def change(case: Case) -> Case:
        one = ParityInput("photograph", 0.0837, 24.7, 0.998, True, 24.69)
        page = dataclasses.replace(one, **{"name": "input", **on_page})
        export = dataclasses.replace(parity(), inputs=(one,), engine="onnxruntime 1.32.0")
        artifact = case.artifact and dataclasses.replace(case.artifact, precision=precision)
        return dataclasses.replace(
            case,
            artifact=artifact,
            parity=export,
            device_parity=dataclasses.replace(export, inputs=(page,)),
        )

    return change


def test_a_page_that_rounds_otherwise_than_the_engine_here() -> None:
    found = told(rounded("int8-dynamic", max_abs=0.0795, snr_db=24.5), "rounds_otherwise")
    assert found is not None
    assert (found.values["here"], found.values["there"]) == (24.5, 24.7)
    assert found.values["engine"] == "onnxruntime 1.32.0"


@pytest.mark.parametrize(
    "change",
    [
        rounded("int8"),  # to the last bit the same
        rounded("fp32", max_abs=0.0795, snr_db=24.5),
        rounded("int8", max_abs=0.0795, snr_db=24.5, rounding_db=20.0),  # of another input
    ],
)
def test_where_nothing_is_told_of_rounding(change: Any) -> None:
    assert told(change, "rounds_otherwise") is None


def part(title: str, ns: float) -> Part:
    return Part(title.lower(), title, ns, 0.0)


def test_losses_add_up_whatever_a_side_lacks() -> None:
    losses = _losses(
        [part("Conv", 4.0), part("Softmax", 1.0), part("None", 0.0)],
        [part("Conv", 10.0), part("Copy", 2.0), part("Softmax", 0.5)],
    )
    assert [loss.title for loss in losses] == ["Conv", "Softmax", "Copy"]
    assert sum(loss.share for loss in losses) == pytest.approx(1.0)
    assert [loss.times for loss in losses] == [2.5, 0.5, None]
    twice = together([losses, losses])
    assert [loss.share for loss in twice] == pytest.approx([loss.share for loss in losses])
    assert twice[0].web_ns == 20.0
