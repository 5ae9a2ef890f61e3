from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

NETWORK = ("mobilevit_xxs", "--image-size", "64")
SHORT = ("--min-time", "0.2", "--max-time", "0.2", "--sessions", "2")


def bench(folder: Path, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mvdeploy", "bench", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of A and B on both engines, and what the command printed."""
    folder = tmp_path_factory.mktemp("bench")
    formats = ("--format", "onnx", "--format", "pytorch")
    patches = ("--patches", "2,2,2", "--patches", "8,4,2")
    done = bench(folder, *NETWORK, *SHORT, *formats, *patches, "-o", "out")
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "out").iterdir()
    return run, done.stdout
