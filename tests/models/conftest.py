"""The libraries whose checkpoints are read, as they are installed, for tests that compare."""

from __future__ import annotations

import dataclasses
from types import ModuleType

import pytest

from mvdeploy.models import zoo


@dataclasses.dataclass(frozen=True)
class References:
    timm: ModuleType
    transformers: ModuleType


@pytest.fixture(scope="session")
def references() -> References:
    transformers = zoo.load("transformers")
    transformers.utils.logging.disable_progress_bar()
    return References(zoo.load("timm"), transformers)
