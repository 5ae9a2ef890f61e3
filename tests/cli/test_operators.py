"""``--operators``, ``--portable`` and ONNX Runtime's threads, from the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import onnx

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("mobilevit_xxs", "--image-size", "64", "--model-arg", "depths=1,1,1")
SHORT = ("--iterations", "5", "--warmup", "3", "--sessions", "1", "--threads", "2")


def test_a_file_for_onnx_runtime_is_said_to_be_one(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    done = mvdeploy("export", *SMALL, "--format", "onnx", "--operators", "onnxruntime")
    assert done.returncode == 0, done.stderr
    assert "  written for onnxruntime, with operators of its own" in done.stdout
    (path,) = tmp_path.glob("*-fp32-onnxruntime.onnx")
    assert "MultiHeadAttention" in {node.op_type for node in onnx.load(path).graph.node}


def test_a_precision_that_has_no_other_operators_is_refused(mvdeploy: Mvdeploy) -> None:
    asked = ("--precision", "int8-dynamic", "--operators", "standard")
    done = mvdeploy("export", *SMALL, "--format", "onnx", *asked)
    assert done.returncode == 2
    assert "with operators of ONNX Runtime's own alone" in done.stderr


def test_bench_takes_the_fastest_unless_any_engine_is_meant(
    mvdeploy: Mvdeploy, tmp_path: Path
) -> None:
    found = {}
    chosen = ("--spinning", "off", "--placement", "pinned")
    for name, asked in (("fast", chosen), ("any", ("--portable",))):
        folder = tmp_path / name
        asked = ("--no-breakdown", *SHORT, *asked, "-o", str(folder))
        done = mvdeploy("bench", *SMALL, "--format", "onnx", *asked)
        assert done.returncode == 0, done.stderr
        (manifest,) = folder.glob("*/artifacts/*.onnx.json")
        (report,) = folder.glob("*/report.md")
        found[name] = json.loads(manifest.read_text())["backend"], report.read_text()
    assert found["fast"][0] == "onnxruntime"
    assert "written for" in found["fast"][1]
    assert "spinning" in found["fast"][1] and "pinned" in found["fast"][1]
    assert found["any"][0] == ""
    assert "written for" not in found["any"][1]
