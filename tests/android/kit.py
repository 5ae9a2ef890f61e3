"""The real runner and the real engines for arm64, built once for all tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mvdeploy.kits import build
from tests import shared
from tests.android.fixtures import demand


@pytest.fixture(scope="session")
def aarch64_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a kit for arm64; workers of one run share it."""
    for program in ("cmake", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++"):
        demand(f"the program {program}", shutil.which(program) is not None)
    return shared_kit("aarch64", tmp_path_factory)


def shared_kit(architecture: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a kit that the workers of one run share."""
    folder = shared.folder(tmp_path_factory)
    with shared.locked(folder / f"{architecture}.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for language in ("CFLAGS", "CXXFLAGS"):
            patch.setenv(language, "-Werror")  # the native runner's code has no warnings
        return build.kit(architecture)[0]
