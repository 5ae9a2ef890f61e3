"""What ``mvdeploy export`` refuses about whole numbers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]
INT8 = ("--precision", "int8")

REFUSED = {
    ("--calibrate", "nowhere", *INT8): "There is no folder nowhere.",
    ("--calibrate", "empty", *INT8): "There is no image in empty.",
    ("--calibrate", "pipes", *INT8): "There is no image in pipes.",
    ("--calibrate", "loop", *INT8): "There is no image in loop.",
    ("--calibrate", "0", *INT8): "Scales cannot be taken from 0 images.",
    ("--calibrate", "5001", *INT8): "Scales cannot be taken from 5001 images.",
    ("--calibrate", "²", *INT8): "There is no folder ².",
    ("--batch", "²", *INT8): "'²' is no number of images.",
    ("--percentile", "30", *INT8): "A range cannot hold 30 % of the numbers.",
    ("--percentile", "nan", *INT8): "A range cannot hold nan % of the numbers.",
    ("--percentile", "99", "--calibration-method", "entropy", *INT8): "A percentile is no part",
    ("--calibration-method", "foo", *INT8): "There is no way 'foo' to choose ranges.",
    ("--keep-float", "conv_1x1"): "Nothing is quantised in onnx as fp32",
    ("--sensitivity",): "--sensitivity is for programs in whole numbers",
    ("--sensitivity", "--min-sqnr", "nan", *INT8): "No outputs can be nan dB above their noise.",
    (
        *("--format", "executorch", "--backend", "portable"),
        *INT8,
    ): "The backend portable is given no programs in int8.",
    (
        *("--format", "coreml", "--deployment-target", "iOS16"),
        *("--precision", "int8-fast"),
    ): "iOS16 has no programs in int8-fast: whole numbers between operators came with iOS17.",
    ("--with-nms", "--image-size", "16", *INT8): "--with-nms is for networks that detect",
}


@pytest.mark.parametrize("flags", REFUSED, ids=" ".join)
def test_it_is_refused_in_a_sentence(
    mvdeploy: Mvdeploy, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    for name in ("empty", "pipes", "loop"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipes" / "a.png")
    (tmp_path / "loop" / "self").symlink_to(".")
    done = mvdeploy("export", "yardstick", *flags)
    assert done.returncode == 2, done.stderr
    assert REFUSED[flags] in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.onnx*"))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nrest"])
def test_a_damaged_image_is_named(mvdeploy: Mvdeploy, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(content)
    small = ("--image-size", "16", *INT8)
    done = mvdeploy("export", "yardstick", *small, "--calibrate", "images")
    assert done.returncode == 2, done.stderr
    assert "images/a.png cannot be read as an image" in done.stderr
    assert "Take it out of images, or put a whole one in its place." in done.stderr


def test_what_a_module_costs_is_ranked_and_drawn(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    flags = ("--image-size", "16", "--calibrate", "2", "--sensitivity", "-o", "a.onnx")
    done = mvdeploy("export", "yardstick", *INT8, *flags)
    assert done.returncode == 0, done.stderr
    assert "Sensitivity on 2 images" in done.stdout
    head, *rows = (tmp_path / "a-sensitivity.csv").read_text().splitlines()
    assert head == "module,share_of_noise,snr_db_alone,proposed_in_float"
    assert any(row.startswith("conv_3x3,") for row in rows)
    assert sum(float(row.split(",")[1]) for row in rows) == pytest.approx(1, abs=1e-3)
    assert (tmp_path / "a-sensitivity.png").read_bytes().startswith(b"\x89PNG")
    again = mvdeploy(
        "export", "yardstick", *INT8, *flags[:4], "--keep-float", "no*", "-o", "b.onnx"
    )
    assert again.returncode == 2
    assert "No module of the network is called 'no*'." in again.stderr
    verified = mvdeploy("verify", "a.onnx", "--modules")
    assert verified.returncode == 0, verified.stderr


def test_a_package_for_the_neural_engine_is_written_and_verified(
    mvdeploy: Mvdeploy, tmp_path: Path
) -> None:
    flags = ("--format", "coreml", "--precision", "int8-fast", "--calibrate", "2")
    done = mvdeploy("export", "yardstick", "--image-size", "16", *flags, "-o", "a.mlpackage")
    assert done.returncode == 0, done.stderr
    assert "the weights in the file are the network's" in done.stdout
    assert "Whole numbers leave an SNR of" in done.stdout
    verified = mvdeploy("verify", "a.mlpackage", "--modules")
    assert verified.returncode == 0, verified.stderr
    assert "conv_3x3" in verified.stdout
