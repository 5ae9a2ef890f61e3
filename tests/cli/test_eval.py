"""``mvdeploy eval`` from the command line, as docs/eval.md shows it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvdeploy import models
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import Evaluation, codec
from tests import colours, shared, textures

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files of networks, and data."""
    folder = shared.folder(tmp_path_factory) / "eval"
    folder.mkdir(exist_ok=True)
    with shared.locked(folder / "lock"):
        if not (folder / "done").exists():
            for name, favoured in (("right", None), ("green", 2)):
                spec = models.make_spec(colours.network(folder, favoured=favoured, name=name))
                Builder(spec).export("onnx", folder / f"{name}.onnx")
            colours.folders(folder / "data")
            (folder / "done").touch()
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    """The folder that commands are run in, with the files and the data by short names."""
    for name in ("right.onnx", "green.onnx", "data", "right.py", "green.py"):
        (tmp_path / name).symlink_to(made / name)
    for name in ("right.onnx.json", "green.onnx.json"):
        (tmp_path / name).symlink_to(made / name)
    return tmp_path


def test_an_evaluation_as_it_is_typed(typed: Mvdeploy, here: Path) -> None:
    done = typed("eval", "right.onnx", "--data", "data", "--compare", "green.onnx")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "data: 24 images (folders)"
    (head,) = (line for line in lines if line.strip().startswith("top-1  "))
    assert head.split() == ["top-1", "top-5", "agrees", "with", "PyTorch", "images/s", "by"]
    (right,) = (line for line in lines if line.startswith("right.onnx  "))
    assert "100.00 % (86.20 to 100.00)" in right and "onnxruntime " in right
    (green,) = (line for line in lines if line.startswith("green.onnx  "))
    assert "16.67 % (6.68 to 35.85)" in green
    assert "green.onnx against right.onnx: they say the same in 16.67 % (6.68 to 35.85)" in lines
    (top1,) = (line for line in lines if line.startswith("  top-1: "))
    assert top1.startswith("  top-1: −83.33 points (95 %: −93.")
    assert "green.onnx alone is right on 0, right.onnx alone on 20; McNemar's" in top1
    assert top1.endswith("p = 1.91e-06")
    assert "no latency" in done.stdout
    # Code that a manifest names is not run: what PyTorch says is not known then.
    assert "agreement with PyTorch is not known" in done.stdout


def test_everything_as_json(mvdeploy: Mvdeploy, here: Path) -> None:
    words = ("--model", "right.py:make", "--json")
    done = mvdeploy("eval", "right.onnx", "--data", "data", "--compare", "green.onnx", *words)
    assert done.returncode == 0, done.stderr
    other = json.loads(done.stdout)["subjects"][1]  # which came from other code
    assert other["agreement"] is None and "other weights" in other["agreement_unknown"]
    done = mvdeploy("eval", "green.onnx", "--data", "data", *words)
    assert done.returncode == 2 and "other weights" in done.stderr
    done = mvdeploy("eval", "right.onnx", "--data", "data", *words)
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert (body["task"], body["n"], body["layout"]) == ("classify", 24, "folders")
    (subject,) = body["subjects"]
    assert subject["top1"].pop("ci") == pytest.approx([0.8620, 1.0], abs=1e-4)
    assert subject["top1"] == {"value": 1.0, "hits": 24, "n": 24}
    assert subject["agreement"]["value"] == 1.0
    assert subject["inference"]["images_per_second"] > 0
    assert not subject["random_weights"] and subject["device"] == "host"
    assert body["left_out"] == {"count": 0, "by_kind": {}, "items": []}
    assert "24 of 24 images" in done.stderr


def test_a_model_by_name_is_not_trained(mvdeploy: Mvdeploy, here: Path) -> None:
    textures.write(here / "textures", classes=2, images=2)
    words = ("--num-classes", "2", "--image-size", "64", "--data", "textures")
    done = mvdeploy("eval", "mobilevit_xxs", *words)
    assert done.returncode == 0, done.stderr
    assert "mobilevit_xxs 2,2,2 is not trained: its accuracy means nothing." in done.stdout
    assert "by PyTorch" not in done.stdout and "PyTorch 2." in done.stdout


def test_what_is_left_out_is_said_and_strict_fails(
    mvdeploy: Mvdeploy, here: Path, tmp_path: Path
) -> None:
    data = tmp_path / "own"
    colours.folders(data, images=2)
    (data / "red" / "0.png").write_bytes(b"")
    for number in range(7):
        (data / "red" / f"{number}.txt").touch()
    done = mvdeploy("eval", "right.onnx", "--data", "own", "--without-pytorch")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "own: 11 of 12 images (folders)"
    assert "PyTorch is not known" not in done.stdout
    assert "Left out: 1 × cannot be read as an image" in lines
    assert "  red/0.png cannot be read as an image (it is empty)" in lines
    assert "Left out: 7 × is no image by its name" in lines
    assert "  and 2 more; --json names all" in lines
    strict = mvdeploy("eval", "right.onnx", "--data", "own", "--without-pytorch", "--strict")
    assert (strict.returncode, strict.stdout.splitlines()[0]) == (1, lines[0])
    whole = mvdeploy("eval", "right.onnx", "--data", "data", "--strict", "--without-pytorch")
    assert whole.returncode == 0


