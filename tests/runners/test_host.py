from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import psutil
import pytest

from mvdeploy.records import UNAVAILABLE, Warmup
from mvdeploy.records.job import parse_events
from mvdeploy.runners import contract, host


def with_model(job, **fields):
    first, *rest = job.models
    return dataclasses.replace(job, models=(dataclasses.replace(first, **fields), *rest))


def test_the_events_of_a_job_come_in_the_contracts_order(make_job, run):
    ended = run(make_job("steady", "steady", order=(0, 1, 1)))
    assert ended.status == 0, ended.stderr
    assert ended.kinds == [
        *("hello", "loaded", "loaded", "first", "warmup", "first", "warmup"),
        *("samples", "usage", "output", "output", "done"),
    ]
    assert ended.stderr == ""


def test_the_events_are_what_the_records_read(make_job, run):
    job = make_job("steady", "steady", order=(1, 0, 1, 1))
    result = parse_events(map(json.dumps, run(job).events), job)
    assert len(result.samples) == 4
    assert len(result.samples_of(1)) == 3
    for model in result.models:
        assert len(model.first) == 1
        assert len(model.warmup) == 2
        assert model.load_ns > 0
        assert 0 < model.memory_before <= model.memory_after
        assert model.profile is None
    assert result.models[0].output_sha256 == result.models[1].output_sha256
    assert result.peak_memory >= result.models[1].memory_before
    assert all(wall >= 0 for wall in result.samples.wall_ns)


def test_hello_describes_the_runner(make_job, run):
    (hello,) = run(make_job("steady")).of("hello")
    assert hello["runner"] == "host"
    assert hello["engines"] == {"steady": "1.2"}
    assert hello["engine_options"] == {"steady": {"intra_op_num_threads": 1, "spinning": "off"}}
    assert hello["clock"]["wall"]["resolution_s"] < 1e-3
    assert hello["clock"]["cpu"]["function"] == "thread_time"
    assert hello["pid"] != os.getpid()


def test_models_are_run_in_the_order_of_the_job(make_job, run, tmp_path):
    order = (0, 1, 1, 0, 1, 0, 0, 0)
    job = with_model(make_job("recorder", "recorder", order=order), profile_to=str(tmp_path / "p"))
    ended = run(job)
    (profile,) = ended.of("profile")
    assert profile["model"] == 0
    calls = json.loads(Path(profile["path"]).read_text())
    first_and_warmup = ["model0.fake"] * 3 + ["model1.fake"] * 3
    assert calls == first_and_warmup + [f"model{index}.fake" for index in order]


def test_an_engine_need_not_tell_its_options(make_job, run):
    (hello,) = run(make_job("recorder")).of("hello")
    assert hello["engine_options"] == {"recorder": {}}


def test_models_are_warmed_up_in_the_order_of_the_job(make_job, run, tmp_path):
    job = make_job("recorder", "recorder", "recorder", order=(0, 1), warmup_order=(2, 0, 1))
    ended = run(with_model(job, profile_to=str(tmp_path / "p")))
    assert [event["model"] for event in ended.of("loaded")] == [0, 1, 2]
    for kind in ("first", "warmup"):
        assert [event["model"] for event in ended.of(kind)] == [2, 0, 1]
    assert [event["model"] for event in ended.of("output")] == [0, 1, 2]
    calls = json.loads(Path(ended.of("profile")[0]["path"]).read_text())
    assert calls[:9] == ["model2.fake"] * 3 + ["model0.fake"] * 3 + ["model1.fake"] * 3
    result = parse_events(map(json.dumps, ended.events), job)
    assert [len(model.warmup) for model in result.models] == [2, 2, 2]


COUNTERS = {
    *("run_delay_ns", "switches_voluntary", "switches_involuntary"),
    *("faults_minor", "faults_major"),
}


