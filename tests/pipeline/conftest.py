from __future__ import annotations

from pathlib import Path

import pytest

from tests.warm import Server

# Few inferences, as the properties do not depend on how many there are; and a warm-up of three, as
# a busy machine is never steady.
SHORT = ("--warmup", "3", "--iterations", "12", "--sessions", "2")
NETWORK = ("mobilevit_xxs", "--model-arg", "depths=1,1,1", "--image-size", "64")


@pytest.fixture(scope="session")
def finished(warm: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of A and B on both engines, and what the command printed."""
    folder = tmp_path_factory.mktemp("bench")
    formats = ("--format", "onnx", "--format", "pytorch")
    patches = ("--patches", "2,2,2", "--patches", "8,4,2")
    done = warm.mvdeploy("bench", *NETWORK, *SHORT, *formats, *patches, "-o", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "out").iterdir()
    return run, done.stdout
