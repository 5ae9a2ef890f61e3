from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mvdeploy import devices
from mvdeploy.links.families.apple import AppleLink
from mvdeploy.links.families.host import HostLink
from mvdeploy.records import DeviceProfile, Job, JobModel, Warmup
from tests.apple.stand_in import TEAM, Server, StandIn

ENGINES = Path(__file__).parents[1] / "runners" / "engines"

# The runner as it is, in an interpreter that has the fake engines as well.
START = f"""
import mvdeploy.engines
mvdeploy.engines.__path__.append({str(ENGINES)!r})
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


# A Mac and a phone that are not there


# For a module, not for the session: other tests look for processes that are left.
@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture
def mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A stand-in Mac with a stand-in phone at its cable."""
    made = StandIn(tmp_path / "mac")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def make_link(mac: StandIn, server: Server):
    def make(device: str = "iphone12", **options: str) -> AppleLink:
        return AppleLink(devices.get(device), {"team_id": TEAM, **options}, server.command)

    return make
