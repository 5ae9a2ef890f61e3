"""Files may be called anything."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy import formats
from mvdeploy.cli.options import file_argument
from mvdeploy.errors import UsageError
from mvdeploy.models import zoo
from tests.conftest import MakeExport

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]

FEW = ("--warmup", "3", "--iterations", "4", "--sessions", "1", "--no-breakdown")


@pytest.mark.parametrize("name", ["a:b.onnx", "-dash ü 空.onnx", "x" * 240 + ".onnx"])
def test_a_file_is_measured_and_verified(
    mvdeploy: Mvdeploy, exported: MakeExport, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    source = exported().path
    shutil.copy(source, path)
    shutil.copy(formats.manifest_path(source), formats.manifest_path(path))
    done = mvdeploy("bench", f"./{name}", *FEW, "-o", "runs")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    (case,) = json.loads((run / "run.json").read_text())["cases"]
    assert len(run.name) < 150 and len(case) <= 100


def test_a_name_of_240_letters_is_exported(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    name = "y" * 240 + ".onnx"
    done = mvdeploy("export", "yardstick", "-o", name)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}.json"]


def test_a_colon_makes_no_model_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"There is no file \./a:b\.onnx"):
        file_argument("./a:b.onnx")
    for text in ("timm:resnet18", "net.py:make", "./a:b/net.py:make"):
        assert file_argument(text) is None
    found = zoo.find("./a:b/net.py:make")
    assert found is not None and found.path_in("./a:b/net.py:make") == "./a:b/net.py"
