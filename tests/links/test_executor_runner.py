"""What a user's own runner of ExecuTorch says, in the words of the contract."""

from __future__ import annotations

import dataclasses
import json

import pytest

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
