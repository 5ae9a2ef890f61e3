"""OpenVINO from the command line: a file in bfloat16 is measured, broken down and judged."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy import engines
from tests.warm import ROOT

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ("--warmup", "3", "--iterations", "3", "--threads", "1", "--json")

needs_bfloat16 = pytest.mark.skipif(
    bool(engines.get("openvino").lacks("bf16", "")),
    reason="this processor does not compute in bfloat16",
)


@pytest.fixture
def bench(mvdeploy: Mvdeploy, tmp_path: Path) -> Mvdeploy:
    """Run ``mvdeploy bench`` on a device whose only engine is OpenVINO."""
    profile = (ROOT / "devices" / "host.toml").read_text(encoding="utf-8")
    profile = re.sub(r"(?m)^name = .*", 'name = "vino"', profile)
    profile = re.sub(r"(?m)^engines = .*", 'engines = ["openvino"]', profile)
    profile = re.sub(r"(?m)^aliases = .*", "aliases = []", profile)
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "vino.toml").write_text(profile, encoding="utf-8")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        device = ("--device", "vino", "--devices-dir", "devices")
        return mvdeploy("bench", *arguments, *device, *QUICK)

    return run


@needs_bfloat16
def test_a_file_in_bfloat16_is_measured_in_it(bench: Mvdeploy, exported) -> None:
    file = exported(precision="bf16", patches="2,2,2", size="160")
    done = bench(str(file.path), "--inference-precision", "bf16")
    (case,) = json.loads(done.stdout)["cases"]
    assert done.returncode in (0, 1), done.stderr  # other programs may disturb it
    assert (case["engine"], case["precision"]) == ("openvino", "bf16")
    conditions = json.dumps(case["conditions"])
    assert "inference_precision_hint=bf16" in conditions
    assert "enable_cpu_pinning=off" in conditions
    assert case["breakdown"]["attributed_share"] == 1


def test_what_it_does_not_compute_is_found_out(bench: Mvdeploy, exported) -> None:
    """The file is in single precision, and something coarser is asked for."""
    done = bench(str(exported().path), "--inference-precision", "bf16")
    if engines.get("openvino").lacks("bf16", ""):
        assert done.returncode == 4
        assert "OpenVINO computes in f32 here" in done.stderr
    else:
        assert done.returncode == 1
        assert "the device computes something else than the network" in done.stderr


def test_an_option_of_another_value_is_refused(bench: Mvdeploy) -> None:
    done = bench("yardstick", "--cpu-pinning", "maybe")
    assert done.returncode == 2
    assert "'maybe' is not one of 'on', 'off'" in done.stderr
