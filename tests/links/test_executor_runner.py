"""What a user's own runner of ExecuTorch says, in the words of the contract."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.errors import EngineError
from mvdeploy.links import executor_runner
from mvdeploy.records import UNAVAILABLE, Job, JobModel, Samples, Warmup
from mvdeploy.records.job import parse_events

MODEL = JobModel("executorch", "a.pte", "00", {"x": "x.npy"}, outputs=("y",), outputs_to="/o")
JOB = Job((MODEL,), (0, 0), threads=2, warmup=Warmup(iterations=1))


def program(arguments: list[str]) -> str:
    count = int(arguments[1].partition("=")[2])
    lines = [f"Iteration {i} of {count}: {i}.5 ms" for i in range(1, count + 1)]
    return "\n".join(["Model loaded in 3 ms", *lines])


def test_what_it_does_not_tell_is_not_known() -> None:
    events = [json.dumps(event) for event in executor_runner.events(JOB, program)]
    result = parse_events(events, JOB)
    assert result.samples == Samples((3_500_000, 4_500_000), (0, 0))
    (model,) = result.models
    assert (model.output_sha256, model.finite) == (UNAVAILABLE, None)
    assert (model.output_shapes, model.output_files) == ({}, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": {"colour": "red"}}, "has no option 'colour'"),
        ({"engine": "onnxruntime"}, "runs ExecuTorch, not onnxruntime"),
    ],
)
def test_what_it_cannot_do_is_refused(change: dict, words: str) -> None:
    job = dataclasses.replace(JOB, models=(dataclasses.replace(MODEL, **change),))
    with pytest.raises(EngineError, match=words) as caught:
        list(executor_runner.events(job, program))
    assert "--runner" in caught.value.remedy


def log_of(lines: int) -> Callable[[list[str]], str]:
    """A program whose times go through a log that keeps the last lines of all its runs."""
    log: collections.deque[str] = collections.deque(maxlen=lines)

    def run(arguments: list[str]) -> str:
        log.extend(program(arguments).splitlines())
        return "\n".join(log)

    return run


@given(count=st.integers(1, 300), warm=st.integers(0, 20), lines=st.integers(1, 200))
def test_what_a_log_lost_is_measured_again_in_parts(count: int, warm: int, lines: int) -> None:
    job = dataclasses.replace(JOB, order=(0,) * count, warmup=Warmup(iterations=warm))
    told: list[tuple[int, int, int]] = []
    try:
        found = [
            json.dumps(e)
            for e in executor_runner.events(job, log_of(lines), lambda *n: told.append(n))
        ]
    except EngineError as error:
        assert f"times for {1 + warm + count} inferences" in error.message
        assert lines * 0.75 < 2 + warm + 1 and lines < 1 + warm + count
        return
    result = parse_events(found, job)
    assert len(result.samples.wall_ns) == count
    assert len(result.models[0].warmup.wall_ns) == warm
    # The n-th inference takes n.5 ms in the program above: warm-ups are in no sample.
    assert min(result.samples.wall_ns) == (2 + warm) * 1_000_000 + 500_000
    total = 1 + warm + count
    assert [one[:2] for one in told] == ([(total, lines)] if lines < total else [])


def test_a_time_that_is_missing_in_the_middle_is_an_error() -> None:
    def run(arguments: list[str]) -> str:
        lines = program(arguments).splitlines()
        return "\n".join(lines[:2] + lines[3:])

    with pytest.raises(EngineError, match="told 3 times for 4 inferences"):
        list(executor_runner.events(JOB, run))


def test_a_profile_is_of_one_run() -> None:
    model = dataclasses.replace(MODEL, profile_to="/p")
    job = dataclasses.replace(JOB, models=(model,), order=(0,) * 50)
    with pytest.raises(EngineError, match="told 40 times for 52 inferences"):
        list(executor_runner.events(job, log_of(40)))
