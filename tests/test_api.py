from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mvdeploy


@pytest.mark.parametrize("name", mvdeploy.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(mvdeploy, name) is not None
    assert name in dir(mvdeploy)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        mvdeploy.nonsense  # noqa: B018


def test_importing_the_package_imports_no_room() -> None:
    code = "import sys, mvdeploy; print([m for m in sys.modules if m.startswith('mvdeploy.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_example_of_the_docstring_runs(tmp_path: Path) -> None:
    spec = mvdeploy.make_spec(
        "mobilevit_xxs", patches=mvdeploy.parse_patches("8,4,2"), image_size=(64, 64)
    )
    exported = mvdeploy.Builder(spec).export("onnx", tmp_path / "model.onnx")
    assert exported.parity.passed
    assert exported.path.is_file()
