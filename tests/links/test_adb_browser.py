"""Chrome on a stand-in phone: the real adb, and a real browser behind the phone's socket."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mvdeploy import devices, files, links
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.links.families.browser import program
from mvdeploy.models import make_spec
from mvdeploy.pipeline.export import Builder
from mvdeploy.records import Job, JobModel, Warmup
from mvdeploy.records.run import load_run
from tests.android.fixtures import adb_server, make_phone, phone
from tests.android.phone import Phone
from tests.web_engines import web_engines

__all__ = ["adb_server", "make_phone", "phone", "web_engines"]

pytestmark = pytest.mark.slow

SOCKET = "chrome_devtools_remote"
FEW = ("--iterations", "4", "--sessions", "2", "--warmup", "2", "--no-profiler-cost")


@pytest.fixture(scope="module")
def chrome(web_engines: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port at which a browser's DevTools listen, as Chrome's on a phone do."""
    profile = tmp_path_factory.mktemp("chrome")
    flags = [f"--user-data-dir={profile}", "--remote-debugging-port=0", "--headless=new"]
    flags += ["--no-first-run", "--disable-background-networking", "--disable-gpu"]
    flags += ["--no-sandbox"] if program.is_root() else []
    words = [program.find(None), *flags, "about:blank"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(words, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        told = profile / "DevToolsActivePort"
        for _ in range(600):
            if told.is_file() and told.read_text().count("\n"):
                break
            time.sleep(0.05)
        yield int(told.read_text().splitlines()[0])
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture
def attached(phone: Phone, adb_server, chrome: int) -> Phone:
    adb_server.run("connect", phone.address)
    phone.listen(**{SOCKET: chrome})
    return phone


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mvdeploy", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "COLUMNS": "200"},
    )


def pages(port: int) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
        return [one["url"] for one in json.load(answer) if one["type"] == "page"]


def test_a_run_as_it_is_typed(attached: Phone, adb_server, chrome: int, tmp_path: Path) -> None:
    before = pages(chrome)
    done = run("bench", "yardstick", "--device", "pixel4-chrome", *FEW, "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "out").iterdir()
    saved = load_run(folder)
    (case,) = saved.cases
    assert saved.run.device.emulated
    assert (case.engine, case.failure) == ("onnxruntime-web", None)
    assert saved.run.device.identity["browser"].startswith("Chrome ")
    assert case.device_parity is not None and case.device_parity.passed
    assert case.trace is not None
    assert {finding.code for finding in saved.run.findings} >= {"experimental_link"}
    assert "no real phone" in done.stdout
    # Nothing of it is left: neither a page nor a tunnel nor a file.
    assert pages(chrome) == before
    assert SOCKET not in adb_server.run("forward", "--list")
    assert not list(attached.tmp.glob("mvdeploy/run-*"))


def test_the_doctor_says_what_is_missing(attached: Phone, tmp_path: Path) -> None:
    done = run("devices", "doctor", "pixel4-chrome", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "experimental" in done.stdout
    attached.listen()
    done = run("devices", "doctor", "pixel4-chrome", cwd=tmp_path)
    assert done.returncode == 3
    assert "missing  Chrome" in done.stdout
    assert "open Chrome on it" in done.stdout


def test_chrome_that_does_not_run(attached: Phone, tmp_path: Path) -> None:
    attached.listen()
    done = run("bench", "yardstick", "--device", "pixel4-chrome", *FEW, cwd=tmp_path)
    assert done.returncode == 3
    assert "Chrome does not answer on Chrome on Pixel 4" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tunnel_that_is_refused(attached: Phone, tmp_path: Path) -> None:
    attached.fault(no_reverse=True)
    done = run("bench", "yardstick", "--device", "pixel4-chrome", *FEW, cwd=tmp_path)
    assert done.returncode == 3
    assert "refuses a tunnel by adb" in done.stderr


def test_the_cable_is_pulled_in_a_job(attached: Phone, tmp_path: Path) -> None:
    link = links.get(devices.get("pixel4-chrome"))
    path = tmp_path / "net.onnx"
    Builder(make_spec("yardstick")).export("onnx", path)
    tensor = tmp_path / "x.npy"
    np.save(tensor, np.zeros((1, 3, 56, 56), np.float32))
    model = JobModel("onnxruntime-web", str(path), files.sha256(path), {"image": str(tensor)})
    job = Job((model,), (0,) * 10_000, 1, Warmup(iterations=1))
    link.needs = ("onnxruntime-web",)
    with link:
        pull = threading.Timer(0.5, attached.unplug)

        def begun(event) -> None:
            if event["event"] == "samples" and not pull.is_alive():
                pull.start()

        with pytest.raises(DeviceUnavailable, match="was lost while running inference"):
            link.run(job, 120, begun)
        attached.plug()
