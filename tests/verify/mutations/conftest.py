from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mvdeploy import formats, models
from mvdeploy.verify.mutations import Subject


@pytest.fixture
def subject() -> Callable[[Path], Subject]:
    """Return a function that makes a subject of a file, for drivers that do not export anew."""

    def make(path: Path) -> Subject:
        artifact = formats.read(path)
        network = models.build(artifact.spec)
        image = np.zeros(artifact.inputs[0].shape, np.float32)
        feed = {artifact.inputs[0].name: image}
        return Subject(path, artifact, network, network, feed, lambda *_: None)

    return make
