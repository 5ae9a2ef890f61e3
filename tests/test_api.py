from __future__ import annotations

import ast
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


def test_type_checkers_are_told_of_every_public_name() -> None:
    stub = Path(mvdeploy.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    told = {
        alias.asname: node.module
        for node in ast.walk(ast.parse(stub))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == mvdeploy._API


def test_functions_and_rooms_of_one_name_do_not_hide_each_other() -> None:
    code = """
import importlib, mvdeploy
for room in ("api.export", "api.bench", "api.compare", "pipeline.export", "cli.commands.bench"):
    importlib.import_module(f"mvdeploy.{room}")
print(*(callable(getattr(mvdeploy, n)) for n in ("export", "bench", "compare", "load", "build")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 5


def test_the_stages_below_the_functions_are_called_one_by_one(tmp_path: Path) -> None:
    spec = mvdeploy.make_spec(
        "mobilevit_xxs", patches=mvdeploy.parse_patches("8,4,2"), image_size=(64, 64)
    )
    exported = mvdeploy.Builder(spec).export("onnx", tmp_path / "model.onnx")
    assert exported.parity.passed
    assert exported.path.is_file()
