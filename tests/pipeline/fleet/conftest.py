from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mvdeploy.pipeline.fleet.tasks import Job
from mvdeploy.records import DeviceProfile
from mvdeploy.records.fleet import Task, Unit

MakeJob = Callable[..., Job]


def unit(name: str, device: str = "", link: str = "adb", place: str = "") -> Unit:
    profile = DeviceProfile(device or name, name, link, ("steady",))
    return Unit(profile, name, "machine", place)


def told(root: Path, run: str) -> dict[str, Any]:
    """Return what the stand-in wrote into the run."""
    found: dict[str, Any] = json.loads((root / run / "told.json").read_text())
    return found


@pytest.fixture
def make_job() -> MakeJob:
    def make(device: str, *files: Path, unit: str = "", **asked: Any) -> Job:
        places = {f"file{number + 1}": path for number, path in enumerate(files)}
        sums = {
            name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in places.items()
        }
        task = Task("bench", device, unit, asked, sums, "0.1.0")
        request: Any = SimpleNamespace(shelf=None)
        return Job(task, request, places)

    return make
