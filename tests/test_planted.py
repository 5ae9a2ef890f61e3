"""Plug-ins outside of the package, a file each, go all the way with nothing else edited."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mvdeploy import plugins

PLANTED = Path(__file__).parent / "planted"
QUICK = ("--iterations", "4", "--sessions", "1", "--warmup", "1", "--threads", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted")


def mvdeploy(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "mvdeploy", *arguments],
        cwd=folder,
        env={**os.environ, plugins.FOLDER: str(PLANTED)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "Traceback" not in done.stderr
    return done


def measured(folder: Path, *arguments: str) -> tuple[Path, dict[str, Any]]:
    """Measure, and return the run's folder and what ``--json`` printed."""
    done = mvdeploy(folder, "bench", *arguments, *QUICK, "-o", "runs", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    return folder / "runs" / printed["name"], printed


def test_every_planted_plugin_is_offered(folder: Path) -> None:
    shown = mvdeploy(folder, "export", "--help").stdout
    assert "--tape-side" in shown and "tape" in shown
    assert "coarse" in shown
    assert "--tape-speed" in mvdeploy(folder, "bench", "--help").stdout
    assert "pointer" in mvdeploy(folder, "models").stdout


def test_a_format_and_an_engine_go_from_the_export_to_the_report(folder: Path) -> None:
    done = mvdeploy(folder, "export", "yardstick", "--format", "tape", "--tape-side", "b")
    assert done.returncode == 0, done.stderr
    assert "by recorder" in done.stdout
    file = "yardstick-56-side-b-fp32.tape"
    verified = mvdeploy(folder, "verify", file)
    assert verified.returncode == 0, verified.stderr

    run, printed = measured(folder, file, "--tape-speed", "slow")
    (case,) = printed["cases"]
    assert (case["engine"], case["format"]) == ("recorder", "tape")
    assert "speed=slow" in json.dumps(case["conditions"])
    breakdown = case["breakdown"]
    assert breakdown["categories"]["convolution"]["ms"] > 0
    assert breakdown["attributed_share"] > 0.9
    assert "recorder" in (run / "report.md").read_text()
    # The planted renderer is one of those that are written without being asked for.
    assert (run / "report.count").read_text() == "1"


def test_a_format_refuses_the_options_of_another(folder: Path) -> None:
    done = mvdeploy(folder, "export", "yardstick", "--format", "onnx", "--tape-side", "b")
    assert done.returncode == 2
    assert done.stderr == (
        "Error: The format onnx has no --tape-side.\nLeave it out, or use --format tape.\n"
    )


def test_a_task_with_two_outputs_is_compared_and_measured(folder: Path) -> None:
    run, printed = measured(
        folder, "pointer", "--task", "point", "--format", "tape", "--format", "onnx"
    )
    assert [case["engine"] for case in printed["cases"]] == ["recorder", "onnxruntime"]
    for case in printed["cases"]:
        for parity in (case["parity"], case["device_parity"]):
            assert parity["passed"] and parity["task"] == "point"
            outputs = parity["inputs"][0]["outputs"]
            assert [output["name"] for output in outputs] == ["where", "what"]
    report = (run / "report.md").read_text()
    assert "Point" in report and "found" in report
    assert "on this device" in report


def test_another_task_is_refused(folder: Path) -> None:
    done = mvdeploy(folder, "export", "yardstick", "--task", "point")
    assert done.returncode == 2
    assert "yardstick" in done.stderr and "classify" in done.stderr


def test_a_precision_rewrites_what_a_format_traced(folder: Path) -> None:
    chosen = ("--precision", "fp32", "--precision", "coarse")
    done = mvdeploy(folder, "export", "yardstick", "--format", "onnx", *chosen, "-o", ".")
    assert done.returncode == 0, done.stderr
    exact, coarse = (folder / f"yardstick-56-{name}.onnx" for name in ("fp32", "coarse"))
    assert exact.read_bytes() != coarse.read_bytes()
    manifest = json.loads((folder / f"{coarse.name}.json").read_text())
    assert manifest["precision"] == "coarse"
    refused = mvdeploy(folder, "export", "yardstick", "--format", "tape", "--precision", "coarse")
    assert refused.returncode == 2
    assert "The format tape is not written in coarse." in refused.stderr


def test_a_renderer_is_asked_for_by_its_name(folder: Path) -> None:
    (run, *_) = (folder / "runs").iterdir()
    (run / "report.count").unlink(missing_ok=True)
    done = mvdeploy(folder, "report", str(run), "--format", "count")
    assert done.returncode == 0, done.stderr
    assert (run / "report.count").exists()
