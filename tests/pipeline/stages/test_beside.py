"""A program in a process of its own: what it prints, and how it may end."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from mvdeploy.errors import EngineError
from mvdeploy.pipeline.stages import beside
from mvdeploy.records import Warmup

JOB = Warmup()


def program(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    (folder / "own.py").write_text(code)
    command = (sys.executable, str(folder / "own.py"))
    monkeypatch.setattr(beside, "python_runner", lambda module: command)


def test_it_reads_the_job_and_its_events_come_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = "import json, sys; job = json.load(sys.stdin)\n"
    code += "print(json.dumps({'event': 'told', 'least': job['min_iterations']}))"
    program(monkeypatch, tmp_path, code)
    job = dataclasses.replace(JOB, min_iterations=7)
    assert beside.told("own", job, 60) == [{"event": "told", "least": 7}]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ('print(\'{"event": "error", "message": "No.", "remedy": "Yes."}\')', "No."),
        ("raise SystemExit('it is full')", "it is full"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed"),
        ("print('hello')", "something else"),
        ("", "with status 0"),
        ("import time; time.sleep(60)", "did not end"),
    ],
)
def test_how_it_may_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, said: str
) -> None:
    program(monkeypatch, tmp_path, code)
    with pytest.raises(EngineError, match=said):
        beside.told("own", JOB, 1 if "sleep" in code else 60)
