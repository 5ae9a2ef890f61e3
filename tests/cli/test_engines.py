"""The commands of docs/engines.md: engines, threads and precisions of one run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mvdeploy import devices, engines
from mvdeploy.engines import _chip
from mvdeploy.pipeline import ways
from mvdeploy.pipeline.ways import ALL, Choice
from tests.warm import started

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]

QUICK = ("--iterations", "4", "--sessions", "2", "--warmup", "1", "--no-breakdown", "-o", "runs")


def measured(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_every_engine_of_this_machine_in_turns(tmp_path: Path) -> None:
    """In a new process, as a user starts it."""
    words = ("bench", "yardstick", "--engine", "all", "--threads", "1", *QUICK, "--json")
    found = measured(started(*words, cwd=tmp_path))
    there = set(Choice(devices.get("host"), engines=(ALL,)).chosen())
    assert there >= {"onnxruntime", "executorch", "pytorch", "litert", "openvino"}
    assert {case["engine"] for case in found["cases"]} == there
    assert all(row["share"] > 0 for row in found["rooflines"])
    assert {row["slug"] for row in found["rooflines"]} == {c["slug"] for c in found["cases"]}
    (ranking,) = found["rankings"]
    ranked = [row["slug"] for row in ranking["cases"]]
    assert sorted(ranked) == sorted(case["slug"] for case in found["cases"])
    assert len({case["slug"] for case in found["cases"]}) == len(there)


def test_a_file_on_two_engines(mvdeploy: Mvdeploy) -> None:
    assert mvdeploy("export", "yardstick", "-o", "model.onnx").returncode == 0
    words = ("--engine", "onnxruntime", "--engine", "openvino")
    found = measured(mvdeploy("bench", "model.onnx", *words, *QUICK, "--json"))
    assert [case["engine"] for case in found["cases"]] == ["onnxruntime", "openvino"]
    assert [case["slug"] for case in found["cases"]] == ["model.onnx", "model.onnx-openvino"]


def test_an_engine_brings_its_format(mvdeploy: Mvdeploy) -> None:
    (case,) = measured(mvdeploy("bench", "yardstick", "--engine", "litert", *QUICK, "--json"))[
        "cases"
    ]
    assert (case["format"], case["engine"]) == ("litert", "litert")


def test_precisions_that_an_engine_lacks_are_left_out_and_told(mvdeploy: Mvdeploy) -> None:
    words = ("--engine", "onnxruntime", "--engine", "pytorch", "--precision", "int8")
    done = mvdeploy("bench", "yardstick", *words, *QUICK)
    assert done.returncode == 2 and "not written in int8" in done.stderr
    found, left_out = ways.of_networks(
        Choice(devices.get("host"), precisions=("fp32", "int8"), engines=(ALL,))
    )
    assert ("pytorch", "int8") not in {(way.engine, way.precision) for way in found}
    assert ("pytorch", "int8") in {(f.values["engine"], f.values["precision"]) for f in left_out}


def test_numbers_of_threads_in_one_run(mvdeploy: Mvdeploy) -> None:
    done = mvdeploy("bench", "yardstick", "--threads", "1-2", *QUICK, "--json")
    found = measured(done)
    assert [case["conditions"]["threads"] for case in found["cases"]] == [1, 2]
    assert [case["slug"][-2:] for case in found["cases"]] == ["1t", "2t"]
    (pair,) = found["comparisons"]
    assert (pair["a"], pair["b"]) == tuple(case["slug"] for case in found["cases"])


def test_what_is_emulated_is_refused_or_says_so(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    words = ("bench", "yardstick", "--engine", "onnxruntime", "--precision", "fp16", *QUICK)
    if not engines.emulated("onnxruntime", "fp16", "x86_64"):
        pytest.fail("ONNX Runtime is said to compute in halves on x86-64")
    refused = mvdeploy(*words)
    assert refused.returncode == 2
    assert "does not compute in fp16 on this machine" in refused.stderr
    forced = mvdeploy(*words, "--force")
    assert forced.returncode == 0, forced.stderr
    (report,) = tmp_path.glob("runs/*/report.md")
    text = report.read_text(encoding="utf-8")
    assert text.count("yardstick (emulated)") >= 3


def test_bfloat16_is_openvinos(mvdeploy: Mvdeploy) -> None:
    words = ("bench", "yardstick", "--precision", "bf16", *QUICK)
    refused = mvdeploy(*words)
    assert refused.returncode == 2 and "cannot run bf16" in refused.stderr
    if not _chip.has("avx512_bf16", "amx_bf16"):
        assert mvdeploy(*words, "--engine", "openvino").returncode == 2
        return
    (case,) = measured(mvdeploy(*words, "--engine", "openvino", "--json"))["cases"]
    assert (case["engine"], case["precision"]) == ("openvino", "bf16")
    assert any("bf16" in option for option in case["conditions"]["chosen_options"])


WRITES = """
import os
import torch

os.environ["OMP_WAIT_POLICY"] = "active"


def small():
    layers = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 4)
    return torch.nn.Sequential(*layers)
"""


def test_what_libraries_write_into_the_environment_is_no_part_of_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of them are imported depends on what was exported, and whether that was kept."""
    for name in ("OMP_WAIT_POLICY", "KMP_DUPLICATE_LIB_OK"):  # libraries of other tests write it
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "own.py").write_text(WRITES)
    words = ("--image-size", "8", "--engine", "onnxruntime", *QUICK, "--json")
    done = started("bench", "own.py:small", *words, cwd=tmp_path)
    assert measured(done)["cases"]
    (case,) = tmp_path.glob("runs/*/cases/*/case.json")
    assert "OMP_WAIT_POLICY" not in case.read_text()
    assert "KMP_DUPLICATE_LIB_OK" not in case.read_text()


def test_what_would_be_ignored_is_refused(mvdeploy: Mvdeploy) -> None:
    assert mvdeploy("export", "yardstick", "-o", "model.onnx").returncode == 0
    words = ("--engine", "executorch", "--engine", "openvino", "--engine", "onnxruntime")
    done = mvdeploy("bench", "model.onnx", *words, *QUICK)
    assert done.returncode == 2
    assert done.stderr == (
        "Error: executorch cannot run any of what is to be measured.\n"
        "Leave --engine executorch out, or add a file or a model that it runs.\n"
    )
    done = mvdeploy("bench", "model.onnx", "--precision", "fp16", *QUICK)
    assert done.returncode == 2
    assert done.stderr == (
        "Error: Exported files are measured as they are, and none is in fp16.\n"
        "Leave --precision out, or export one with 'mvdeploy export --precision fp16'.\n"
    )
    done = mvdeploy("bench", "model.onnx", "--format", "litert", "--precision", "fp32", *QUICK)
    assert done.returncode == 2 and "none is in litert" in done.stderr
    for exporting in (("--portable",), ("--keep-float", "head*"), ("--calibrate", "4")):
        done = mvdeploy("bench", "model.onnx", *exporting, *QUICK)
        assert done.returncode == 2
        assert f"{exporting[0]} says how networks are exported." in done.stderr
    done = mvdeploy("bench", "model.onnx", *words[2:], "--kernel-mode", "builtin", *QUICK)
    assert done.returncode == 2
    assert "onnxruntime and openvino have no --kernel-mode." in done.stderr
