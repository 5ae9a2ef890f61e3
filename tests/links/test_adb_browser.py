"""Chrome on a stand-in phone: the real adb, and a real browser behind the phone's socket."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

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
    # Of a test whose cable was pulled a page is left, which nobody could reach any more.
    for one in listed(chrome):
        if "127.0.0.1" in one["url"]:
            address = f"http://127.0.0.1:{chrome}/json/close/{one['id']}"
            urllib.request.urlopen(address, timeout=10).close()
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


def listed(port: int) -> list[dict[str, str]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
        return [one for one in json.load(answer) if one["type"] == "page"]


def pages(port: int) -> list[str]:
    return [one["url"] for one in listed(port)]


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


@pytest.fixture
def started(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run of two networks, once it has finished two sessions of each."""
    spec = make_spec("yardstick")
    Builder(spec).export("onnx", tmp_path / "one.onnx")
    shutil.copy(tmp_path / "one.onnx", tmp_path / "two.onnx")
    words = ["bench", "one.onnx", "two.onnx", "--device", "pixel4-chrome", "--iterations", "4"]
    words += ["--sessions", "20", "--warmup", "1", "--no-breakdown", "-o", "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mvdeploy", *words],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            assert process.stderr is not None
            assert any("session 3" in line for line in process.stderr)
            yield process
        finally:
            process.kill()


def test_what_was_finished_is_kept_when_the_cable_is_pulled(
    attached: Phone, started: subprocess.Popen[str], tmp_path: Path
) -> None:
    attached.unplug()
    _, told = started.communicate(timeout=120)
    attached.plug()
    assert started.returncode == DeviceUnavailable.exit_code == 3, told
    assert "Traceback" not in told
    (folder,) = (tmp_path / "out").iterdir()
    cases = load_run(folder).cases
    assert len(cases) == 2
    for case in cases:
        assert case.failure is not None and case.failure.exit_code == 3
        assert case.measurement is not None and len(case.measurement.steady) >= 2


def test_an_interrupt_leaves_nothing(
    attached: Phone, adb_server, chrome: int, started: subprocess.Popen[str]
) -> None:
    started.send_signal(signal.SIGINT)
    _, told = started.communicate(timeout=60)
    assert started.returncode == 130, told
    assert not [url for url in pages(chrome) if "127.0.0.1" in url]
    for way in ("forward", "reverse"):
        listed = adb_server.run("-s", attached.address, way, "--list").strip()
        assert attached.address not in listed and "tcp:" not in listed


def test_a_killed_run_is_put_right_by_the_next(
    attached: Phone, adb_server, chrome: int, started: subprocess.Popen[str], tmp_path: Path
) -> None:
    own = adb_server.run("-s", attached.address, "forward", "tcp:0", f"localabstract:{SOCKET}")
    port = own.strip()
    for _ in range(300):
        started.send_signal(signal.SIGSTOP)
        listed = adb_server.run("-s", attached.address, "reverse", "--list")
        if "tcp:" in listed and [url for url in pages(chrome) if "127.0.0.1" in url]:
            break
        started.send_signal(signal.SIGCONT)  # it was between two of its jobs
        time.sleep(0.02)
    else:
        pytest.fail("it opened no page")
    started.kill()
    started.wait()
    done = run("devices", "doctor", "pixel4-chrome", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert not [url for url in pages(chrome) if "127.0.0.1" in url]
    assert "tcp:" not in adb_server.run("-s", attached.address, "reverse", "--list")
    # What another program has opened stays.
    listed = adb_server.run("forward", "--list").split()
    assert listed == [attached.address, f"tcp:{port}", f"localabstract:{SOCKET}"]


class Claims(BaseHTTPRequestHandler):
    """Says that it is a browser, and is none."""

    told: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        body = json.dumps({"webSocketDebuggerUrl": "ws://x/y", **self.told}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def brave() -> Iterator[int]:
    told = {"Browser": "Chrome/155.0.1", "Android-Package": "com.brave.browser"}
    yield from claiming(told)


def claiming(told: dict[str, str]) -> Iterator[int]:
    handler = type("Claiming", (Claims,), {"told": told})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_one_of_several_browsers_is_chosen(
    attached: Phone, chrome: int, brave: int, tmp_path: Path
) -> None:
    other = f"{SOCKET}_{os.getpid()}"
    attached.listen(**{SOCKET: chrome, other: brave})
    found: list[tuple[str, dict[str, str]]] = []
    with socket.socket(socket.AF_UNIX) as listening:  # listed where those of the phone are
        listening.bind(f"\0{other}")
        listening.listen()
        link = links.get(devices.get("pixel4-chrome"))
        link.found = lambda code, _level, **about: found.append((code, about))
        with link:
            assert link.identity()["browser"].startswith("Chrome ")
        assert "several_browsers" in [code for code, _ in found]
        assert dict(found)["several_browsers"]["others"] == "Chrome 155.0.1 (com.brave.browser)"
        link = links.get(
            devices.get("pixel4-chrome"), options={"phone_browser": "com.brave.browser"}
        )
        with link:
            assert link.identity()["browser"] == "Chrome 155.0.1 (com.brave.browser)"
    words = ("--phone-browser", "com.microsoft.emmx")
    done = run("devices", "doctor", "pixel4-chrome", *words, cwd=tmp_path)
    assert done.returncode == 3
    assert "com.microsoft.emmx does not answer on Chrome on Pixel 4; what does: " in done.stdout


def test_a_browser_that_is_too_old(attached: Phone, tmp_path: Path) -> None:
    for port in claiming({"Browser": "Chrome/90.0.4430.210"}):
        attached.listen(**{SOCKET: port})
        done = run("devices", "doctor", "pixel4-chrome", cwd=tmp_path)
    assert done.returncode == 3
    assert "Chrome 90.0.4430.210 on Chrome on Pixel 4 is too old" in done.stdout
    assert "Update it to version 91" in done.stdout


def test_the_browser_of_any_phone_is_named_by_its_serial(attached: Phone, tmp_path: Path) -> None:
    name = f"chrome@{attached.address}"
    profile = links.profile(name)
    assert (profile.link, profile.cores, profile.screen) == ("adb_browser", (), "on")
    assert profile.soc == devices.get("pixel4").soc
    assert links.typed(profile) == name
    done = run(
        "bench", "yardstick", "--device", name, *FEW, "--no-breakdown", "-o", "o", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "o").iterdir()
    assert load_run(folder).run.device.profile.title == "Chrome on Pixel 4"
    done = run("devices", "doctor", "chrome@nowhere", cwd=tmp_path)
    assert done.returncode == 3
    assert "nowhere" in done.stderr and "Traceback" not in done.stderr
