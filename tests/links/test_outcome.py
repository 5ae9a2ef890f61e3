from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.links import RunnerFailed
from mvdeploy.links.outcome import Heard, conclude, doing, unrunnable
from mvdeploy.records import Job, JobModel, Warmup

JOB = Job(
    models=(JobModel("e", "/models/a.onnx", "0", {}), JobModel("e", "/models/b.onnx", "0", {})),
    order=(0, 1, 0, 1),
    threads=1,
    warmup=Warmup(),
)


def event(kind, **fields):
    return {"event": kind, **fields}


STORY = [
    (None, "starting"),
    (event("hello"), "loading a.onnx"),
    (event("loaded", model=0), "loading b.onnx"),
    (event("loaded", model=1), "first running a.onnx"),
    (event("first", model=0), "warming up a.onnx"),
    (event("warmup", model=0), "first running b.onnx"),
    (event("first", model=1), "warming up b.onnx"),
    (event("warmup", model=1), "running inference of a.onnx and b.onnx"),
    (event("samples", wall_ns=[1, 1]), "running inference of a.onnx and b.onnx"),
    (event("samples", wall_ns=[1, 1]), "collecting outputs"),
    (event("output", model=0), "collecting outputs"),
]


@pytest.mark.parametrize("count", range(1, len(STORY) + 1))
def test_what_a_runner_is_at_follows_from_its_events(count):
    events = [happened for happened, _ in STORY[1:count]]
    assert doing(events, JOB) == STORY[count - 1][1]


def test_events_of_a_broken_runner_are_no_obstacle():
    events = [event("hello"), *[event("warmup")] * 5, event("samples", wall_ns=3)]
    assert doing(events, JOB) == "loading a.onnx"


@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.integers()), max_size=5),
    st.lists(st.integers(1, 30), max_size=20),
)
def test_events_are_put_together_from_pieces_of_any_size(bodies, cuts):
    events = [{"event": "x", "text": "µ", **body} for body in bodies]
    data = "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in events).encode()
    told = []
    heard = Heard(told.append)
    for cut in cuts:
        heard.feed(data[:cut])
        data = data[cut:]
    heard.feed(data)
    assert heard.events == told == events


def test_what_is_no_event_is_kept_as_a_line_only():
    heard = Heard()
    heard.feed(b'oops\n[1]\n{"event": 3}\n\xff\n{"event": "hello"}\n{"event": "cut o')
    assert heard.events == [{"event": "hello"}]
    assert len(heard.lines) == 5


def test_an_error_event_counts_more_than_the_exit_status():
    heard = Heard()
    heard.feed(b'{"event": "error", "message": "It broke.", "remedy": "Mend it."}\n')
    with pytest.raises(RunnerFailed) as caught:
        conclude(JOB, heard, 4, "noise")
    assert (caught.value.message, caught.value.remedy) == ("It broke.", "Mend it.")
    assert caught.value.output == "noise"


@pytest.mark.parametrize(
    ("status", "words", "remedy"),
    [
        (-9, "was killed by SIGKILL while starting.", "out-of-memory"),
        (-4, "was killed by SIGILL while starting.", "processor"),
        (-6, "was killed by SIGABRT while starting.", "crashed"),
        (-99, "was killed by signal 99 while starting.", "crashed"),
        (7, "ended with exit status 7 while starting.", "crashed"),
    ],
)
def test_a_death_is_named(status, words, remedy):
    with pytest.raises(RunnerFailed) as caught:
        conclude(JOB, Heard(), status, "")
    assert caught.value.message == f"The runner {words}"
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("status", "output", "message", "remedy"),
    [
        (
            126,
            "sh: ./runner: Permission denied\n",
            "It does not let /r be run (exit status 126: sh: ./runner: Permission denied).",
            "noexec",
        ),
        (126, "", "It does not let /r be run (exit status 126: it gives no reason).", "noexec"),
        (
            126,
            "sh: exec: /r: Exec format error",
            "It does not run /r: it is built for another kind of processor (exit status 126: sh: "
            "exec: /r: Exec format error).",
            "Again.",
        ),
        (
            127,
            "sh: /r: not found",
            "It lacks the loader or a library of /r, or the program itself (exit status 127: sh: "
            "/r: not found).",
            "Again.",
        ),
        (
            1,
            'CANNOT LINK EXECUTABLE "./r": library "libx.so" not found',
            "It lacks the loader or a library of /r, or the program itself (exit status 1: CANNOT "
            'LINK EXECUTABLE "./r": library "libx.so" not found).',
            "Again.",
        ),
    ],
)
def test_a_program_that_was_not_started(status, output, message, remedy):
    error = unrunnable("It", "/r", status, output, "Again.")
    assert error is not None
    assert error.message == message
    assert remedy in error.remedy
    assert error.exit_code == 3


@pytest.mark.parametrize("status", [0, 1, 7, 125, -6, -11])
def test_a_program_that_was_started_is_not_said_to_be_refused(status):
    assert unrunnable("It", "/r", status, "Permission denied", "Again.") is None


def test_samples_of_an_order_that_is_repeated_are_told_and_not_kept():
    told = []
    heard = Heard(told.append, keep_samples=False)
    for number, (happened, _) in enumerate(STORY[1:]):
        heard.feed((json.dumps(happened) + "\n").encode())
        if number == 7:
            assert doing(heard.events, JOB) == "running inference of a.onnx and b.onnx"
    assert [one["event"] for one in told].count("samples") == 2
    assert not [one for one in heard.events if one["event"] == "samples"]
    assert not [line for line in heard.lines if "samples" in line]
    assert doing(heard.events, JOB) == "collecting outputs"
