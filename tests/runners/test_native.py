from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import mvdeploy
from mvdeploy import engines, kits
from mvdeploy.records import UNAVAILABLE, Warmup
from mvdeploy.records.codec import dumps
from mvdeploy.records.job import parse_events
from mvdeploy.runners.loop import warm_up
from tests.runners.native_kit import (
    failure,
    host_kit,
    make_job,
    native,
    plugins,
    run,
    sha256,
    with_model,
)

__all__ = ["host_kit", "make_job", "native", "plugins", "run"]


def test_the_events_of_a_job_come_in_the_contracts_order(make_job, run):
    ended = run(make_job("well", "well", order=(0, 1, 1)))
    assert ended.status == 0, ended.stderr
    assert ended.kinds == [
        *("hello", "loaded", "loaded", "first", "warmup", "first", "warmup"),
        *("samples", "usage", "output", "output", "done"),
    ]
    assert ended.stderr == ""


def test_the_events_are_what_the_records_read(make_job, run):
    job = make_job("well", "well", order=(1, 0, 1, 1))
    result = parse_events(run(job).lines, job)
    assert len(result.samples) == 4
    assert len(result.samples_of(1)) == 3
    for model in result.models:
        assert len(model.first) == 1
        assert len(model.warmup) == 2
        assert model.load_ns > 0
        assert 0 < model.memory_before <= model.memory_after
        assert model.profile is None
    assert result.peak_memory >= result.models[1].memory_before
    assert result.models[0].output_sha256 == result.models[1].output_sha256
    delay = result.usage["run_delay_ns"]
    assert delay == UNAVAILABLE or delay >= 0
    assert all(count >= 0 for name, count in result.usage.items() if name != "run_delay_ns")
    assert len(result.usage) == 5


def test_hello_describes_the_runner(make_job, run):
    (hello,) = run(make_job("well", threads=3)).of("hello")
    assert hello["runner"] == "native"
    assert hello["mvdeploy"] == mvdeploy.__version__
    assert hello["build"] == "glibc"
    assert hello["architecture"] == platform.machine()
    assert hello["engines"] == {"steady": "1.2"}
    assert hello["engine_options"]["steady"]["threads"] == 3
    assert "CLOCK_MONOTONIC" in hello["clock"]["wall"]["implementation"]
    assert "THREAD" in hello["clock"]["cpu"]["implementation"]
    assert 0 < hello["clock"]["wall"]["resolution_s"] < 1e-3
    assert hello["cores"] == sorted(os.sched_getaffinity(0))
    assert hello["pid"] != os.getpid()


def test_hello_needs_no_job_and_no_engine(native, tmp_path):
    ended = native.run(b"", "--plugins", tmp_path, "--hello")
    assert (ended.status, ended.kinds) == (0, ["hello"])
    assert ended.events[0]["engines"] == {}


def test_engines_are_listed_with_what_is_wrong_with_them(run):
    ended = run(b"", "--engines")
    assert ended.status == 0
    told = {event["engine"]: event for event in ended.events}
    assert [*told] == ["broken", "crashing", "old", "steady", "unwilling"]
    assert told["steady"]["version"] == "1.2"
    assert "crashes when it is loaded" in told["crashing"]["error"]
    assert "another release" in told["old"]["error"]
    assert "does not want to" in told["unwilling"]["error"]
    assert "broken" in told["broken"]["error"]
    assert all(("version" in event) != ("error" in event) for event in ended.events)


def test_the_kit_has_its_engines(native, host_kit):
    events = native.run(b"", "--engines").events
    assert {e["engine"]: e.get("version") for e in events} == kits.load(host_kit).engines
    assert set(kits.load(host_kit).engines) == set(engines.native())


@pytest.mark.parametrize("words", [["--what"], ["--plugins"], ["job.json"]])
def test_a_wrong_call_is_told(native, words):
    ended = native.run(b"", *words)
    assert ended.status == 2
    assert ended.lines == []
    assert "usage: mvdeploy-runner" in ended.stderr


def test_models_are_run_in_the_order_of_the_job(make_job, run, tmp_path):
    order = (0, 1, 1, 0, 1, 0, 0, 0)
    job = make_job("well", "well", order=order, warmup_order=(1, 0))
    ended = run(with_model(job, profile_to=str(tmp_path / "a" / "b")))
    (profile,) = ended.of("profile")
    assert profile["model"] == 0
    first_and_warmup = ["model1"] * 3 + ["model0"] * 3
    calls = Path(profile["path"]).read_text().split()
    assert calls == first_and_warmup + [f"model{index}" for index in order]
    for kind in ("first", "warmup"):
        assert [event["model"] for event in ended.of(kind)] == [1, 0]
    assert [event["model"] for event in ended.of("loaded")] == [0, 1]


RULES = [
    Warmup(min_iterations=7, min_seconds=0.0, window_seconds=0.0, tolerance=1e12),
    Warmup(min_iterations=1, min_seconds=0.0, window_seconds=0.0, tolerance=1e12),
    Warmup(max_seconds=0.0),
    Warmup(iterations=0),
    Warmup(iterations=9),
]


