from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.warm import Server, started

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def mvdeploy(warm: Server, tmp_path: Path) -> Mvdeploy:
    """Run the command in a process of its own, in an empty folder."""
    return functools.partial(warm.mvdeploy, cwd=tmp_path)


@pytest.fixture
def typed(tmp_path: Path) -> Mvdeploy:
    """Run the command as a user does: from the very start, in an empty folder.

    Each command and each exit status has one test at least that uses this.
    """
    return functools.partial(started, cwd=tmp_path)