def test_labels_in_a_table_and_in_a_list(mvdeploy: Mvdeploy, here: Path, tmp_path: Path) -> None:
    for number, colour in enumerate(colours.COLOURS):
        colours.image(colour, number).save(tmp_path / f"{colour} 1.png")
    numbered = [f"{colour} 1.png,{n}" for n, colour in enumerate(colours.COLOURS)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *numbered]))
    (tmp_path / "val.txt").write_text("\n".join(line.replace(",", " ") for line in numbered))
    named = [f"{colour} 1.png,{colour.upper()}" for colour in colours.COLOURS]
    (tmp_path / "named.csv").write_text("\n".join(["path,label", *named]))
    (tmp_path / "map.txt").write_text("\n".join(map(str.upper, colours.COLOURS)))
    for words in (("labels.csv",), ("val.txt",), ("named.csv", "--class-map", "map.txt")):
        done = mvdeploy("eval", "right.onnx", "--without-pytorch", "--json", "--data", *words)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["subjects"][0]["top1"]["hits"] == 6


def test_some_of_the_images_and_a_table_of_them(
    mvdeploy: Mvdeploy, here: Path, tmp_path: Path
) -> None:
    words = ("--limit", "12", "--without-pytorch", "--data", "data")
    done = mvdeploy("eval", "right.onnx", "-o", "says.csv", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "data: 12 of 24 images, chosen with seed 0 (folders)"
    with (tmp_path / "says.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["truth"] for row in table] == [str(n // 2) for n in range(12)]


def test_an_interrupt_keeps_what_was_finished(here: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    for number, colour in enumerate(colours.COLOURS):
        (many / colour).mkdir(parents=True)
        first = many / colour / "0.png"
        colours.image(colour, number).save(first)
        for n in range(1, 500):
            os.link(first, many / colour / f"{n}.png")
    words = ("eval", "right.onnx", "--data", "many", "--without-pytorch", "-o", "out")
    command = [sys.executable, "-m", "mvdeploy", *words]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        finished = tmp_path / "out" / "shards"
        while not any(finished.glob("[!.]*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert err.strip().endswith("Error: Interrupted.\nWhat was finished before is saved.")
    assert not (tmp_path / "out" / "predictions.csv").exists()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert " images were there already." in done.stderr
    saved = codec.load(Evaluation, tmp_path / "out" / "evaluation.json")
    assert saved.images == 3000 and saved.subjects[0].metrics[0].hits == 3000
    again = subprocess.run(
        [*command, "--limit", "6"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert "the choice of images is another than before: the evaluation began anew" in again.stderr


@pytest.mark.slow
def test_masks_and_boxes(mvdeploy: Mvdeploy, exported: Any, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    generator = np.random.default_rng(0)
    voc = tmp_path / "voc"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (voc / name).mkdir(parents=True)
    for n in range(2):
        textures.texture(n, 0, (60, 80)).save(voc / "JPEGImages" / f"{n}.jpg")
        mask = Image.fromarray(generator.choice([0, 1, 5, 255], (60, 80)).astype(np.uint8), "P")
        mask.putpalette(bytes(range(256)) * 3)
        mask.save(voc / "SegmentationClass" / f"{n}.png")
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("0\n1\n")
    asked = {"patches": "2,2,2", "classes": 6}
    net = exported("onnx", task="segment", **asked).path
    done = mvdeploy("eval", str(net), "--data", "voc", "--json")
    assert done.returncode == 0, done.stderr
    subject = json.loads(done.stdout)["subjects"][0]
    assert 0 <= subject["miou"]["value"] < 0.5 and subject["agreement"]["value"] > 0.99

    boxes = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 80, "height": 60} for n in range(2)],
        "annotations": [{"image_id": 0, "category_id": 3, "bbox": [10, 10, 40, 30]}],
        "categories": [{"id": n, "name": f"thing {n}"} for n in (1, 2, 3, 7, 90)],
    }
    (voc / "JPEGImages" / "boxes.json").write_text(json.dumps(boxes))
    net = exported("onnx", task="detect", **asked).path
    done = mvdeploy("eval", str(net), "--data", "voc/JPEGImages/boxes.json")
    assert done.returncode == 0, done.stderr
    assert "mAP at IoU 0.5" in done.stdout and "2 images (coco)" in done.stdout
    wrong = mvdeploy("eval", str(net), "--data", "voc")
    assert wrong.returncode == 2
    assert "is no data set for the task 'detect'; it looks like data for the task" in wrong.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("right.onnx", "--data", "none"), "There is no data set none."),
        (("right.onnx", "--data", "bad.csv"), "bad.csv has no column 'path'"),
        (("right.onnx", "--data", "empty"), "empty is no data set for the task 'classify'."),
        (("right.onnx", "--data", "data", "--class-map", "none"), "There is no class map none."),
        (("none.onnx", "--data", "data"), "There is no file none.onnx."),
        (("right.onnx",), "Missing option '--data'"),
        (("right.onnx", "--data", "data", "--limit", "0"), "0 is not in the range x>=1"),
        (("right.onnx", "--data", "data", "--device", "toaster"), "toaster"),
        (("right.onnx", "--data", "data", "-o", "data"), "is there, and holds no evaluation."),
        (("right.onnx", "--data", "data", "--patches", "2,2,2"), ""),
        (
            ("mobilevit_xxs", "--patches", "2,2,2", "--patches", "8,4,2", "--data", "data"),
            "Several --patches or --attention name several networks.",
        ),
        (("right.onnx", "--data", "loop"), "loop"),
    ],
)
def test_what_cannot_be(
    mvdeploy: Mvdeploy, here: Path, words: tuple[str, ...], message: str
) -> None:
    (here / "bad.csv").write_text("image,label\n")
    (here / "empty").mkdir()
    (here / "loop").symlink_to("loop")
    done = mvdeploy("eval", *words)
    if message:
        assert done.returncode == 2, done.stdout
        assert message in done.stderr
        assert done.stdout == ""
