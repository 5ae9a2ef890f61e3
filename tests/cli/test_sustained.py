"""``mvdeploy bench --sustained`` as it is typed, on this machine."""

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

SMALL = ("bench", "yardstick", "--format", "onnx", "--threads", "1", "-o", "out")


def the_run(folder: Path) -> Path:
    (found,) = (folder / "out").iterdir()
    return found


def test_a_run_as_it_is_typed(typed: Mvdeploy, tmp_path: Path) -> None:
    done = typed(*SMALL, "--sustained", "4s", "--interval", "0.3")
    assert done.returncode == 0, done.stderr
    folder = the_run(tmp_path)
    (case,) = load_run(folder).cases
    known = case.sustained
    assert known is not None and known.ended == ""
    assert len(known.intervals) >= 12 and 4.0 <= known.until_s < 8.0
    assert sum(one.count for one in known.intervals) > 100
    for one in known.intervals:
        assert one.cpu_p50_ns > 0 and one.p50_ns <= one.p90_ns <= one.p99_ns
        assert one.wall_ns / 1e9 <= one.length_s * 1.001
    assert known.moments and "cpu_khz" in known.moments[0].state.readings
    assert case.measurement is not None and case.measurement.sessions == ()
    assert "yardstick: " in done.stdout and "Sustained load" in done.stdout
    text = (folder / "report.md").read_text()
    assert text.startswith("# yardstick under sustained load on ")
    assert (folder / "figures/sustained.png").read_bytes().startswith(b"\x89PNG")
    assert "Latency, clocks and heat over time" in (folder / "report.html").read_text()
    with (folder / "intervals.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(known.intervals)
    assert float(rows[0]["p50_ms"]) == pytest.approx(known.intervals[0].p50_ns / 1e6)


def test_the_result_for_programs(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    done = mvdeploy(*SMALL, "--sustained", "2s", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["sustained"]
    assert found["asked_s"] == 2.0 and found["enough_intervals"] is True
    assert found["steady"]["p50_ms"] > 0
    assert len(found["intervals"]) >= 15
    again = mvdeploy("report", str(the_run(tmp_path)), "--format", "json")
    assert again.returncode == 0, again.stderr


def test_cases_in_turns(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    network = ("bench", "mobilevit_xxs", "--model-arg", "depths=1,1,1", "--image-size", "64")
    two = ("--patches", "2,2,2", "--patches", "8,4,2", "--format", "onnx", "--threads", "1")
    done = mvdeploy(*network, *two, "--sustained", "4s", "--alternate", "-o", "out")
    assert done.returncode == 0, done.stderr
    a, b = (case.sustained for case in load_run(the_run(tmp_path)).cases)
    assert a is not None and b is not None and a.alternating and b.alternating
    starts = sorted(
        [(one.start_s, "a") for one in a.intervals] + [(one.start_s, "b") for one in b.intervals]
    )
    names = [name for _, name in starts]
    assert len(names) > 6 and names == ["ab"[i % 2] for i in range(len(names))]
    assert "The order of the cases" in done.stdout


def test_who_interrupts_it_gets_a_report_of_what_was_measured(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mvdeploy", *SMALL, "--sustained", "10m", "--interval", "0.5"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stderr is not None
        told = 0
        for line in process.stderr:
            told += ", p50 " in line
            if told == 3:
                process.send_signal(signal.SIGINT)
                break
        _, rest = process.communicate(timeout=120)
    assert process.returncode == 130, rest
    folder = the_run(tmp_path)
    (case,) = load_run(folder).cases
    assert case.sustained is not None and case.sustained.ended == "It was interrupted."
    assert len(case.sustained.intervals) >= 3
    text = (folder / "report.md").read_text()
    assert "it ended after" in text and "It was interrupted." in text
    assert "report.html" in rest and "Error: Interrupted." in rest


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--sustained", "soon"), "'soon' is no length of time"),
        (("--sustained", "30"), "'30' is no length of time"),
        (("--sustained", "-3m"), "'-3m' is no length of time"),
        (("--sustained", "1s"), "cannot be kept running for 1s"),
        (("--sustained", "99h"), "cannot be kept running for 99h"),
        (("--sustained", "60s", "--interval", "61"), "61 s does not divide 60 s"),
        (("--sustained", "60s", "--interval", "nan"), "does not divide"),
        (("--sustained", "24h", "--interval", "1"), "more than 2000 parts"),
        (
            (
                *("--sustained", "3s", "--interval", "2", "--alternate"),
                *("--image-size", "32", "--image-size", "64"),
            ),
            "2 s for each of 2 cases does not divide 3 s",
        ),
        (("--interval", "5"), "--interval says how the time of --sustained is divided"),
        (("--alternate",), "--alternate says how"),
        (("--sustained", "60s", "--alternate"), "one case"),
        (("--sustained", "60s", "--iterations", "9"), "--iterations is about sessions"),
        (("--sustained", "60s", "--anchor"), "--anchor is about sessions"),
        (("--sustained", "60s", "--fail-on", "p99:5ms"), "--fail-on is about sessions"),
        (("--sustained", "60s", "--threads", "1-2", "--alternate"), "2 numbers of threads"),
    ],
    ids=" ".join,
)
def test_bad_input(
    mvdeploy: Mvdeploy, tmp_path: Path, options: tuple[str, ...], named: str
) -> None:
    done = mvdeploy("bench", "yardstick", "--format", "onnx", *options, "-o", "out")
    assert done.returncode == 2 and done.stdout == ""
    what, remedy = done.stderr.splitlines()
    assert what.startswith("Error: ") and what.endswith(".") and named in what
    assert remedy.endswith(".")
    assert not (tmp_path / "out").exists()