@pytest.mark.parametrize("order", [(0,) * 50, ()])
def test_what_the_process_used_is_told(make_job, run, order):
    job = make_job("steady", order=order)
    usage = parse_events(map(json.dumps, run(job).events), job).usage
    assert set(usage) == COUNTERS
    if usage["run_delay_ns"] == UNAVAILABLE:
        usage = {**usage, "run_delay_ns": 0}
    assert all(isinstance(count, int) and count >= 0 for count in usage.values())


def test_the_output_event_tells_of_the_tensors(make_job, run):
    (output,) = run(make_job("steady")).of("output")
    doubled = 2 * np.arange(6, dtype=np.float32).reshape(2, 3)
    assert output["sha256"] == hashlib.sha256(doubled.tobytes()).hexdigest()
    assert output["shape"] == {"x": [2, 3]}
    assert output["finite"] is True


def test_outputs_are_hashed_by_name_and_as_they_are_laid_out_logically():
    a, b = np.arange(6.0).reshape(2, 3).T, np.arange(4, dtype=np.int64)
    expected = hashlib.sha256(np.ascontiguousarray(a).tobytes() + b.tobytes()).hexdigest()
    assert contract.output_of({"b": b, "a": a})["sha256"] == expected


@pytest.mark.parametrize(
    ("value", "finite"), [(np.nan, False), (np.inf, False), (1.0, True), (1, True)]
)
def test_outputs_that_are_not_finite_are_told(value, finite):
    assert contract.output_of({"y": np.array([0, value])})["finite"] is finite


def test_outputs_are_left_as_files_when_asked(make_job, run, tmp_path):
    job = make_job("chooses", "chooses")
    names, folder = ("z/../../a", "b"), tmp_path / "new" / "outputs"
    x, y = np.arange(6, dtype=np.float16).reshape(2, 3), np.array(7, np.uint8)
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "half.npy", x)
    inputs = {"x": str(tmp_path / "half.npy"), "y": str(tmp_path / "y.npy")}
    job = with_model(job, inputs=inputs, outputs=names, outputs_to=str(folder))
    ended = run(job)
    first, second = parse_events(map(json.dumps, ended.events), job).models
    # The order is that of the sorted names, which may be no names of files.
    assert first.output_files == {"b": str(folder / "0.npy"), names[0]: str(folder / "1.npy")}
    assert sorted(path.name for path in folder.iterdir()) == ["0.npy", "1.npy"]
    told = {name: np.load(path) for name, path in first.output_files.items()}
    np.testing.assert_array_equal(told["b"], 2 * y, strict=True)
    np.testing.assert_array_equal(told[names[0]], 2 * x.T, strict=True)
    assert told[names[0]].flags.c_contiguous
    digest = hashlib.sha256(told["b"].tobytes() + told[names[0]].tobytes()).hexdigest()
    assert first.output_sha256 == digest
    assert first.output_shapes == {"b": (), names[0]: (3, 2)}
    assert (second.output_files, second.finite) == ({}, True)


@pytest.mark.parametrize("kind", ["a file", "a file above"])
def test_outputs_that_cannot_be_left_are_an_error(make_job, run, tmp_path, kind):
    (tmp_path / "taken").write_text("")
    folder = tmp_path / "taken" / "x" if kind == "a file above" else tmp_path / "taken"
    error = failure(run(with_model(make_job("steady"), outputs_to=str(folder))))
    assert error["kind"] == "disk"
    assert f"{folder}/0.npy cannot be written (" in error["message"]
    assert error["remedy"]


def test_options_that_are_chosen_are_told_and_used(make_job, run):
    job = with_model(make_job("chooses", "chooses"), options={"factor": "5"})
    ended = run(job)
    assert ended.of("hello")[0]["engine_options"] == {"chooses": {"threads": 1, "factor": "5, 2"}}
    digests = [event["sha256"] for event in ended.of("output")]
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert digests == [hashlib.sha256((n * x.T).tobytes()).hexdigest() for n in (5, 2)]