@pytest.mark.parametrize("rule", RULES)
def test_the_warm_up_follows_the_rule_as_the_python_runner_does(make_job, run, rule):
    (event,) = run(make_job("well", warmup=rule)).of("warmup")
    assert len(event["wall_ns"]) == len(warm_up(lambda: None, rule))


def test_a_warm_up_by_time_ends(make_job, run):
    rule = Warmup(min_iterations=0, min_seconds=10.0, window_seconds=0.02, max_seconds=0.1)
    (event,) = run(make_job("well", warmup=rule)).of("warmup")
    assert sum(event["wall_ns"]) < 10e9
    assert len(event["wall_ns"]) > 1


def test_the_output_event_tells_of_the_tensors(make_job, run):
    (output,) = run(make_job("well")).of("output")
    doubled = 2 * np.arange(6, dtype=np.float32).reshape(2, 3)
    assert output["sha256"] == hashlib.sha256(doubled.tobytes()).hexdigest()
    assert output["shape"] == {"doubled": [2, 3]}
    assert output["finite"] is True
    assert output["files"] == {}


def test_a_job_without_measured_inferences_is_done(make_job, run):
    ended = run(make_job("well", order=()))
    assert ended.status == 0
    assert ended.of("samples") == []


def test_many_samples_come_in_segments_that_continue_each_other(make_job, run):
    job = make_job("well", "well", order=(0, 1, 1) * 80_000)
    ended = run(job)
    events = ended.of("samples")
    assert len(events) > 1
    assert max(len(event["wall_ns"]) for event in events) <= 100_000
    assert len(parse_events(ended.lines, job).samples) == 240_000


def test_what_an_engine_prints_stays_out_of_the_events(make_job, run):
    ended = run(make_job("prints"))
    assert ended.status == 0
    assert ended.kinds[-1] == "done"
    for source in ("C", "a child"):
        assert f"garbage from {source}" in ended.stderr


def test_closed_standard_files_are_not_mistaken(make_job, native, plugins, tmp_path):
    # Without standard error the first file that is opened would get its number.
    (tmp_path / "job.json").write_text(dumps(make_job("prints")))
    command = 'exec "$@" 2>&- <"$JOB"'
    done = subprocess.run(
        ["sh", "-c", command, "sh", *native.words, "--plugins", plugins],
        env={**os.environ, "JOB": str(tmp_path / "job.json")},
        cwd=native.folder,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()][-1] == "done"


def test_the_runner_is_bound_to_the_cores_of_the_job(make_job, run):
    core = max(os.sched_getaffinity(0))
    (hello,) = run(make_job("well", cores=(core,))).of("hello")
    assert hello["cores"] == [core]


@pytest.mark.parametrize("cores", [(4000,), (0, 4000), (-1,), (1023,), (2**40,)])
def test_a_core_that_there_is_not_is_an_error(make_job, run, cores):
    ended = run(make_job("well", cores=cores))
    assert ended.kinds == ["error"]
    assert failure(ended)["kind"] == "cores"
    assert str(cores[-1]) in failure(ended)["message"]
    assert "cores it may use: 0" in ended.events[0]["remedy"]


@pytest.mark.parametrize(
    ("behaviour", "kind", "words", "remedy"),
    [
        ("refuses", "load", 'model0 (no such operator: "Fold")', "run models"),
        ("fails", "run", "first inference of .*model0 (shapes do not match)", "Give other shapes"),
        ("exhausts", "memory", "memory ran out", "Free memory"),
    ],
)
def test_an_engine_that_fails_is_an_error_event(make_job, run, behaviour, kind, words, remedy):
    error = failure(run(make_job(behaviour)))
    assert error["kind"] == kind
    pattern = words.replace("(", r"\(").replace(")", r"\)")
    assert re.search(pattern, error["message"])
    assert re.search(remedy, error["remedy"])


@pytest.mark.parametrize("engine", ["absent", "../steady", "", "Steady", "crash ing", "e" * 5000])
def test_an_engine_that_the_kit_lacks_is_an_error(make_job, run, engine):
    ended = run(make_job("well", engine=engine))
    error = failure(ended)
    assert ended.kinds == ["error"]
    assert error["kind"] == "load"
    assert "the kit has no such engine" in error["message"] or len(engine) > 1000


@pytest.mark.parametrize("engine", ["broken", "old", "unwilling"])
def test_an_engine_that_cannot_start_is_an_error(make_job, run, engine):
    assert failure(run(make_job("well", engine=engine)))["kind"] == "load"


def test_what_was_done_before_a_failure_is_reported(make_job, run):
    ended = run(make_job("well", "fails"))
    assert failure(ended)["kind"] == "run"
    assert ended.kinds[:5] == ["hello", "loaded", "loaded", "first", "warmup"]


def test_what_was_done_before_a_crash_is_reported(make_job, run):
    ended = run(make_job("well", "segfaults"))
    assert ended.status == -signal.SIGSEGV
    assert ended.kinds == ["hello", "loaded", "loaded", "first", "warmup"]


