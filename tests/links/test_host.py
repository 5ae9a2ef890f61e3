from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import mvdeploy
from mvdeploy import links
from mvdeploy.errors import EngineError, UsageError
from mvdeploy.links import RunnerFailed
from mvdeploy.links.families import host
from mvdeploy.links.families.host import HostLink
from mvdeploy.records.codec import dumps

LONG = 300.0


def gone(pid):
    """Whether a process has ended; one that is dying is given time."""
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE or process.wait(20) is None
    except psutil.NoSuchProcess:
        return True


def pids_of(path):
    return [int(pid) for pid in path.read_text().split()]


def test_the_link_is_found_by_the_profile(profile):
    assert isinstance(links.get(profile), HostLink)


def test_an_unknown_link_is_a_usage_error(profile):
    with pytest.raises(UsageError, match=r"no device link 'hosst'.*Did you mean 'host'"):
        links.get(dataclasses.replace(profile, link="hosst"))


def test_a_job_comes_back_as_a_result(link, make_job):
    job = make_job("steady", "steady", order=(0, 1, 1, 0))
    events = []
    result = link.run(job, LONG, events.append)
    assert result.order == job.order
    assert len(result.samples) == 4
    assert [events[0]["event"], events[-1]["event"]] == ["hello", "done"]
    assert result.hello == events[0]
    assert gone(result.hello["pid"])


def test_the_real_runner_is_found_from_any_folder(profile, make_job, tmp_path, monkeypatch):
    # A file in the working folder must not be taken for a module either.
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(RunnerFailed, match="There is no engine 'steady'"):
        links.get(profile).run(make_job("steady"), LONG)


def test_the_neighbours_of_mvdeploy_do_not_go_before_the_standard_library(
    profile, make_job, tmp_path, monkeypatch
):
    # As in a folder of packages, whatever way leads there.
    (tmp_path / "mvdeploy").symlink_to(Path(mvdeploy.__file__).parent)
    (tmp_path / "statistics.py").write_text("raise SystemExit('a backport')")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(mvdeploy, "__file__", str(tmp_path / "mvdeploy" / "__init__.py"))
    command = host.python_runner("mvdeploy.runners.host")
    with pytest.raises(RunnerFailed, match="There is no engine 'steady'"):
        HostLink(profile, command).run(make_job("steady"), LONG)


def test_a_long_job_does_not_block(link, make_job):
    order = (0,) * 200_000  # more than a pipe holds
    assert len(link.run(make_job("steady", order=order), LONG).samples) == len(order)


def test_garbage_on_standard_output_is_harmless(link, make_job):
    assert len(link.run(make_job("prints"), LONG).samples) == 3


def test_a_segmentation_fault_is_named_with_what_was_going_on(link, make_job):
    with pytest.raises(RunnerFailed) as caught:
        link.run(make_job("segfaults", order=(0,) * 10), LONG)
    assert "was killed by SIGSEGV while running inference of model0.fake" in str(caught.value)
    assert caught.value.exit_code == 4
    kinds = [event["event"] for event in caught.value.events]
    assert kinds == ["hello", "loaded", "first", "warmup"]


def test_sigkill_points_to_the_memory(link, make_job):
    with pytest.raises(RunnerFailed, match=r"SIGKILL while loading model0\.fake") as caught:
        link.run(make_job("killed"), LONG)
    assert "out-of-memory" in caught.value.remedy


def test_an_exit_without_an_error_event_shows_the_last_words(link, make_job):
    with pytest.raises(RunnerFailed) as caught:
        link.run(make_job("exits"), LONG)
    assert "exit status 3 while first running model0.fake" in caught.value.message
    assert "engine: fatal: the pool is dry" in caught.value.message
    assert "Traceback" not in caught.value.message
    assert "Traceback" in caught.value.output


@pytest.mark.parametrize(
    ("engine", "words"),
    [("exhausts", "memory ran out"), ("refuses", "no such operator"), ("nope", "no engine 'nope'")],
)
def test_an_error_event_is_raised_as_it_was_worded(link, make_job, engine, words):
    with pytest.raises(RunnerFailed, match=words) as caught:
        link.run(make_job(engine), LONG)
    assert caught.value.events[-1]["event"] == "error"
    assert caught.value.remedy == caught.value.events[-1]["remedy"]


def test_a_crash_after_the_last_event_takes_nothing_away(link, make_job):
    assert len(link.run(make_job("segfaults_at_exit"), LONG).samples) == 3


def test_a_runner_that_does_not_end_after_its_last_event_is_not_waited_for(
    link, make_job, monkeypatch
):
    monkeypatch.setattr("mvdeploy.links.families.host._GRACE_S", 0.2)
    result = link.run(make_job("lingers"), LONG)
    assert len(result.samples) == 3
    assert gone(result.hello["pid"])
    assert psutil.Process().children(recursive=True) == []