@pytest.mark.parametrize("engine", ["steady", "chooses"])
def test_an_option_that_the_engine_does_not_have_is_an_error(make_job, run, engine):
    job = make_job("steady", engine)
    first, second = job.models
    second = dataclasses.replace(second, options={"colour": "red"})
    ended = run(dataclasses.replace(job, models=(first, second)))
    error = failure(ended)
    assert (error["kind"], ended.kinds) == ("load", ["error"])
    assert error["message"] == "The engine has no option 'colour'."
    assert ("factor" if engine == "chooses" else "none") in error["remedy"]


def test_what_an_engine_prints_stays_out_of_the_events(make_job, run):
    ended = run(make_job("prints"))
    assert ended.status == 0
    assert ended.kinds[-1] == "done"
    for source in ("Python", "C", "a child"):
        assert f"garbage from {source}" in ended.stderr


def test_a_job_without_measured_inferences_is_done(make_job, run):
    job = make_job("steady", order=(), warmup=Warmup(iterations=0))
    ended = run(job)
    assert ended.status == 0
    assert ended.of("samples") == []
    assert ended.of("warmup")[0]["wall_ns"] == []


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_the_runner_is_bound_to_the_cores_of_the_job(make_job, run):
    core = max(os.sched_getaffinity(0))
    (hello,) = run(make_job("steady", cores=(core,))).of("hello")
    assert hello["cores"] == [core]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
@pytest.mark.parametrize("others", [(), (0,)])
def test_a_core_that_there_is_not_is_an_error(make_job, run, others):
    ended = run(make_job("steady", cores=(*others, 4000)))
    assert ended.status == 4
    assert ended.kinds == ["error"]
    assert ended.events[0]["kind"] == "cores"
    assert "4000" in ended.events[0]["message"]
    assert "cores it may use" in ended.events[0]["remedy"]


def failure(ended):
    """The error event of a run that failed as the contract says."""
    assert ended.status == 4
    assert ended.kinds[-1] == "error"
    assert ended.kinds.count("error") == 1
    assert ended.stderr == ""
    return ended.events[-1]


@pytest.mark.parametrize(
    ("engine", "kind", "words"),
    [
        ("refuses", "load", "RuntimeError: no such operator: Fold"),
        ("fails", "run", "ValueError: shapes do not match"),
        ("exhausts", "memory", "memory ran out"),
        ("absent", "load", "not installed"),
        ("unheard_of", "input", "There is no engine 'unheard_of'"),
    ],
)
def test_an_engine_that_fails_is_an_error_event(make_job, run, engine, kind, words):
    error = failure(run(make_job(engine)))
    assert error["kind"] == kind
    assert words in error["message"]
    assert "\n" not in error["message"]
    assert error["remedy"]
    assert "Traceback" in error["traceback"]


def test_what_was_done_before_a_failure_is_reported(make_job, run):
    ended = run(make_job("steady", "fails"))
    assert failure(ended)["kind"] == "run"
    assert "model1.fake" in ended.events[-1]["message"]
    assert ended.kinds[:5] == ["hello", "loaded", "loaded", "first", "warmup"]


def test_another_file_than_the_job_describes_is_refused(make_job, run):
    ended = run(with_model(make_job("steady"), sha256="0" * 64))
    error = failure(ended)
    assert error["kind"] == "input"
    assert "SHA-256" in error["message"]
    assert ended.of("loaded") == []


def test_a_missing_model_is_refused(make_job, run, tmp_path):
    error = failure(run(with_model(make_job("steady"), path=str(tmp_path / "none.fake"))))
    assert error["kind"] == "input"
    assert "none.fake" in error["message"]


def write_truncated(path):
    np.save(path, np.zeros(100))
    path.write_bytes(path.read_bytes()[:-50])


