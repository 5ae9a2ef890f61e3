from __future__ import annotations

import dataclasses
import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from mvdeploy.records import DeviceProfile, Job, JobModel, Warmup
from mvdeploy.transports.host import HostLink

ENGINES = Path(__file__).parents[1] / "runners" / "engines"

# The runner as it is, in an interpreter that has the fake engines as well.
START = f"""
import mvdeploy.runtimes
mvdeploy.runtimes.__path__.append({str(ENGINES)!r})
from mvdeploy.runners.host import main
main()
"""


@pytest.fixture
def command():
    return (sys.executable, "-c", START)


@pytest.fixture
def profile():
    return DeviceProfile("host", "This machine", "host", ("steady",))


@pytest.fixture
def link(profile, command):
    with HostLink(profile, command) as link:
        yield link


@pytest.fixture
def scripted(profile):
    """A link whose runner is a few lines of Python."""

    def make(script):
        return HostLink(profile, (sys.executable, "-c", script))

    return make


@pytest.fixture
def make_job(tmp_path):
    tensor = tmp_path / "x.npy"
    np.save(tensor, np.ones((2, 3), np.float32))

    def make(*engines, order=(0, 0, 0), **fields):
        models = []
        for index, engine in enumerate(engines):
            path = tmp_path / f"model{index}.fake"
            path.write_bytes(bytes([index]))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            models.append(JobModel(engine, str(path), digest, {"x": str(tensor)}))
        job = Job(tuple(models), order, threads=1, warmup=Warmup(iterations=1))
        return dataclasses.replace(job, **fields)

    return make
