from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.errors import EngineError
from mvdeploy.records import Job, JobModel, JobResult, Samples, Warmup
from mvdeploy.records.codec import dumps, loads
from mvdeploy.records.job import cpu_times, parse_events

JOB = Job(
    models=(
        JobModel("e", "a.onnx", "00", {"x": "x.npy"}, None, {"o": "1"}, ("x", "y"), "/o"),
        JobModel("e", "b.onnx", "00", {}),
    ),
    order=(0, 1, 1, 0),
    threads=1,
    warmup=Warmup(iterations=1),
)


def times(*numbers):
    return {"wall_ns": list(numbers), "cpu_ns": [n - 1 for n in numbers]}


EVENTS = [
    {"event": "hello", "runner": "host", "pid": 1},
    {"event": "loaded", "model": 0, "load_ns": 5, "memory_before": 10, "memory_after": 20},
    {"event": "loaded", "model": 1, "load_ns": 6, "memory_before": 20, "memory_after": 30},
    {"event": "first", "model": 0, **times(100)},
    {"event": "warmup", "model": 0, **times(90, 80)},
    {"event": "first", "model": 1, **times(200)},
    {"event": "warmup", "model": 1, **times()},
    {"event": "samples", "start": 0, **times(70, 170)},
    {"event": "samples", "start": 2, **times(171, 71)},
    {
        "event": "output",
        "model": 0,
        "sha256": "aa",
        "shape": {"x": [2, 3], "y": []},
        "finite": False,
        "files": {"x": "/o/0.npy", "y": "/o/1.npy"},
        "memory": 40,
    },
    {
        "event": "output",
        "model": 1,
        "sha256": "bb",
        "shape": {},
        "finite": None,
        "files": {},
        "memory": 41,
    },
    {"event": "profile", "model": 1, "path": "/tmp/p.json"},
    {"event": "done", "peak_memory": 50},
]


def parse(events, job=JOB):
    return parse_events([json.dumps(event) for event in events], job)


def test_events_become_a_result():
    result = parse(EVENTS)
    assert result.hello["runner"] == "host"
    assert result.order == JOB.order
    assert result.samples == Samples((70, 170, 171, 71), (69, 169, 170, 70))
    assert result.samples_of(1) == Samples((170, 171), (169, 170))
    assert result.samples_of(0, 1) == Samples((71,), (70,))
    assert result.samples_of(0, 0, 1) == Samples((70,), (69,))
    assert result.peak_memory == 50
    first, second = result.models
    assert (first.load_ns, first.memory_before, first.memory_after) == (5, 10, 40)
    assert first.warmup == Samples((90, 80), (89, 79))
    assert (first.profile, second.profile) == (None, "/tmp/p.json")
    assert second.output_sha256 == "bb"
    assert first.output_shapes == {"x": (2, 3), "y": ()}
    assert first.output_files == {"x": "/o/0.npy", "y": "/o/1.npy"}
    assert first.finite is False
    assert (second.output_shapes, second.output_files, second.finite) == ({}, {}, None)


def test_a_result_and_a_job_can_be_saved():
    result = parse(EVENTS)
    assert loads(JobResult, dumps(result), "result") == result
    assert loads(Job, dumps(JOB), "job") == JOB


def test_an_error_event_is_raised_in_the_runners_words():
    error = {"event": "error", "kind": "run", "message": "It broke.", "remedy": "Mend it."}
    with pytest.raises(EngineError) as caught:
        parse([*EVENTS[:3], error])
    assert (caught.value.message, caught.value.remedy) == ("It broke.", "Mend it.")


@pytest.mark.parametrize("count", range(len(EVENTS)))
def test_a_stream_that_ends_early_is_an_engine_error(count):
    with pytest.raises(EngineError, match="stopped before it was done"):
        parse(EVENTS[:count])