def test_a_hung_runner_is_killed_with_all_that_it_started(link, make_job, tmp_path):
    before = time.monotonic()
    with pytest.raises(RunnerFailed, match="did not finish within 4 s while") as caught:
        link.run(make_job("hangs"), 4.0)
    assert time.monotonic() - before < LONG
    assert "--time-limit" in caught.value.remedy
    assert psutil.Process().children(recursive=True) == []
    if (pids := tmp_path / "model0.pids").exists():
        assert all(gone(pid) for pid in pids_of(pids))


def test_an_interrupt_leaves_no_process(link, make_job, tmp_path):
    def interrupt(event):
        if event["event"] == "loaded":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        link.run(make_job("hangs"), LONG, interrupt)
    assert all(gone(pid) for pid in pids_of(tmp_path / "model0.pids"))


def test_a_runner_that_leaves_a_process_with_its_pipe_does_not_block(link, make_job, tmp_path):
    with pytest.raises(RunnerFailed, match=r"exit status 3 while loading model0\.fake"):
        link.run(make_job("forks"), LONG)
    assert all(gone(pid) for pid in pids_of(tmp_path / "model0.pids"))


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not offer it")
def test_a_runner_does_not_outlive_a_killed_mvdeploy(command, make_job, tmp_path):
    script = """
import sys
from mvdeploy.records import DeviceProfile, Job
from mvdeploy.records.codec import loads
from mvdeploy.links.families.host import HostLink
profile = DeviceProfile("host", "This machine", "host", ("hangs",))
HostLink(profile, sys.argv[2:]).run(loads(Job, sys.argv[1], "job"), 300)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script, dumps(make_job("hangs")), *command],
        env={**os.environ, "PYTHONPATH": str(Path(mvdeploy.__file__).parents[1])},
    )
    pids = tmp_path / "model0.pids"
    while not pids.exists() and parent.poll() is None:
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    runner, helper = pids_of(pids)
    try:
        assert gone(runner)
    finally:
        os.kill(helper, signal.SIGKILL)  # what an engine has started itself is not reached


def test_a_runner_that_cannot_be_started_is_an_engine_error(profile, make_job, tmp_path):
    link = HostLink(profile, (str(tmp_path / "no-such-program"),))
    with pytest.raises(RunnerFailed, match=r"no-such-program could not be started"):
        link.run(make_job("steady"), LONG)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("pass", "stopped before it was done"),
        ("print('hello?')", "did not keep its contract"),
        ('print(\'{"event": "done", "peak_memory": 1}\')', "did not keep its contract"),
        ("import os; os.kill(os.getpid(), 40)", "killed by signal 40 while starting"),
        ("import os, time; os.close(1); time.sleep(1000)", "did not finish within 2 s"),
        ("import sys; sys.exit('no disk. ')", r"exit status 1 .*it last wrote: no disk\.\Z"),
    ],
)
def test_a_runner_that_breaks_its_contract_is_an_engine_error(scripted, make_job, script, words):
    with pytest.raises(RunnerFailed) as caught:
        scripted(script).run(make_job("steady"), 2.0 if "sleep" in script else LONG)
    assert re.search(words, caught.value.message)


def test_standard_error_of_any_size_is_cut_to_its_end(scripted, make_job):
    script = "import sys; sys.stderr.write('x' * 10**6 + '\\nthe end'); sys.exit(1)"
    with pytest.raises(RunnerFailed, match="the end") as caught:
        scripted(script).run(make_job("steady"), LONG)
    assert len(caught.value.message) < 600
    assert len(caught.value.output) <= 65536


def test_files_are_used_where_they_are(link, tmp_path, monkeypatch):
    (tmp_path / "a.onnx").touch()
    monkeypatch.chdir(tmp_path)
    assert link.upload([Path("a.onnx")]) == {Path("a.onnx"): str(tmp_path.resolve() / "a.onnx")}


def test_a_file_that_is_not_there_cannot_be_uploaded(link, tmp_path):
    with pytest.raises(UsageError, match=r"no file .*none\.onnx"):
        link.upload([tmp_path / "none.onnx"])


def test_a_file_is_fetched(link, tmp_path):
    (tmp_path / "profile").write_text("times")
    link.fetch(str(tmp_path / "profile"), tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_text() == "times"
    link.fetch(str(tmp_path / "profile"), tmp_path / "profile")
    assert (tmp_path / "profile").read_text() == "times"


def test_a_file_that_was_not_left_cannot_be_fetched(link, tmp_path):
    with pytest.raises(EngineError, match="left no file"):
        link.fetch(str(tmp_path / "none"), tmp_path / "copy")


def test_the_scratch_folder_goes_with_the_link(profile):
    with HostLink(profile) as link:
        folder = Path(link.scratch())
        assert link.scratch() == str(folder)
        (folder / "profile").touch()
    assert not folder.exists()
    link.close()
