from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mvdeploy import formats
from mvdeploy.models.preprocess import sample_photograph

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def net(exported, tmp_path: Path) -> str:
    path = exported().path
    for file in (path, formats.manifest_path(path)):
        shutil.copy(file, tmp_path)
    shutil.copy(sample_photograph(), tmp_path / "photo.jpg")
    return str(path.name)


def test_classes_and_a_picture(typed: Mvdeploy, net: str, tmp_path: Path) -> None:
    done = typed("predict", net, "--input", "photo.jpg", "-o", "picture.png")
    assert done.returncode == 0, done.stderr
    first, warning, empty, *table = done.stdout.splitlines()
    assert first.startswith(f"{net} (mobilevit_xxs 4x2,2,2) by onnxruntime ")
    assert first.endswith(": photo.jpg")
    assert warning == "Random weights (seed 0): the answer means nothing."
    assert not empty
    assert len(table) == 6  # the head and five classes
    assert table[0].split() == ["class", "probability"]
    with Image.open(tmp_path / "picture.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (672, 672))


def test_labels_and_json(mvdeploy: Mvdeploy, net: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(f"thing {n}" for n in range(1000)))
    done = mvdeploy("predict", net, "--labels", "labels.txt", "--json")
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert (body["task"], body["device"], body["random_weights"]) == ("classify", "host", True)
    assert len(body["answers"]) == 5
    for answer in body["answers"]:
        assert answer["label"] == f"thing {answer['class']}"
        assert 0 < answer["value"] <= 1
    assert body["outputs"]["logits"]["shape"] == [1, 1000]


@pytest.mark.slow
def test_boxes(mvdeploy: Mvdeploy, exported, tmp_path: Path) -> None:
    made = exported("onnx", task="detect", patches="2,2,2", classes=6)
    done = mvdeploy("predict", str(made.path), "-o", "picture.jpg")
    assert done.returncode == 0, done.stderr
    head, *rows = (line for line in done.stdout.splitlines() if line.startswith("class "))
    assert head.split() == ["class", "score", "left", "top", "right", "bottom"]
    assert rows
    assert "Boxes are in pixels of the 96x96 image that the network is fed." in done.stdout
    with Image.open(tmp_path / "picture.jpg") as picture:
        assert picture.format == "JPEG"


def test_a_file_of_others_has_numbers(mvdeploy: Mvdeploy, others) -> None:
    done = mvdeploy("predict", str(others("noted.onnx")))
    assert done.returncode == 0, done.stderr
    assert ", mean " in done.stdout
    assert "Random weights" not in done.stdout
    drawn = mvdeploy("predict", str(others("noted.onnx")), "-o", "picture.png")
    assert drawn.returncode == 2
    assert "Leave out -o." in drawn.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "picture.doc"), "picture.doc is no name of a picture."),
        (("-o", "picture"), "picture is no name of a picture."),
        (("--labels", "two.txt"), "There are 2 labels, but the network has 1000 classes."),
        (("--input", "none.jpg"), "none.jpg"),
        (("--device", "toaster"), "toaster"),
    ],
)
def test_what_cannot_be(
    mvdeploy: Mvdeploy, net: str, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "two.txt").write_text("cat\ndog\n")
    done = mvdeploy("predict", net, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.glob("picture*"))
