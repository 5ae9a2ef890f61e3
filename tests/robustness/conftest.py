from __future__ import annotations

from pathlib import Path

import pytest

from tests import shared
from tests.robustness import workshop
from tests.warm import Server


@pytest.fixture(scope="session")
def sound_files(warm: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of sound files, made once for all workers."""
    folder = shared.folder(tmp_path_factory) / "workshop"
    with shared.locked(folder.with_name("workshop.lock")):
        return workshop.build(warm, folder)
