"""The commands of docs/browser.md, as they are typed; networks are smaller."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy.records.run import load_run
from tests.web_engines import web_engines

__all__ = ["web_engines"]

pytestmark = pytest.mark.usefixtures("web_engines")

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]

FEW = ("--threads", "1", "--iterations", "24", "--sessions", "2", "--warmup", "8")


def test_what_it_takes_is_gone_through(typed: Mvdeploy) -> None:
    done = typed("devices", "doctor", "chrome")
    assert done.returncode == 0, done.stdout + done.stderr
    for what in ("browser", "start", "onnxruntime-web", "litert-web"):
        assert f"met      {what}" in done.stdout


def test_engines_out_of_a_folder_of_npm(
    typed: Mvdeploy, tmp_path: Path, web_engines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = web_engines / "mvdeploy" / "kits" / "web" / "onnxruntime-web"
    package = tmp_path / "mine" / "node_modules" / "onnxruntime-web"
    (package / "dist").mkdir(parents=True)
    for path in kept.glob("ort*"):
        (package / "dist" / path.name).write_bytes(path.read_bytes())
    version = json.loads((kept / "web.json").read_text())["version"]
    (package / "package.json").write_text(json.dumps({"version": version}))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = typed("devices", "setup", "chrome", "--npm", "mine")
    assert done.returncode == 0, done.stderr
    assert f"ONNX Runtime Web {version} (" in done.stdout and "ready" in done.stdout


def test_a_page_beside_a_program(typed: Mvdeploy, tmp_path: Path) -> None:
    cases = ("mobilevit_xxs", "--patches", "2,2,2", "--patches", "8,4,2", "--image-size", "128")
    # Of inferences that take less than a millisecond, so few would be a single turn.
    for device, folder in (("host", "native"), ("chrome", "web")):
        done = typed("bench", *cases, "--device", device, "--format", "onnx", *FEW, "-o", folder)
        assert done.returncode == 0, done.stderr
    (native,), (web,) = ((tmp_path / name).iterdir() for name in ("native", "web"))
    saved = load_run(web)
    assert str(saved.run.device.identity["browser"]).startswith("Chrome ")
    text = (web / "report.md").read_text()
    measured = saved.cases[0].measurement
    assert measured is not None
    for condition in ("engine_sha256", "cpu_clock", "clock_resolution_s"):
        assert condition in measured.conditions and f"| {condition} |" in text
    assert "| browser | Chrome " in text
    done = typed("report", str(native), str(web), "-o", "both")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "both" / "report.md").read_text()
    assert "What the page in Chrome on this machine takes more than the program" in page
    assert "which took turns in each run: this machine " in page
    assert "Chrome on this machine against native code, by category" in page
    with (tmp_path / "both" / "browsers.csv").open() as file:
        rows = list(csv.DictReader(file))
    parts = {row["part"] for row in rows if row["divided_by"] == "category"}
    assert {"Attention", "FFN", "Convolution"} <= parts
    assert {row["row"] for row in rows} == {"mobilevit_xxs 2,2,2", "mobilevit_xxs 8,4,2"}
    done = typed("report", str(native), str(web), "--json")
    body = json.loads(done.stdout)
    assert [one["device"] for one in body["turns"]] == ["host", "chrome"]


def test_page_and_program_by_one_command(typed: Mvdeploy, tmp_path: Path) -> None:
    cases = ("mobilevit_xxs", "--image-size", "64", "--device", "host", "--device", "chrome")
    done = typed("bench", *cases, *FEW, "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "What the page in Chrome on this machine takes more" in " ".join(done.stdout.split())
    (folder,) = (tmp_path / "out").iterdir()
    runs = [load_run(path).run for path in (folder / "runs").iterdir()]
    assert {run.device.profile.name for run in runs} == {"host", "chrome"}
    # Both are this machine: one was measured after the other.
    text = done.stderr
    assert max(text.rfind("host: session"), 0) < text.find("chrome: session")


def test_a_file_in_whole_numbers(typed: Mvdeploy, tmp_path: Path) -> None:
    network = ("mobilevit_xxs", "--image-size", "64", "--precision", "int8-dynamic")
    done = typed("export", *network, "--format", "onnx", "-o", "out")
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out").rglob("*.onnx")
    done = typed("bench", str(file), "--device", "chrome", "--no-breakdown", *FEW, "-o", "runs")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    (case,) = load_run(folder).cases
    assert case.device_parity is not None and case.device_parity.passed


def test_half_precision_is_emulated(typed: Mvdeploy, tmp_path: Path) -> None:
    words = ("bench", "yardstick", "--device", "chrome", "--precision", "fp16", "--no-breakdown")
    done = typed(*words, *FEW, "-o", "out")
    assert done.returncode == 2
    assert "WebAssembly computes fp16 as fp32" in done.stderr and "--force" in done.stderr
    done = typed(*words, "--force", *FEW, "-o", "out")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "out").iterdir()
    assert "yardstick (emulated)" in (folder / "report.md").read_text()
