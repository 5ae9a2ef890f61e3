from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def mvdeploy(tmp_path: Path) -> Mvdeploy:
    """Run the command as a user does: in a process of its own, in an empty folder."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mvdeploy", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
