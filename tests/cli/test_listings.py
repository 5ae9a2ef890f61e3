from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from mvdeploy import __version__

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]


def test_models_are_listed_by_the_name_to_give(typed: Mvdeploy, mvdeploy: Mvdeploy) -> None:
    done = typed("models")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names[:3] == ["mobilevit_xxs", "mobilevit_xs", "mobilevit_s"]
    assert "(default)" in done.stdout
    assert list(json.loads(mvdeploy("models", "--json").stdout)) == names[: names.index("Also:")]


def test_devices_are_listed_with_those_of_a_folder(
    typed: Mvdeploy, mvdeploy: Mvdeploy, tmp_path: Path
) -> None:
    folder = tmp_path / "devices"
    folder.mkdir()
    (folder / "board.toml").write_text(
        'name = "board"\ntitle = "A board"\nlink = "host"\nengines = ["onnxruntime"]\n'
    )
    (folder / "broken.toml").write_text("name = ")
    done = typed("devices", "--devices-dir", str(folder))
    assert done.returncode == 0
    names = {line.split()[0] for line in done.stdout.splitlines()}
    shipped = {path.stem for path in (Path(__file__).parents[2] / "devices").glob("*.toml")}
    assert names == {"board", *shipped}
    assert "broken.toml" in done.stderr
    listed = json.loads(mvdeploy("devices", "--json", "--devices-dir", str(folder)).stdout)
    assert listed["profiles"]["board"]["title"] == "A board"


def test_the_doctor_names_what_is_missing(typed: Mvdeploy, mvdeploy: Mvdeploy) -> None:
    """No machine that runs the tests has a phone attached."""
    done = typed("devices", "doctor", "iphone12")
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    assert {line.split()[0] for line in lines if "->" not in line} <= {"met", "missing", "unknown"}
    assert any(line.startswith("missing") and "developer team" in line for line in lines)
    assert "MVDEPLOY_APPLE_TEAM" in done.stdout
    listed = json.loads(mvdeploy("devices", "doctor", "iphone12", "--json").stdout)
    assert all(one["remedy"] for one in listed if one["state"] == "missing")
    assert {one["name"] for one in listed} >= {"macOS", "Xcode", "xcrun devicectl", "phone"}


def test_the_doctor_says_what_this_machine_is(typed: Mvdeploy, mvdeploy: Mvdeploy) -> None:
    """As forms for issues ask for it: without a name."""
    done = typed("devices", "doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert {one["state"] for one in found.values()} == {"met"}
    assert {"system", "processor", "memory", "mvdeploy", "Python"} < set(found)
    assert found["mvdeploy"]["found"] == __version__
    assert found["onnxruntime"]["found"] == version("onnxruntime")
    assert "coreml" not in found  # a Mac's
    assert "met      processor" in mvdeploy("devices", "doctor", "host").stdout


def test_without_a_phone_nothing_is_measured(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    done = mvdeploy("bench", "--device", "iphone12")
    assert done.returncode == 3
    assert "iPhone 12 cannot be used" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_device_of_a_folder_can_be_measured_on(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(
        'name = "board"\ntitle = "A board"\nlink = "carrier-pigeon"\nengines = ["onnxruntime"]\n'
    )
    done = mvdeploy("bench", "--device", "board", "--devices-dir", str(tmp_path))
    assert done.returncode == 2
    assert "carrier-pigeon" in done.stderr


def test_options_of_the_setup_are_not_ignored_elsewhere(mvdeploy: Mvdeploy) -> None:
    done = mvdeploy("devices", "doctor", "host", "--rebuild")
    assert done.returncode == 2
    assert "mvdeploy devices setup" in done.stderr
