"""Bad input: exit status 2, one sentence on what is wrong, one on what to do, nothing written."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["frobnicate"], "frobnicate"),
        (["bench", "--bogus"], "--bogus"),
        (["bench", "mobilvit_s"], "mobilvit_s"),
        (["bench", "no/such.onnx"], "no/such.onnx"),
        (["bench", "--format", "onx"], "onx"),
        (["bench", "--device", "nokia3310"], "nokia3310"),
        (["bench", "--patches", "0,2,2"], "0,2,2"),
        (["bench", "--patches", "a,b,c"], "a,b,c"),
        (["bench", "--patches", "2,2"], "2,2"),
        (["bench", "--patches", "64,2,2"], "64"),
        (["bench", "--patches", "2,2,2x9"], "2x9"),
        (["bench", "--image-size", "0"], "0"),
        (["bench", "--image-size", "256,256,3"], "256,256,3"),
        (["bench", "--threads", "0"], "threads"),
        (["bench", "--cores", "one"], "one"),
        (["bench", "--iterations", "0"], "iterations"),
        (["bench", "--min-time", "0"], "min-time"),
        (["bench", "--input", "notes.txt"], "notes.txt"),
        (["bench", "--input", "missing.jpg"], "missing.jpg"),
        (["bench", "bare.onnx"], "bare.onnx"),
        (["bench", "--max-time", "5"], "--max-time 5"),
        (["bench", "--target", "0"], "target"),
        (["bench", "--target", "nan"], "nan is no finite number"),
        (["bench", "--max-time", "inf"], "inf is no finite number"),
        (["bench", "--fail-on", "p50"], "'p50' is no gate"),
        (["bench", "--fail-on", "speed?:5%"], "speed"),
        (["bench", "--fail-on", "p50:5%"], "needs a reference"),
        (["bench", "--baseline", "missing.json", "--fail-on", "p50:5%"], "missing.json"),
        (["bench", "--baseline", "notes.txt"], "notes.txt"),
        (["bench", "--save-baseline", "empty"], "empty"),
        (["bench", "--save-baseline", "no/such/b.json"], "no/such/b.json"),
        (["bench", "--min-time", "nan"], "nan is no finite number"),
        (["bench", "--max-time", "inf"], "inf is no finite number"),
        (["bench", "--max-time", "1e300"], "max-time"),
        (["bench", "--target", "nan"], "nan is no finite number"),
        (["bench", "--time-limit", "nan"], "nan is no finite number"),
        (["bench", "--energy", "--energy-time", "nan"], "nan is no finite number"),
        (["compare", "yardstick", "yardstick", "--target", "nan"], "nan is no finite number"),
        (["history", "trend", "--least", "nan"], "nan is no finite number"),
        (["bench", "--interval", "0"], "--interval says"),
        (["bench", "--fail-on", "pipeline:33ms"], "whole pipeline, which is not timed"),
        (["bench", "--pipeline", "--fail-on", "pipeline:3%"], "no unit of pipeline"),
        (["bench", "bare.onnx", "--image-size", "64"], "--image-size is for models"),
        (["bench", "bare.onnx", "--patches", "2,2,2", "--num-classes", "5"], "are for models"),
        (["compare"], "MODEL|FILE|RESULT"),
        (["compare", "mobilevit_xxs"], "1 (mobilevit_xxs 2,2,2)"),
        (["compare", "mobilevit_xxs", "mobilevit_xs", "mobilevit_s"], "3 (mobilevit_xxs"),
        (["compare", "mobilevit_xxs", "bare.onnx"], "bare.onnx"),
        (["compare", "mobilevit_xxs", "empty"], "there is no such file"),
        (["compare", "empty", "missing.json"], "missing.json is no saved result to compare empty"),
        (["compare", "empty", "notes.txt"], "empty is a saved result, and notes.txt is none"),
        (["compare", "empty", "empty", "empty"], "2 other things"),
        (["compare", "empty", "empty"], "empty"),
        (["compare", "empty", "empty", "--fail-on", "p50:5%"], "--fail-on"),
        (["compare", "mobilevit_xxs", "mobilevit_xs", "--fail-on", "p99:5%"], "p99:5%"),
        (["compare", "mobilevit_xxs", "mobilevit_xs", "--groups", "2"], "groups"),
        (["export", "--precision", "int3"], "int3"),
        (["export", "--task", "translate"], "translate"),
        (["export", "--num-classes", "0"], "0 classes"),
        (["export", "--mean", "1,2"], "'1,2'"),
        (["export", "--mean", "123.675"], "123.675"),
        (["bench", "--std", "0"], "standard deviation"),
        (["describe", "--crop", "224"], "224"),
        (["compare", "mobilevit_xxs", "--interpolation", "cubic"], "cubic"),
        (["bench", "bare.onnx", "--mean", "0", "--crop", "1"], "bare.onnx"),
        (["export", "-o", "model.txt"], "model.txt"),
        (["export", "--formulation", "plane"], "plane"),
        (["export", "--backend", "xnnpack"], "onnx"),
        (["export", "--require-full-delegation"], "onnx"),
        (["export", "--format", "executorch", "--backend", "xnnpak"], "xnnpak"),
        (["export", "--format", "executorch", "--opset", "18"], "opset"),
        (["export", "--precision", "palette6"], "onnx is not written in palette6"),
        (["export", "--precision", "fp8"], "fp8"),
        (["export", "--format", "coreml", "--deployment-target", "iOS14"], "iOS14 has no ML"),
        (["export", "--format", "coreml", "--deployment-target", "17"], "17"),
        (["export", "--image-input"], "has no --image-input"),
        (["export", "--format", "coreml", "--labels", "notes.txt"], "program that takes images"),
        (
            ["export", "--format", "coreml", "--image-input", "--labels", "missing.txt"],
            "missing.txt",
        ),
        (["export", "--format", "coreml", "-o", "a.onnx"], ".mlpackage"),
        (["export", "--format", "onnx", "--precision", "int8", "--full-range"], "for int8-fast"),
        (["bench", "--compute-units", "cpu_only"], "No engine of this machine has --compute-units"),
        (["bench", "--compute-units", "gpu"], "gpu"),
        (["bench", "--engine", "onnxrt"], "onnxrt"),
        (["bench", "--engine", "coreml"], "The engine 'coreml' cannot be used on this machine"),
        (["bench", "--engine", "executorch", "--format", "onnx"], "onnx"),
        (["bench", "bare.onnx", "--engine", "executorch"], "bare.onnx"),
        (["bench", "--engine", "pytorch", "--precision", "int8"], "int8"),
        (["bench", "--threads", "0"], "'0'"),
        (["bench", "--threads", "4-2"], "4-2"),
        (["bench", "--threads", "two"], "two"),
        (["bench", "--threads", "1-100"], "100 numbers of threads"),
        (["compare", "mobilevit_xxs", "--threads", "1-3"], "Two are compared at a time"),
        (["compare", "mobilevit_xxs", "--threads", "1-2"], "the same number of threads"),
        (["study", "table6", "--threads", "1-2"], "one number of threads"),
        (["bench", "--engine", "pytorch", "--spinning", "off"], "pytorch has no --spinning"),
        (["bench", "--format", "coreml"], "coreml"),
        (["devices", "setup"], "No device is named"),
        (["devices", "doctor", "nokia3310"], "nokia3310"),
        (["devices", "list", "host"], "one of them ('host')"),
        (["export", "--format", "executorch", "--batch", "dynamic"], "has no --batch dynamic"),
        (["export", "--format", "executorch", "-o", "model.onnx"], "model.onnx"),
        (["export", "-o", "m.onnx", "--patches", "2,2,2", "--patches", "8,4,2"], "m.onnx"),
        (["report", "empty"], "empty"),
        (["bench", "--junit", "empty"], "empty"),
        (["bench", "--junit", "no/such/ci.xml"], "no/such/ci.xml"),
    ],
    ids=" ".join,
)
def test_bad_input(mvdeploy: Mvdeploy, tmp_path: Path, arguments: list[str], named: str) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "bare.onnx").write_bytes(b"no manifest")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = mvdeploy(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if ": build" not in line]
    assert len(lines) == 2, done.stderr
    what, remedy = lines
    assert what.startswith("Error: ")
    assert what.endswith((".", "?"))
    assert named in what
    assert remedy.endswith((".", ".json."))
    assert sorted(tmp_path.rglob("*")) == before


def test_debug_shows_the_traceback(mvdeploy: Mvdeploy) -> None:
    done = mvdeploy("bench", "mobilvit_s", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_an_unwritable_place_is_an_error_before_any_work(
    mvdeploy: Mvdeploy, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    done = mvdeploy("export", "mobilevit_xxs", "-o", "file/model.onnx")
    assert done.returncode == 2
    assert "file" in done.stderr
    assert "build" not in done.stderr


def test_a_run_folder_in_the_way_of_a_file(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("in the way")
    done = mvdeploy("bench", "mobilevit_xxs", "--image-size", "64")
    assert done.returncode == 2
    assert (tmp_path / "reports").read_text() == "in the way"


def test_a_name_that_no_disk_takes(mvdeploy: Mvdeploy) -> None:
    done = mvdeploy("report", "x" * 300)
    assert done.returncode == 2
    assert done.stderr.endswith("written (File name too long).\nGive a shorter name.\n")
