from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mvdeploy
from mvdeploy.records import Job, JobModel, Warmup
from mvdeploy.records.codec import dumps

ENGINES = Path(__file__).parent / "engines"

# The runner as it is, in an interpreter that has the fake engines as well.
START = f"""
import mvdeploy.engines
mvdeploy.engines.__path__.append({str(ENGINES)!r})
from mvdeploy.runners.host import main
main()
"""


@dataclasses.dataclass(frozen=True)
class Ended:
    status: int
    events: list[dict]
    stderr: str

    @property
    def kinds(self):
        return [event["event"] for event in self.events]

    def of(self, kind):
        return [event for event in self.events if event["event"] == kind]


@pytest.fixture
def make_job(tmp_path):
    tensor = tmp_path / "x.npy"
    np.save(tensor, np.arange(6, dtype=np.float32).reshape(2, 3))

    def make(*engines, order=(0, 0, 0), **fields):
        models = []
        for index, engine in enumerate(engines):
            path = tmp_path / f"model{index}.fake"
            path.write_bytes(bytes([index]))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            models.append(JobModel(engine, str(path), digest, {"x": str(tensor)}))
        job = Job(tuple(models), order, threads=1, warmup=Warmup(iterations=2))
        return dataclasses.replace(job, **fields)

    return make


@pytest.fixture
def run():
    """Run the runner on a job, or on whatever text, and return what came out."""

    def run(job):
        text = dumps(job) if isinstance(job, Job) else job
        done = subprocess.run(
            [sys.executable, "-c", START],
            input=text.encode() if isinstance(text, str) else text,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(Path(mvdeploy.__file__).parents[1])},
            timeout=120,
            check=False,
        )
        lines = done.stdout.decode().splitlines()
        return Ended(done.returncode, [json.loads(line) for line in lines], done.stderr.decode())

    return run
