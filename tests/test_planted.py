"""Plug-ins outside of the package, a file each, go all the way with nothing else edited."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mvdeploy import plugins
from tests.warm import Server

PLANTED = Path(__file__).parent / "planted"
QUICK = ("--iterations", "4", "--sessions", "1", "--warmup", "1", "--threads", "1")
TAPE = "yardstick-56-side-b-fp32.tape"

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]
Measured = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def mvdeploy(
    warm: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Mvdeploy]]:
    """A folder, and commands that run in it beside the planted files."""
    folder = tmp_path_factory.mktemp("planted")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = warm.mvdeploy(*arguments, cwd=folder)
        assert "Traceback" not in done.stderr
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(plugins.FOLDER, str(PLANTED))
        yield folder, run


@pytest.fixture(scope="module")
def tape(mvdeploy: tuple[Path, Mvdeploy]) -> Path:
    """A verified file in the planted format."""
    folder, run = mvdeploy
    done = run("export", "yardstick", "--format", "tape", "--tape-side", "b")
    assert done.returncode == 0, done.stderr
    assert "by recorder" in done.stdout
    return folder / TAPE


@pytest.fixture(scope="module")
def measured(mvdeploy: tuple[Path, Mvdeploy], tape: Path) -> Measured:
    """The folder of a run of that file, and what ``--json`` printed."""
    folder, run = mvdeploy
    done = run("bench", tape.name, *QUICK, "--tape-speed", "slow", "-o", "runs", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    return folder / "runs" / printed["name"], printed


def test_a_planted_file_is_all_that_a_new_process_needs(tmp_path: Path) -> None:
    """In a true start, as a user has it."""
    done = subprocess.run(
        [sys.executable, "-m", "mvdeploy", "export", "yardstick", "--format", "tape"],
        cwd=tmp_path,
        env={**os.environ, plugins.FOLDER: str(PLANTED)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [p.name for p in tmp_path.glob("*.tape")] == ["yardstick-56-side-a-fp32.tape"]


def test_every_planted_plugin_is_offered(mvdeploy: tuple[Path, Mvdeploy]) -> None:
    _, run = mvdeploy
    shown = run("export", "--help").stdout
    assert "--tape-side" in shown and "tape" in shown
    assert "coarse" in shown
    assert "--tape-speed" in run("bench", "--help").stdout
    assert "pointer" in run("models").stdout


def test_a_format_and_an_engine_go_from_the_export_to_the_report(
    mvdeploy: tuple[Path, Mvdeploy], tape: Path, measured: Measured
) -> None:
    _, run = mvdeploy
    verified = run("verify", tape.name)
    assert verified.returncode == 0, verified.stderr
    folder, printed = measured
    (case,) = printed["cases"]
    assert (case["engine"], case["format"]) == ("recorder", "tape")
    assert "speed=slow" in json.dumps(case["conditions"])
    assert case["breakdown"]["categories"]["convolution"]["ms"] > 0
    assert case["breakdown"]["attributed_share"] > 0.9
    assert "recorder" in (folder / "report.md").read_text()
    # The planted renderer is one of those that are written without being asked for.
    assert (folder / "report.count").read_text() == "1"


@pytest.mark.parametrize(
    ("speed", "status", "words"),
    [
        ("warped", 1, f"({TAPE}): the device computes something else than the network."),
        ("torn", 4, "gives outputs ('logits') with values that are no finite numbers"),
    ],
)
def test_an_engine_that_computes_something_else_is_found_out(
    mvdeploy: tuple[Path, Mvdeploy], tape: Path, speed: str, status: int, words: str
) -> None:
    """The file is verified; what runs it is broken on purpose where it is measured."""
    folder, run = mvdeploy
    done = run("bench", tape.name, *QUICK, "--tape-speed", speed, "-o", speed)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    (result,) = (folder / speed).iterdir()
    report = (result / "report.md").read_text()
    assert "device_parity_failed" in report or "no finite numbers" in report


def test_a_format_refuses_the_options_of_another(mvdeploy: tuple[Path, Mvdeploy]) -> None:
    _, run = mvdeploy
    done = run("export", "yardstick", "--format", "onnx", "--tape-side", "b")
    assert done.returncode == 2
    assert done.stderr == (
        "Error: The format onnx has no --tape-side.\nLeave it out, or use --format tape.\n"
    )


def test_a_task_with_two_outputs_is_compared_and_measured(
    mvdeploy: tuple[Path, Mvdeploy],
) -> None:
    folder, run = mvdeploy
    formats = ("--format", "tape", "--format", "onnx")
    done = run("bench", "pointer", "--task", "point", *formats, *QUICK, "-o", "point", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert [case["engine"] for case in printed["cases"]] == ["recorder", "onnxruntime"]
    for case in printed["cases"]:
        for parity in (case["parity"], case["device_parity"]):
            assert parity["passed"] and parity["task"] == "point"
            outputs = parity["inputs"][0]["outputs"]
            assert [output["name"] for output in outputs] == ["where", "what"]
    report = (folder / "point" / printed["name"] / "report.md").read_text()
    assert "Point" in report and "found" in report
    assert "on this device" in report


def test_another_task_is_refused(mvdeploy: tuple[Path, Mvdeploy]) -> None:
    _, run = mvdeploy
    done = run("export", "yardstick", "--task", "point")
    assert done.returncode == 2
    assert "yardstick" in done.stderr and "classify" in done.stderr


def test_a_precision_rewrites_what_a_format_traced(mvdeploy: tuple[Path, Mvdeploy]) -> None:
    folder, run = mvdeploy
    chosen = ("--precision", "fp32", "--precision", "coarse")
    done = run("export", "yardstick", "--format", "onnx", *chosen, "-o", ".")
    assert done.returncode == 0, done.stderr
    exact, coarse = (folder / f"yardstick-56-{name}.onnx" for name in ("fp32", "coarse"))
    assert exact.read_bytes() != coarse.read_bytes()
    manifest = json.loads((folder / f"{coarse.name}.json").read_text())
    assert manifest["precision"] == "coarse"
    refused = run("export", "yardstick", "--format", "tape", "--precision", "coarse")
    assert refused.returncode == 2
    assert "The format tape is not written in coarse." in refused.stderr


def test_a_renderer_is_asked_for_by_its_name(
    mvdeploy: tuple[Path, Mvdeploy], measured: Measured, tmp_path: Path
) -> None:
    _, run = mvdeploy
    copy = shutil.copytree(measured[0], tmp_path / "run")
    (copy / "report.count").unlink()
    done = run("report", str(copy), "--format", "count")
    assert done.returncode == 0, done.stderr
    assert (copy / "report.count").exists()
