"""The real runner and the real engines, and what they run: made once for all tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mvdeploy import models
from mvdeploy.kits import build
from tests import shared
from tests.android.fixtures import demand


@pytest.fixture(scope="session")
def aarch64_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a kit for arm64; workers of one run share it."""
    for program in ("cmake", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++"):
        demand(f"the program {program}", shutil.which(program) is not None)
    return shared_kit("aarch64", tmp_path_factory)


@pytest.fixture(scope="session")
def yardsticks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small network in every format that phones run; workers of one run share the files."""
    from mvdeploy.pipeline.export import Builder

    folder = shared.folder(tmp_path_factory) / "yardsticks"
    folder.mkdir(exist_ok=True)
    paths = {"onnx": folder / "net.onnx", "executorch": folder / "net.pte"}
    with shared.locked(folder / "lock"):
        if not (folder / "done").exists():
            builder = Builder(models.make_spec("yardstick"))
            for format_name, path in paths.items():
                builder.export(format_name, path)
            (folder / "done").touch()
    return paths


def shared_kit(architecture: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a kit that the workers of one run share."""
    folder = shared.folder(tmp_path_factory)
    with shared.locked(folder / f"{architecture}.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for language in ("CFLAGS", "CXXFLAGS"):
            patch.setenv(language, "-Werror")  # the native runner's code has no warnings
        return build.kit(architecture)[0]