def test_another_file_than_the_job_describes_is_refused(make_job, run):
    ended = run(with_model(make_job("well"), sha256="0" * 64))
    error = failure(ended)
    assert error["kind"] == "input"
    assert "SHA-256" in error["message"]
    assert ended.of("loaded") == []


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 1000, 3_000_000])
def test_sums_are_those_of_everybody(make_job, run, tmp_path, size):
    # It fails after the sum was compared, as this is no model: with another sum, before.
    path = tmp_path / "model"
    path.write_bytes(b"refuses" + bytes(range(256)) * (size // 256) + bytes(size % 256))
    job = with_model(make_job("well"), path=str(path), sha256=sha256(path))
    assert failure(run(job))["kind"] == "load"


def test_a_missing_model_is_refused(make_job, run, tmp_path):
    error = failure(run(with_model(make_job("well"), path=str(tmp_path / "none"))))
    assert error["kind"] == "input"
    assert "none could not be read (No such file" in error["message"]


@pytest.mark.parametrize("name", ["compute_units", "threads", "", "n" * 5000])
def test_an_option_that_the_engine_does_not_have_is_refused(make_job, run, name):
    options = {"precision": "float16", name: "all"}
    ended = run(with_model(make_job("well"), options=options))
    error = failure(ended)
    assert ended.kinds == ["error"]
    assert error["kind"] == "load"
    assert f"The engine steady has no option '{name[:200]}'" in error["message"]


def test_options_of_the_engine_reach_it_and_are_reported(make_job, run):
    job = make_job("well", threads=2)
    defaults = {"threads": 2, "sessions": 1, "delegate": "none", "precision": "float32"}
    assert run(job).of("hello")[0]["engine_options"] == {"steady": defaults}
    options = {"precision": 'float16, "fast"'}
    (hello,) = run(with_model(job, options=options)).of("hello")
    assert hello["engine_options"] == {"steady": {**defaults, **options}}
    several = with_model(make_job("well", "well", "well"), options=options)
    (hello,) = run(several).of("hello")
    assert hello["engine_options"]["steady"]["precision"] == 'float16, "fast", float32'
    error = failure(run(with_model(job, options={"delegate": "unheard of"})))
    assert error["kind"] == "load"
    assert "delegate cannot be that" in error["message"]


# Its life as a process.


@pytest.fixture
def started(native, plugins, tmp_path):
    """Return a function that starts the runner on a job, and leaves it running."""
    processes = []

    def start(job, **how):
        (tmp_path / "job.json").write_text(dumps(job))
        with (tmp_path / "job.json").open() as file:
            processes.append(
                subprocess.Popen(
                    [*native.words, "--plugins", plugins],
                    stdin=file,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=native.folder,
                    text=True,
                    **how,
                )
            )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def hear_until(process, kind):
    for line in process.stdout:
        if json.loads(line)["event"] == kind:
            return
    raise AssertionError(f"no event '{kind}'")


def test_it_ends_when_nobody_reads_its_events(make_job, started):
    process = started(make_job("well", order=(0,) * 400_000))
    hear_until(process, "warmup")
    process.stdout.close()
    assert process.wait(60) == 4
    assert "nobody reads its events" in process.stderr.read()


def test_it_can_be_ended_though_its_parent_ignored_that(make_job, started):
    old = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        process = started(make_job("hangs"))
    finally:
        signal.signal(signal.SIGTERM, old)
    hear_until(process, "loaded")
    process.terminate()
    assert process.wait(60) == -signal.SIGTERM


PARENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[2:], stdin=open(sys.argv[1]), stdout=subprocess.PIPE, text=True)
for line in child.stdout:
    if '"loaded"' in line:
        print(child.pid, flush=True)
        child.wait()
"""


def test_it_dies_with_its_parent(make_job, native, plugins, tmp_path):
    (tmp_path / "job.json").write_text(dumps(make_job("hangs")))
    words = [*native.words, "--plugins", plugins]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path / "job.json", *words],
        cwd=native.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        runner = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    deadline = time.monotonic() + 60
    while runner.is_running() and runner.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_peak_is_that_of_the_runner_and_not_of_who_started_it(make_job, run):
    ballast = bytearray(b"x") * (600 << 20)
    (done,) = run(make_job("well")).of("done")
    assert psutil.Process().memory_info().rss > len(ballast)
    assert done["peak_memory"] < len(ballast)


def test_an_order_is_repeated_for_as_long_as_the_job_says(make_job, run):
    job = make_job("well", "well", order=(0, 1, 1), repeat_s=2.6)
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
    assert parse_events(ended.lines, job).models[1].output_sha256


def test_an_order_that_is_not_repeated_has_no_times_of_its_parts(make_job, run):
    (part,) = run(make_job("well")).of("samples")
    assert "at_ns" not in part


def test_there_has_to_be_something_to_repeat(make_job, run):
    ended = run(make_job("well", order=(), repeat_s=1.0))
    assert ended.status == 4
    assert "nothing to repeat" in ended.events[-1]["message"]
