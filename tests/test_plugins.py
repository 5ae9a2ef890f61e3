from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mvdeploy import plugins
from mvdeploy.errors import UsageError

NAME = "room_of_the_plugins_test"


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with files, a folder, a private file, and one that must not be imported."""
    folder = tmp_path / NAME
    (folder / "branch").mkdir(parents=True)
    for file in ("__init__", "branch/__init__", "alpha", "beta", "_private"):
        (folder / f"{file}.py").write_text(f"NAME = {file!r}\n")
    (folder / "broken.py").write_text("raise RuntimeError('imported')\n")
    (folder / "notes.txt").write_text("no plug-in")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == NAME]:
        monkeypatch.delitem(sys.modules, name)
    return NAME


def test_the_folder_is_the_registry(room: str) -> None:
    assert plugins.names(room) == ("alpha", "beta", "branch", "broken")
    assert plugins.load(room, "alpha", "thing").NAME == "alpha"
    assert plugins.load(room, "branch", "thing").NAME == "branch/__init__"
    assert f"{room}.beta" not in sys.modules


def test_a_new_file_is_offered_at_once(room: str, tmp_path: Path) -> None:
    (tmp_path / NAME / "gamma.py").write_text("")
    assert "gamma" in plugins.names(room)


def test_plugins_of_ones_own_lie_in_folders_named_as_the_rooms(
    room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    branch = f"{room}.branch"
    (tmp_path / "own" / "branch").mkdir(parents=True)
    (tmp_path / "own" / "branch" / "leaf.py").write_text("NAME = 'mine'\n")
    assert plugins.names(branch) == ()
    (tmp_path / "other").mkdir()
    monkeypatch.setenv(plugins.FOLDER, f"{tmp_path / 'other'}{os.pathsep}{tmp_path / 'own'}")
    assert plugins.names(branch) == ("leaf",)
    assert plugins.load(branch, "leaf", "thing").NAME == "mine"
    assert plugins.names(room) == ("alpha", "beta", "branch", "broken")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nowhere_to_be_found", "cannot be used (ModuleNotFoundError: No module named"),
        ("def (:", "cannot be used (SyntaxError: "),
        ("NAME = 1", "has no 'WORTH'."),
    ],
)
def test_a_plugin_of_ones_own_that_cannot_be_used_is_named(
    room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "leaf.py").write_text(text)
    monkeypatch.setenv(plugins.FOLDER, str(tmp_path / "own"))
    plugins.names(room)
    monkeypatch.setattr(sys.modules[room], "REQUIRED", ("WORTH",), raising=False)
    with pytest.raises(UsageError) as caught:
        plugins.load(room, "leaf", "thing")
    assert message in caught.value.message
    assert str(tmp_path / "own" / "leaf.py") in caught.value.message


def test_a_folder_of_plugins_that_is_not_there_is_named(
    room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(plugins.FOLDER, str(tmp_path / "none"))
    with pytest.raises(UsageError, match=f"no folder {tmp_path}/none for plug-ins"):
        plugins.names(room)


def test_a_fault_of_a_plugin_is_not_hidden(room: str) -> None:
    with pytest.raises(RuntimeError, match="imported"):
        plugins.load(room, "broken", "thing")


@pytest.mark.parametrize("name", ["", "gamma", "_private", "Alpha", "alpha.x", "..os", "notes"])
def test_an_unknown_name_is_refused_with_the_known_ones(room: str, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        plugins.load(room, name, "thing")
    assert caught.value.message == f"There is no thing '{name}'."
    assert caught.value.remedy.endswith("Choose one of: alpha, beta, branch, broken.")


def test_the_nearest_name_is_suggested() -> None:
    error = plugins.unknown("format", "onxx", ("onnx", "pytorch"))
    assert error.remedy == "Did you mean 'onnx'? Choose one of: onnx, pytorch."
    assert plugins.unknown("format", "q", ()).remedy == "Choose one of: none."


@pytest.mark.parametrize(
    "room", ["models", "passes", "formats", "verify", "engines", "attribute", "timing", "records"]
)
def test_rooms_are_light_to_import(room: str) -> None:
    script = (
        f"import sys, mvdeploy.{room} as room\n"
        "from mvdeploy import plugins\n"
        f"plugins.names('mvdeploy.{room}')\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'scipy', 'matplotlib', 'pandas'}\n"
        "print(*sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    "room", ["formats", "engines", "models.families", "links.families", "passes"]
)
def test_rooms_hold_plugins(room: str) -> None:
    assert plugins.names(f"mvdeploy.{room}")
