"""Runs on a browser, from the command line: what they measure, and what is kept when they end."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mvdeploy import devices, models
from mvdeploy.kits import web
from mvdeploy.links.browsing import site
from mvdeploy.pipeline import bench
from mvdeploy.records import Level, Plan, Warmup
from mvdeploy.records.run import SavedRun, load_run
from tests.links.browsers import left
from tests.warm import started
from tests.web_engines import web_engines

__all__ = ["web_engines"]

OF_BROWSERS = ("mvdeploy", "org.", ".org.", "scoped_dir", "chrome")

pytestmark = pytest.mark.usefixtures("web_engines")


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's temporary folder of a test, in which browsers may leave nothing."""
    folder = Path(tempfile.mkdtemp(prefix="b", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    try:
        yield folder
        assert left(folder, OF_BROWSERS) == []
    finally:
        shutil.rmtree(folder)


def saved(folder: Path) -> SavedRun:
    (run,) = (folder / "reports").iterdir()
    return load_run(run)


def test_an_engine_without_a_profiler_gives_a_latency_and_says_why(
    tmp_path: Path, temporary: Path
) -> None:
    words = ("--format", "litert", "--engine", "litert-web", "--device", "chrome")
    length = ("--sessions", "2", "--iterations", "20", "--warmup", "3")
    done = started("bench", "yardstick", *words, *length, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (case,) = saved(tmp_path).cases
    assert case.measurement is not None and case.trace is None
    found = {finding.code: finding for finding in case.measurement.findings}
    assert "profile_failed" not in found
    assert found["no_profiler"].level is Level.NOTE
    assert found["no_profiler"].values == {"reason": "LiteRT.js has no profiler"}
    said = " ".join(next((tmp_path / "reports").glob("*/report.md")).read_text().split())
    assert "There is no breakdown: LiteRT.js has no profiler." in said
    version = web.find("litert-web")[1].version
    assert version in said


def measuring(folder: Path) -> subprocess.Popen[str]:
    """Start a run, and wait until a browser infers something for it."""
    words = ["bench", "yardstick", "--device", "chrome", "--sessions", "40", "--iterations", "500"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mvdeploy", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 120
    while not _measures(process.pid) and time.monotonic() < until:
        time.sleep(0.05)
    return process


def test_a_browser_that_is_killed_fails_the_case(tmp_path: Path, temporary: Path) -> None:
    process = measuring(tmp_path)
    for child in psutil.Process(process.pid).children():
        child.kill()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 4, err
    assert "The page is gone, as the browser has ended while " in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_run_that_is_interrupted_leaves_nothing(
    tmp_path: Path, temporary: Path, name: str
) -> None:
    number, process = signal.Signals[name], measuring(tmp_path)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    first = "Interrupted." if name == "SIGINT" else f"Ended by {name}."
    assert f"Error: {first}" in err and "Traceback" not in err
    assert left(temporary, OF_BROWSERS) == []


def _measures(number: int) -> bool:
    """Say whether a run has a browser with a worker in it."""
    for child in psutil.Process(number).children(recursive=True):
        for comm in Path(f"/proc/{child.pid}/task").glob("*/comm"):
            try:
                if comm.read_text().strip() == "DedicatedWorker":
                    return True
            except OSError:
                continue
    return False


CRASHING = """
import {{ start as begin }} from "./real.js";
export const start = async (...given) => {{
  const engine = await begin(...given);
  return {{
    open: (bytes, request) => {{
      if (bytes.length === {size}) {{
        for (const kept = []; ; ) kept.push(Array.from({{ length: 100_000 }}, Math.random));
      }}
      return engine.open(bytes, request);
    }},
  }};
}};
"""


def test_what_was_measured_before_a_crash_is_kept(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mvdeploy.links.families.browser import program

    plan = Plan(iterations=10, sessions=1, warmup=Warmup(iterations=2), profile_iterations=0)
    chosen = tuple(models.make_spec(name) for name in ("yardstick", "linear_chain_24"))
    request = bench.Request(chosen, ("onnx",), devices.get("chrome"), plan, tmp_path / "reports")

    folder = tmp_path / "runner"
    shutil.copytree(site.runner(), folder)
    engines = folder / "engines"
    (engines / "onnxruntime-web.js").rename(engines / "real.js")
    monkeypatch.setattr(site, "runner", lambda: _crashing(folder, tmp_path / "reports"))
    flags = (*program._FLAGS, "--js-flags=--max-old-space-size=64")
    monkeypatch.setattr(program, "_FLAGS", flags)
    bench.run(request)

    first, second = saved(tmp_path).cases
    assert first.measurement is not None and first.measurement.sessions
    assert second.measurement is None or not second.measurement.sessions
    assert "The page crashed while loading linear_chain_24" in repr(second)


def _crashing(folder: Path, reports: Path) -> Path:
    """Give the runner, with an engine that crashes on loading the second network."""
    (path,) = reports.glob("*/artifacts/linear_chain_24*.onnx")
    script = CRASHING.format(size=path.stat().st_size)
    (folder / "engines" / "onnxruntime-web.js").write_text(script)
    return folder


def test_two_runs_at_once(tmp_path: Path, temporary: Path) -> None:
    code = """
import sys
from mvdeploy import devices, links
from mvdeploy.pipeline.connect import opened
with opened(links.get(devices.get("chrome"))):
    print("open", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"open\n"
        done = started(
            "bench", "yardstick", "--device", "chrome", "--iterations", "5", cwd=tmp_path
        )
        other.communicate(b"")
    assert done.returncode == 3
    said = f"Error: Another run (process {other.pid}) measures on Chrome on this machine.\n"
    assert done.stderr.startswith(said)


# What it takes


def doctor(tmp_path: Path, *more: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = started("devices", "doctor", "chrome", "--json", *more, cwd=tmp_path)
    return done.returncode, {need["name"]: need for need in json.loads(done.stdout)}


def test_the_doctor_finds_everything(tmp_path: Path, temporary: Path) -> None:
    status, needs = doctor(tmp_path)
    assert status == 0 and {need["state"] for need in needs.values()} == {"met"}
    assert {"browser", "start", "onnxruntime-web", "litert-web"} <= set(needs)
    assert needs["litert-web"]["found"].startswith(web.find("litert-web")[1].version)
    assert re.search(r"\d+\.", needs["start"]["found"])
    told = started("devices", "doctor", "chrome", cwd=tmp_path)
    assert told.returncode == 0 and "missing" not in told.stdout


def test_the_doctor_names_what_is_missing(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    status, needs = doctor(tmp_path)
    assert status == 3
    assert {name for name, need in needs.items() if need["state"] == "missing"} == {
        *("browser", "onnxruntime-web", "litert-web")
    }
    assert "'mvdeploy devices setup chrome'" in needs["litert-web"]["remedy"]
    assert needs["browser"]["remedy"].startswith("Install one, or give the file of ")
    status, needs = doctor(tmp_path, "--browser", shutil.which("cat", path="/usr/bin:/bin") or "")
    assert status == 3 and needs["browser"]["state"] == "met"
    assert needs["start"]["state"] == "missing" and "does not start" in needs["start"]["found"]
    told = started("devices", "doctor", "chrome", cwd=tmp_path)
    assert told.returncode == 3 and "-> Fetch it with" in told.stdout


def lay(folder: Path, engine: str) -> None:
    """Lay an engine's packages in a folder, as npm does."""
    from tests.kits.test_web import make_packages

    make_packages(folder / "node_modules", web.engines.web(engine))


def setup(tmp_path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return started("devices", "setup", "chrome", *more, cwd=tmp_path)


def test_setup_takes_what_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))  # npm is not asked
    lay(tmp_path / "project", "onnxruntime-web")
    done = setup(tmp_path, "--npm", "project")
    assert done.returncode == 0, done.stderr
    ort, litert = done.stdout.splitlines()
    assert re.fullmatch(r"ONNX Runtime Web 1\.2\.3 \([0-9a-f]{16}\): ready", ort)
    assert litert == "LiteRT.js: left out (There is no package @litertjs/core in project)"
    done = setup(tmp_path, "--npm", "project/node_modules", "--json")
    assert json.loads(done.stdout) == [ort, litert.replace("project", "project/node_modules")]
    done = setup(tmp_path, "--npm", "project/node_modules/onnxruntime-web")
    assert done.stdout.splitlines()[0] == ort


def test_setup_of_a_folder_without_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for given in (".", "nowhere"):
        done = setup(tmp_path, "--npm", given)
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr == (
            f"Error: There is no package onnxruntime-web in {given}.\n"
            "Give the folder in which 'npm install onnxruntime-web' was run.\n"
        )


def test_setup_without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    done = setup(tmp_path, "--json")
    assert done.returncode == 3 and done.stdout == ""
    assert "cannot be fetched: there is no npm." in done.stderr
