"""Several sizes and batches in one run, as docs/sweep.md shows them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy.records.run import load_run
from tests.warm import started

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]

QUICK = ("--iterations", "4", "--sessions", "2", "--warmup", "1", "--no-breakdown", "-o", "runs")


def test_sizes_and_batches_take_turns_and_are_told_apart(
    tmp_path: Path, mvdeploy: Mvdeploy
) -> None:
    words = ("--image-size", "16", "--image-size", "24,16", "--batch", "1", "--batch", "4")
    done = started("bench", "yardstick", *words, "--format", "onnx", *QUICK, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [case["slug"] for case in found["cases"]] == [
        *("yardstick-16-onnx", "yardstick-16-b4-onnx"),
        *("yardstick-24x16-onnx", "yardstick-24x16-b4-onnx"),
    ]
    assert [case["batch"] for case in found["cases"]] == [1, 4, 1, 4]
    for case in found["cases"]:
        whole = case["latency_ms"]["p50"]
        assert case["p50_per_image_ms"] == pytest.approx(whole / case["batch"])
    assert {(pair["a"], pair["b"]) for pair in found["comparisons"]} == {
        ("yardstick-16-onnx", case["slug"]) for case in found["cases"][1:]
    }
    (folder,) = (tmp_path / "runs").iterdir()
    inputs = [case.artifact.inputs[0].shape for case in load_run(folder).cases if case.artifact]
    assert inputs == [(1, 3, 16, 16), (4, 3, 16, 16), (1, 3, 24, 16), (4, 3, 24, 16)]
    shown = mvdeploy("report", str(folder), "--format", "terminal", "-o", "out")
    assert shown.returncode == 0, shown.stderr
    text = (tmp_path / "out" / "report.txt").read_text()
    for name in ("16 px batch 1", "16 px batch 4", "24x16 px batch 1", "24x16 px batch 4"):
        assert f"yardstick {name}" in text
    assert "p50 per image" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--batch", "dynamic"), "'dynamic' is none"),
        (("--batch", "0"), "'0' is no number of images"),
        (("--batch", "²"), "'²' is no number of images"),
        (("--batch", "9999999"), "'9999999' is no number of images"),
        (("--image-size", "64", "--image-size", "x"), "'x' is no image size"),
    ],
)
def test_what_is_no_size_and_no_batch_is_refused(
    mvdeploy: Mvdeploy, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = mvdeploy("bench", "yardstick", *words)
    assert done.returncode == 2
    assert said in done.stderr and len(done.stderr.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_batch_is_not_said_of_a_file(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    assert mvdeploy("export", "yardstick", "--image-size", "16", "-o", "a.onnx").returncode == 0
    done = mvdeploy("bench", "a.onnx", "--batch", "4")
    assert done.returncode == 2
    assert "--batch is for models" in done.stderr
