"""The commands of docs/tasks.md, as a user types them; networks and images are smaller."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mvdeploy import formats
from mvdeploy.models.preprocess import sample_photograph

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]

SMALL = ("--task", "detect", "--image-size", "96", "--num-classes", "6")


def test_the_stages_of_a_network_with_a_head(typed: Mvdeploy) -> None:
    words = ("--task", "segment", "--patches", "8,4,2", "--image-size", "96")
    done = typed("describe", "mobilevit_xxs", *words)
    assert done.returncode == 0, done.stderr
    assert "mobilevit_xxs 8,4,2 segment, input 1x3x96x96" in done.stdout
    assert "fed RGB, stretched to 96x96" in done.stdout
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line}
    assert rows["encoder.layer_5"][1] == "80x6x6"  # at output stride 16
    assert rows["seg_head"][1] == "21x6x6"
    assert rows["total"][1] == "1,854,853"


@pytest.mark.slow
def test_export_with_detections_and_a_picture_of_them(typed: Mvdeploy, tmp_path: Path) -> None:
    done = typed("export", "mobilenetv2", *SMALL, "--format", "onnx", "--with-nms")
    assert done.returncode == 0, done.stderr
    name = "mobilenetv2-detect-96-fp32-nms.onnx"
    assert "parity with PyTorch on 5 inputs" in done.stdout
    artifact = formats.read(tmp_path / name)
    assert "NonMaxSuppression" in {operator.type for operator in artifact.operators}
    assert formats.options_of(artifact).own.with_nms
    assert artifact.verified is not None and artifact.verified.snr_db  # of boxes that differ
    photograph = str(sample_photograph())
    done = typed("predict", name, "--input", photograph, "-o", "picture.png", "--json")
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert body["task"] == "detect"
    assert list(body["outputs"]) == ["detected_boxes", "detected_scores", "detected_classes"]
    assert body["answers"]
    for answer in body["answers"]:
        assert 1 <= answer["class"] <= 5
        assert 0.3 < answer["value"] <= 1
        assert len(answer["box"]) == 4
    with Image.open(sample_photograph()) as photo, Image.open(tmp_path / "picture.png") as picture:
        assert picture.width * photo.height == picture.height * photo.width


@pytest.mark.slow
def test_detection_is_measured_with_a_row_for_the_head(typed: Mvdeploy, tmp_path: Path) -> None:
    asked = ("--format", "onnx", "--format", "pytorch")
    short = ("--iterations", "6", "--warmup", "3", "--sessions", "2", "-o", "out", "--json")
    gate = ("--fail-on", "detection-head:100%")
    done = typed("bench", "mobilenetv2", *SMALL, *asked, *short, *gate)
    assert done.returncode == 0, done.stderr
    cases = json.loads(done.stdout)["cases"]
    assert [case["engine"] for case in cases] == ["onnxruntime", "pytorch"]
    for case in cases:
        assert case["device_parity"]["task"] == "detect"
        assert case["device_parity"]["passed"]
    report = next((tmp_path / "out").glob("*/report.md")).read_text()
    assert "| Detection head |" in report
    assert "| Detections |" in report
