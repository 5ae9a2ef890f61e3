"""Networks of one's own, from the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

NETWORKS = Path(__file__).parents[1] / "models" / "zoo" / "networks.py"
Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def networks(tmp_path: Path) -> None:
    shutil.copy(NETWORKS, tmp_path / "own nets.py")


def test_what_preparing_changed_is_printed(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    done = mvdeploy("export", "own nets.py:branches", "-o", "a.onnx")
    assert done.returncode == 0, done.stderr
    assert "passes: inference_form 1, fold_batchnorm 1\n  inference_form (moved the outputs" in (
        done.stdout
    )
    assert ": conv (Branches): 256 numbers, now 224\n" in done.stdout
    done = mvdeploy(
        "export", "own nets.py:branches", "-o", "b.onnx", "--without-pass", "inference_form"
    )
    assert "  passes: fold_batchnorm 0 (1 left)\n" in done.stdout
    kept = json.loads((tmp_path / "b.onnx.json").read_text())
    assert (
        kept["parameters"] == json.loads((tmp_path / "a.onnx.json").read_text())["parameters"] + 32
    )
    refused = mvdeploy("verify", "a.onnx")
    assert refused.stderr.endswith("If you trust it, give --model 'own nets.py:branches'.\n")
    done = mvdeploy("verify", "a.onnx", "--model", "own nets.py:branches")
    assert done.returncode == 0, done.stderr


def test_describe_counts_the_form_that_is_used(mvdeploy: Mvdeploy) -> None:
    done = mvdeploy("describe", "own nets.py:branches", "--fused")
    assert "changed  conv (Branches): 256 numbers, now 224\n" in done.stdout
    assert "folded  bn into conv\n" in done.stdout
    assert "\nconv   8x16x16         224 " in done.stdout
    left_out = ("--without-pass", "inference_form", "--without-pass", "fold_batchnorm")
    done = mvdeploy("describe", "own nets.py:branches", "--fused", *left_out)
    assert "\nconv   8x16x16         256 " in done.stdout
    assert "BatchNorm" not in done.stdout
    done = mvdeploy("describe", "own nets.py:branches", "--without-pass", "fold")
    assert (done.returncode, "There is no pass 'fold'" in done.stderr) == (2, True)


def test_several_inputs_are_measured(mvdeploy: Mvdeploy, tmp_path: Path) -> None:
    done = mvdeploy("describe", "own nets.py:text")
    assert "own nets.py:text, input 1x6\n\n" in done.stdout
    done = mvdeploy(
        *("bench", "own nets.py:image_and_text", "own nets.py:branches", "--format", "onnx"),
        *("--warmup", "3", "--iterations", "5", "--sessions", "1", "--no-breakdown"),
        *("--without-pass", "inference_form", "-o", "runs"),
    )
    assert done.returncode == 0, done.stderr
    both, branches = sorted(tmp_path.glob("runs/*/artifacts/*.json"), reverse=True)
    assert [i["name"] for i in json.loads(both.read_text())["inputs"]] == ["picture", "tokens"]
    assert [p["name"] for p in json.loads(branches.read_text())["passes"]] == ["fold_batchnorm"]


def test_the_errors_are_of_one_sentence(typed: Mvdeploy) -> None:
    done = typed("export", "own nets.py:noisy")
    assert done.returncode == 2
    what, remedy = done.stderr.splitlines()[-2:]
    assert what.startswith(
        "Error: The network gives other outputs each time it runs: bernoulli in the network itself "
        "(own nets.py, line "
    )
    assert remedy == "Make it the same in eval mode, as F.dropout(x, p, self.training) is."
    done = typed("export", "own nets.py:branching")
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 4  # two steps, what happened and what to do
