from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]


def test_models_are_listed_by_the_name_to_give(mvdeploy: Mvdeploy) -> None:
    done = mvdeploy("models")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names[:3] == ["mobilevit_xxs", "mobilevit_xs", "mobilevit_s"]
    assert "(default)" in done.stdout
    assert list(json.loads(mvdeploy("models", "--json").stdout)) == names[: names.index("Also:")]


def test_devices_are_listed_with_those_of_a_folder(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    folder = tmp_path / "devices"
    folder.mkdir()
    (folder / "board.toml").write_text(
        'name = "board"\ntitle = "A board"\nlink = "host"\nengines = ["onnxruntime"]\n'
    )
    (folder / "broken.toml").write_text("name = ")
    done = mvdeploy("devices", "--devices-dir", str(folder))
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"board", "host"}
    assert "broken.toml" in done.stderr
    listed = json.loads(mvdeploy("devices", "--json", "--devices-dir", str(folder)).stdout)
    assert listed["board"]["title"] == "A board"


def test_a_device_of_a_folder_can_be_measured_on(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(
        'name = "board"\ntitle = "A board"\nlink = "carrier-pigeon"\nengines = ["onnxruntime"]\n'
    )
    done = mvdeploy("bench", "--device", "board", "--devices-dir", str(tmp_path))
    assert done.returncode == 2
    assert "carrier-pigeon" in done.stderr
