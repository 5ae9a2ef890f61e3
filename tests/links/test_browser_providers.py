"""What an engine computes with in a browser beside the processor, as it is typed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mvdeploy.links.browsing import doing
from mvdeploy.links.families.browser import program
from mvdeploy.records import Job, JobModel
from mvdeploy.records.plan import Warmup
from mvdeploy.records.run import load_run
from tests.warm import started
from tests.web_engines import web_engines

__all__ = ["web_engines"]

SMALL = (
    *("bench", "yardstick", "--device", "chrome", "--threads", "1"),
    *("--iterations", "6", "--sessions", "1", "--warmup", "2", "-o", "out"),
)


def typed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return started(*SMALL, *arguments, cwd=folder)


@pytest.mark.usefixtures("web_engines")
def test_a_program_in_the_place_of_a_gpu_is_refused(tmp_path: Path) -> None:
    done = typed(tmp_path, "--web-provider", "webgpu", "--no-breakdown")
    assert done.returncode == 4, done.stderr
    assert "only adapter of WebGPU is a program (" in done.stderr
    assert "--force" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.usefixtures("web_engines")
def test_with_force_it_is_measured_and_the_row_says_emulated(tmp_path: Path) -> None:
    done = typed(tmp_path, "--web-provider", "webgpu", "--force")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "out").iterdir()
    saved = load_run(folder)
    (case,) = saved.cases
    assert "is computed by a program (" in case.emulated
    assert case.device_parity is not None and case.device_parity.passed
    assert case.measurement is not None
    conditions = case.measurement.conditions
    assert "swiftshader" in str(conditions["adapter"]) and "cpu_clock" not in conditions
    assert conditions["chosen_options"] == ("provider=webgpu",)
    # The page's thread does not do the work, so its CPU time is not taken for it.
    assert not any(case.measurement.steady.cpu_ns)
    assert {"software_adapter"} <= {finding.code for finding in saved.run.findings}
    reasons = [f.values["reason"] for f in case.measurement.findings if f.code == "profile_failed"]
    assert reasons and "another graph than the processor's" in str(reasons[0])
    text = (folder / "report.md").read_text()
    assert "yardstick (emulated)" in text


@pytest.mark.usefixtures("web_engines")
def test_the_other_engine_computes_by_webgpu_too(tmp_path: Path) -> None:
    litert = ("--format", "litert", "--engine", "litert-web")
    done = typed(tmp_path, *litert, "--web-provider", "webgpu", "--force", "--no-breakdown")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "out").iterdir()
    (case,) = load_run(folder).cases
    assert "is computed by a program (" in case.emulated
    # Fetched from the GPU: outputs that were never computed would be no network's.
    assert case.device_parity is not None and case.device_parity.passed


@pytest.mark.usefixtures("web_engines")
def test_a_browser_without_webnn_says_so(tmp_path: Path) -> None:
    done = typed(tmp_path, "--web-provider", "webnn", "--no-breakdown")
    if done.returncode == 0:
        pytest.skip("this browser has WebNN")
    assert done.returncode == 4
    assert "WebNN" in done.stderr and "Leave --web-provider out" in done.stderr


def test_what_engines_compute_with_follows_from_their_options() -> None:
    def model(engine: str, **options: str) -> JobModel:
        return JobModel(engine, "a.onnx", "", {}, options=options)

    def job(*models: JobModel) -> Job:
        return Job(models, (0,), 1, Warmup())

    plain, chosen = model("onnxruntime-web"), model("litert-web", provider="webgpu")
    assert doing.providers(job(plain)) == {"onnxruntime-web": "wasm"}
    found = doing.providers(job(plain, chosen))
    assert found == {"onnxruntime-web": "wasm", "litert-web": "webgpu"}
    assert program.flags_for(found.values()) == ("--enable-unsafe-webgpu",)
    assert program.flags_for(["wasm"]) == ()
