"""``mvdeploy bench --pipeline`` and ``--first-run`` as a user types them."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy.records.run import load_run

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]

GATE = ("--fail-on", "pipeline:100000ms")
SHORT = ("--warmup", "1", "--iterations", "24", "--sessions", "2", "--no-breakdown")


def test_stages_add_up_and_the_answer_is_that_of_predict(typed: Mvdeploy, tmp_path: Path) -> None:
    network = ("yardstick", "--image-size", "32")
    done = typed("bench", *network, *SHORT, "--pipeline", *GATE, "--json", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "Gate pipeline:100000ms passed: the whole pipeline of yardstick" in done.stderr
    body = json.loads(done.stdout)
    (case,) = body["cases"]
    found = case["pipeline"]
    assert found["unavailable"] is None
    assert found["passes"] == 24
    assert len(found["engine_share_by_session"]) == 2
    assert [*found["stages"]] == [
        *("decode", "resize", "normalise", "feed", "inference", "fetch", "finish", "between"),
    ]
    assert sum(stage["share"] for stage in found["stages"].values()) == pytest.approx(1)
    times = [stage["usual_ms"] for stage in found["stages"].values()]
    assert sum(times) == pytest.approx(found["usual_ms"])
    assert found["engine_share"] == found["stages"]["inference"]["share"]
    assert found["answers_agree"] is True
    (run,) = (tmp_path / "out").iterdir()
    (file,) = (run / "artifacts").glob("*.onnx")
    said = json.loads(typed("predict", str(file), "--json").stdout)
    assert [one["number"] for one in found["answers"]] == [a["class"] for a in said["answers"]]
    with (run / "stages.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["stage"] for row in rows] == [*found["stages"], "whole"]
    assert (run / "figures" / "pipeline.png").stat().st_size
    (record,) = (case.stages for case in load_run(run).cases)
    assert record is not None
    again = typed("report", str(run), "--format", "terminal", "-o", "again")
    assert again.returncode == 0, again.stderr
    text = (tmp_path / "again" / "report.txt").read_text()
    assert "from the bytes of a picture to an answer an app waits" in " ".join(text.split())
    assert "the whole" in text


def test_without_it_nothing_is_said_of_a_pipeline(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    done = mvdeploy("bench", "yardstick", "--image-size", "32", *SHORT, "--json", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cases"][0]["pipeline"] is None
    (run,) = (tmp_path / "out").iterdir()
    assert not (run / "stages.csv").exists()
    assert "picture to an answer" not in (run / "report.md").read_text()


def test_starts_are_timed_and_told(typed: Mvdeploy, tmp_path: Path) -> None:
    network = ("yardstick", "--image-size", "32")
    done = typed("bench", *network, *SHORT, "--first-run", "--starts", "2", "--json", "-o", "out")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["cases"][0]["first_run"]
    assert found["warm"]["starts"] == 2
    assert found["warm"]["load"]["p50_ms"] > 0
    if found["cold"] is None:  # where the tests' folder lies in memory
        assert "stay in the system's cache" in found["cold_unavailable"]
    else:
        assert found["cold"]["starts"] == 2
        assert {start["resident"] for start in found["starts"] if start["cold"]} == {0.0}
    (run,) = (tmp_path / "out").iterdir()
    assert (run / "first_run.csv").exists()
    assert "the first answer after a start takes" in (run / "report.md").read_text()


def test_starts_without_a_first_run_are_refused(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    done = mvdeploy("bench", "yardstick", "--starts", "3")
    assert done.returncode == 2
    assert "--starts 3 says how often --first-run starts, which is not given." in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_what_was_not_finished_is_told(
    mvdeploy: Mvdeploy, tmp_path: Path, number: signal.Signals
) -> None:
    """A killed run cannot say so itself: its report sees that starts are missing."""
    words = [sys.executable, "-m", "mvdeploy", "bench", "yardstick", "--image-size", "32", *SHORT]
    words += ["--first-run", "--starts", "200", "-o", "out"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("first runs, 2 of"):
                process.send_signal(number)
                break
        process.communicate(timeout=60)
    assert process.returncode == (143 if number == signal.SIGTERM else -number)
    (run,) = (tmp_path / "out").iterdir()
    done = mvdeploy("report", str(run))
    assert done.returncode == 0, done.stderr
    said = (run / "report.md").read_text()
    assert "The run ended before everything was measured; not finished: the first runs" in said