@pytest.mark.parametrize("left_out", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
def test_no_event_can_be_left_out(left_out):
    with pytest.raises(EngineError, match="did not keep its contract"):
        parse([*EVENTS[:left_out], *EVENTS[left_out + 1 :]])


@pytest.mark.parametrize(
    "line",
    ["", "{", "null", "[]", '{"a": 1}', '{"event": 1}', "\x00", "[" * 200_000],
    ids=lambda line: line[:8],
)
def test_a_line_that_is_no_event_is_an_engine_error(line):
    with pytest.raises(EngineError, match="did not keep its contract"):
        parse_events([*map(json.dumps, EVENTS), line], JOB)


@pytest.mark.parametrize(
    ("at", "field", "value"),
    [
        (1, "load_ns", "5"),
        (1, "load_ns", True),
        (3, "wall_ns", [-1]),
        (4, "cpu_ns", [1]),
        (7, "start", 2),
        (8, "start", 0),
        (9, "sha256", None),
        (9, "shape", {"x": [2.5]}),
        (9, "shape", [2]),
        (9, "finite", "yes"),
        (9, "finite", 1),
        (9, "files", {"x": 3}),
        (11, "path", 3),
        (12, "peak_memory", "x"),
    ],
)
def test_a_wrong_value_is_an_engine_error(at, field, value):
    events = copy.deepcopy(EVENTS)
    events[at][field] = value
    with pytest.raises(EngineError, match="did not keep its contract"):
        parse(events)


def test_chunks_of_samples_in_the_wrong_order_are_refused():
    events = [*EVENTS[:7], EVENTS[8], EVENTS[7], *EVENTS[9:]]
    with pytest.raises(EngineError, match="did not keep its contract"):
        parse(events)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@st.composite
def mutated_streams(draw):
    """Streams in which a few things are not as they should be."""
    events = copy.deepcopy(EVENTS)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(events) - 1))
        how = draw(st.sampled_from(["drop", "repeat", "swap", "set", "unset", "add"]))
        if how == "drop" and len(events) > 1:
            del events[at]
        elif how == "repeat":
            events.insert(draw(st.integers(0, len(events))), copy.deepcopy(events[at]))
        elif how == "swap":
            other = draw(st.integers(0, len(events) - 1))
            events[at], events[other] = events[other], events[at]
        elif how == "set" and events[at]:
            key = draw(st.sampled_from(sorted(events[at])))
            events[at][key] = draw(json_values)
        elif how == "unset" and events[at]:
            del events[at][draw(st.sampled_from(sorted(events[at])))]
        elif how == "add":
            kind = draw(st.sampled_from([event.get("event") for event in EVENTS] + ["error"]))
            events.insert(at, {"event": kind})
    return [json.dumps(event) for event in events]


@given(mutated_streams())
def test_a_stream_with_faults_is_a_result_or_an_engine_error(lines):
    try:
        result = parse_events(lines, JOB)
    except EngineError as error:
        assert error.message
        assert error.remedy
    else:
        assert len(result.samples) == len(JOB.order)


@given(st.lists(st.text(max_size=30) | json_values.map(json.dumps), max_size=5))
def test_arbitrary_lines_are_an_engine_error(lines):
    with pytest.raises(EngineError):
        parse_events(lines, JOB)


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 10**9), st.integers(0, 10**10)), max_size=6
    )
)
def test_a_block_is_shared_by_its_inferences(blocks):
    wall = [ns for count, ns, _ in blocks for _ in range(count)]
    event = {"wall_ns": wall, "cpu_blocks": [[count, cpu] for count, _, cpu in blocks]}
    times = cpu_times(event)
    assert len(times) == len(wall)
    start = 0
    for count, ns, cpu in blocks:
        part = times[start : start + count]
        assert sum(part) == min(cpu, ns * count) // 1000 * 1000
        assert max(part) - min(part) <= 1000
        start += count
    assert not list(Samples(tuple(wall), tuple(times)).cpu_faults)


@pytest.mark.parametrize("blocks", [[[1, 5]], [[3, 5]], [[2, -1]], [[2, "x"]], "no", [[2]], None])
def test_blocks_of_other_inferences_are_refused(blocks):
    with pytest.raises(EngineError, match="did not keep its contract"):
        cpu_times({"wall_ns": [10, 10], "cpu_blocks": blocks})