def write_archive(path):
    with path.open("wb") as file:
        np.savez(file, np.zeros(3))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: None,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a tensor"),
        lambda path: path.write_bytes(pickle.dumps([1, 2])),
        lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
        write_truncated,
        write_archive,
    ],
    ids=["missing", "empty", "text", "pickle", "objects", "truncated", "archive"],
)
def test_an_input_that_is_no_tensor_is_refused(make_job, run, tmp_path, write):
    path = tmp_path / "bad.npy"
    write(path)
    error = failure(run(with_model(make_job("steady"), inputs={"x": str(path)})))
    assert error["kind"] == "input"
    assert "bad.npy" in error["message"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", b"\xff\xfe", '{"schema_version": 1}'])
def test_a_malformed_job_is_an_error_event(run, text):
    ended = run(text)
    assert failure(ended)["kind"] == "input"
    assert ended.kinds == ["error"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"models": ()}, "no models"),
        ({"order": (0, 1)}, "a model it lacks"),
        ({"order": (-1,)}, "order[0] should be at least 0"),
        ({"threads": 0}, "threads should be at least 1"),
        ({"warmup_order": (0, 0)}, "each model once"),
        ({"warmup_order": (1,)}, "each model once"),
        ({"warmup_order": (-1,)}, "warmup_order[0] should be at least 0"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(make_job, run, fields, words):
    assert words in failure(run(make_job("steady", **fields)))["message"]


class Counter:
    """A session for the loop alone."""

    def __init__(self):
        self.calls = 0

    def infer(self):
        self.calls += 1


def test_samples_are_reported_in_segments_that_continue_each_other(make_job):
    events = []
    job = make_job("steady", "steady", order=(0, 1, 1) * 100)
    sessions = [Counter(), Counter()]
    pace_ns = 500_000_000  # half a second for each: four in the first segment
    host._measure(job, sessions, pace_ns, lambda kind, **fields: events.append((kind, fields)))
    assert [kind for kind, _ in events] == ["samples"] * len(events)
    assert len(events[0][1]["wall_ns"]) == 4
    position = 0
    for _, fields in events:
        assert fields["start"] == position
        assert len(fields["wall_ns"]) == len(fields["cpu_ns"])
        position += len(fields["wall_ns"])
    assert position == 300
    assert [session.calls for session in sessions] == [100, 200]


def test_an_inference_slower_than_a_segment_is_reported_by_itself(make_job):
    events = []
    job = make_job("steady", order=(0, 0))
    host._measure(job, [Counter()], 10**11, lambda kind, **fields: events.append(fields))
    assert len(events[0]["wall_ns"]) == 1


def test_the_peak_is_that_of_the_runner_and_not_of_who_started_it(make_job, run):
    ballast = bytearray(b"x") * (600 << 20)
    (done,) = run(make_job("steady")).of("done")
    assert psutil.Process().memory_info().rss > len(ballast)
    assert done["peak_memory"] < len(ballast)


def test_an_order_is_repeated_for_as_long_as_the_job_says(make_job, run):
    job = make_job("steady", "steady", order=(0, 1, 1), repeat_s=2.6)
    ended = run(job)
    assert ended.status == 0, ended.stderr
    parts = ended.of("samples")
    counts = [len(part["wall_ns"]) for part in parts]
    assert [part["start"] for part in parts] == [sum(counts[:i]) for i in range(len(parts))]
    assert len(parts) > 1 and sum(counts) > 3
    times = [part["at_ns"] / 1e9 for part in parts]
    assert times == sorted(times) and times[0] < 0.1 and times[-1] < 2.6
    last_s = sum(parts[-1]["wall_ns"]) / 1e9
    assert times[-1] + last_s > 2.0
    assert parse_events(map(json.dumps, ended.events), job).models[1].output_sha256


def test_an_order_that_is_not_repeated_has_no_times_of_its_parts(make_job, run):
    (part,) = run(make_job("steady")).of("samples")
    assert "at_ns" not in part


def test_there_has_to_be_something_to_repeat(make_job, run):
    ended = run(make_job("steady", order=(), repeat_s=1.0))
    assert ended.status == 4
    assert "nothing to repeat" in ended.events[-1]["message"]
