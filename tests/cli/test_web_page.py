"""``mvdeploy export --web``: a page is written, opened, and what it saves is read back."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mvdeploy.records import codec
from mvdeploy.records.run import load_run
from mvdeploy.records.web import WebPage, WebResult
from tests.browser import browser, media, resize
from tests.warm import started
from tests.web_engines import web_engines

__all__ = ["browser", "web_engines"]

Mvdeploy = Callable[..., subprocess.CompletedProcess[str]]
SIZES = ("--image-size", "128", "--image-size", "160")
EXPORT = ("export", "yardstick", "--format", "onnx", "--web", "page", *SIZES)
A, B = "yardstick-128-fp32-onnx", "yardstick-160-fp32-onnx"


@pytest.fixture(scope="module")
def page(web_engines: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a page with two networks."""
    place = tmp_path_factory.mktemp("page")
    done = started(*EXPORT, "--web-iterations", "24", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "page/models/yardstick-128-fp32.onnx" in done.stdout
    assert "page/index.html: serve it with 'python page/serve.py'" in done.stdout
    return place / "page"


@contextlib.contextmanager
def serving(*command: str, folder: Path) -> Iterator[str]:
    """Serve by a command that prints where, and give the address."""
    program = [sys.executable, "-u", *command]
    with subprocess.Popen(
        program, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            yield f"http://127.0.0.1:{line.split('://')[1].split(':')[1].split('/')[0]}/"
        finally:
            server.terminate()


def measured(browser: Any, address: str, place: Path, threads: int = 1) -> Path:
    """Open a page, measure, save the result, and return it."""
    allowed = {"behavior": "allow", "downloadPath": str(place)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
    browser.get_log("performance")
    browser.get(address)
    wait(lambda: browser.find_element("id", "start").is_enabled())
    if threads > 1:
        browser.execute_script(f"document.getElementById('threads').value = {threads}")
    browser.find_element("id", "start").click()
    wait(lambda: browser.find_element("id", "save").is_enabled())
    browser.find_element("id", "save").click()
    wait(lambda: (place / "result.json").is_file())
    return place / "result.json"


def wait(condition: Callable[[], bool], seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def asked(browser: Any) -> list[str]:
    """Return the addresses of all requests."""
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    return [one["request"]["url"] for one in asked if one["documentURL"].startswith("http")]


@pytest.fixture(scope="module")
def seen(
    page: Path, browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Any]]:
    """A result, and the page as it is then."""
    with serving("serve.py", "0", folder=page) as address:
        result = measured(browser, address, tmp_path_factory.mktemp("saved"))
        assert [url for url in asked(browser) if not url.startswith((address, "blob:"))] == []
        yield result, browser


@pytest.fixture
def result(seen: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of that result."""
    return Path(shutil.copy(seen[0], tmp_path / "result.json"))


def again(path: Path, **changed: Any) -> None:
    """Save a result with other fields, as a page would."""
    codec.save(dataclasses.replace(codec.load(WebResult, path), **changed), path)


def test_a_result_is_a_run_like_any_other(
    typed: Mvdeploy, result: Path, seen: tuple[Path, Any]
) -> None:
    done = typed("report", "result.json")
    assert done.returncode == 0, done.stderr
    folder = result.with_name("result")
    assert f"{folder.name}/report.html" in done.stdout
    saved = load_run(folder)
    device = saved.run.device
    assert "Chrom" in device.profile.title and device.profile.title.endswith("on Linux")
    assert device.identity["isolated"] == "yes" and "Chrom" in str(device.identity["browser"])
    assert [(case.slug, case.failure) for case in saved.cases] == [(A, None), (B, None)]
    for case in saved.cases:
        assert case.measurement is not None and case.device_parity is not None
        assert [len(session.steady) for session in case.measurement.sessions] == [6] * 4
        assert float(case.measurement.conditions["clock_resolution_s"]) < 5.5e-6  # type: ignore[arg-type]
        assert case.measurement.conditions["engine"] == "onnxruntime-web"
        assert case.device_parity.passed
    (comparison,) = saved.comparisons
    assert [len(group.a) for group in comparison.groups] == [6] * 4
    assert {group.first_created for group in comparison.groups} == {-1, 1}
    assert not [f for f in saved.run.findings if "isolated" in f.code or "clock" in f.code]
    shown = json.loads(typed("report", "result.json", "--json").stdout)
    assert [path.name for path in sorted(folder.parent.iterdir())] == ["result", "result.json"]
    rows = seen[1].find_elements("css selector", "#rows tr")
    for row, case in zip(rows, shown["cases"], strict=True):
        cells = [cell.get_attribute("textContent") for cell in row.find_elements("tag name", "td")]
        latency, interval = case["latency_ms"], case["interval"]
        assert float(cells[1]) == pytest.approx(latency["p50"], abs=6e-4)
        assert float(cells[2]) == pytest.approx(latency["p90"], abs=6e-4)
        low, high = map(float, cells[3].split(" – "))
        assert low == pytest.approx(interval["low_ms"], abs=6e-4)
        assert high == pytest.approx(interval["high_ms"], abs=6e-4)
        assert cells[4] == "24"


def test_the_page_fits_a_phone_and_follows_its_theme(seen: tuple[Path, Any]) -> None:
    browser = seen[1]
    papers = []
    for theme in ("light", "dark"):
        media(browser, theme=theme)
        for width in (400, 1280):
            resize(browser, width)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        papers.append(
            browser.execute_script("return getComputedStyle(document.documentElement).background")
        )
    assert papers[0] != papers[1]
    assert len(browser.find_elements("css selector", "#plots circle")) == 2 * 24
    assert browser.find_element("id", "photograph").get_property("naturalWidth") > 100


def test_the_sums_of_pages_that_have_no_other_are_right(seen: tuple[Path, Any]) -> None:
    """Pages that are opened by plain http from another machine have no SHA-256 of the browser."""
    text = "é" * 1000
    found = seen[1].execute_async_script(
        "const [text, done] = arguments;"
        "import('./runner/sha256.js').then(({ computed }) => {"
        "  const bytes = new TextEncoder().encode(text);"
        "  done([0, 55, 56, 64, 119, 120, 2000].map((n) => [...computed(bytes.slice(0, n))]));"
        "});",
        text,
    )
    wanted = [
        [*hashlib.sha256(text.encode()[:n]).digest()] for n in (0, 55, 56, 64, 119, 120, 2000)
    ]
    assert found == wanted


def test_what_is_not_isolated_says_so_and_compares_nothing(
    typed: Mvdeploy, web_engines: Path, browser: Any, tmp_path: Path
) -> None:
    """The networks are so small that no machine is slow enough to tell them apart."""
    sizes = ("--image-size", "32", "--image-size", "56")
    done = typed("export", "yardstick", "--web", "page", *sizes, "--web-iterations", "24")
    assert done.returncode == 0, done.stderr
    server = ("-m", "http.server", "--bind", "127.0.0.1", "0")
    with serving(*server, folder=tmp_path / "page") as address:
        measured(browser, address, tmp_path)
        assert "not isolated" in browser.find_element("id", "isolation").text
        assert not browser.find_element("id", "threads").is_displayed()
    done = typed("report", "result.json", "--format", "markdown", "--format", "terminal")
    assert done.returncode == 0, done.stderr
    saved = load_run(tmp_path / "result")
    assert saved.comparisons == () and saved.run.device.identity["isolated"] == "no"
    codes = {finding.code for finding in saved.run.findings}
    assert codes >= {"page_not_isolated", "clock_too_coarse"}
    assert saved.cases[0].measurement is not None
    assert "coarse_clock" in {f.code for f in saved.cases[0].measurement.findings}
    text = " ".join((tmp_path / "result" / "report.txt").read_text().split())
    assert "The page was not isolated: its clock had steps of" in text
    assert "The networks are not compared: a step of the clock" in text


def test_a_result_that_is_not_as_it_was_saved_is_refused(
    mvdeploy: Mvdeploy, page: Path, result: Path
) -> None:
    text = result.read_text()
    at = text.index("wall_ns") + 15
    other = "1" if text[at] != "1" else "2"
    spoiled = {
        text[:at] + other + text[at + 1 :]: "not as it was saved: it has another checksum",
        text[: len(text) // 2]: "is not valid JSON",
        text.replace('"checksum":', '"sum":'): "has the unknown field 'sum'",
        re.sub(r',"checksum":"\w+"', "", text): "result.json has no checksum",
        "{}": "is not a record of mvdeploy",
        (page / "job.json").read_text(): "holds a record of kind 'WebPage', not 'WebResult'",
    }
    for content, words in spoiled.items():
        result.write_text(content)
        done = mvdeploy("report", "result.json")
        assert done.returncode == 2
        assert words in done.stderr and "Traceback" not in done.stderr
        assert "Give a file as a page of 'mvdeploy export --web' saved it." in done.stderr
        assert [path.name for path in result.parent.iterdir()] == ["result.json"]


def test_times_that_cannot_have_been_measured_are_refused(mvdeploy: Mvdeploy, result: Path) -> None:
    """Somebody may have made the checksum anew."""
    whole = codec.load(WebResult, result)
    again(result, jobs=(*whole.jobs[:-1], dataclasses.replace(whole.jobs[-1], events=())))
    ended = mvdeploy("report", "result.json", "--format", "terminal")
    assert (
        "The runner stopped before it was done."
        in ended.stdout + ended.stderr + (result.with_name("result") / "report.txt").read_text()
    )
    again(result, jobs=(*whole.jobs[:-1], whole.jobs[-2]))  # the same session twice
    done = mvdeploy("report", "result.json")
    assert done.returncode == 2, done.stdout
    assert "result.json has the times of one job twice." in done.stderr


def test_a_session_that_failed_leaves_those_before(mvdeploy: Mvdeploy, result: Path) -> None:
    jobs = codec.load(WebResult, result).jobs
    error = {"event": "error", "kind": "memory", "message": "Memory ran out.", "remedy": "Rest."}
    failed = dataclasses.replace(jobs[4], events=(json.dumps(error),))
    again(result, jobs=(*jobs[:4], failed))
    done = mvdeploy("report", "result.json")
    assert done.returncode == 0, done.stderr
    saved = load_run(result.with_name("result"))
    for case in saved.cases:
        assert case.failure is not None and case.failure.message == "Memory ran out."
        assert case.measurement is not None and len(case.measurement.sessions) == 2


def test_a_network_that_failed_is_told_and_nothing_measured_is_refused(
    mvdeploy: Mvdeploy, result: Path
) -> None:
    jobs = codec.load(WebResult, result).jobs
    error = {"event": "error", "kind": "load", "message": "It does not load.", "remedy": "Rest."}
    failed = dataclasses.replace(jobs[0], events=(json.dumps(error),))
    again(result, jobs=(failed,))
    done = mvdeploy("report", "result.json")
    assert done.returncode == 2
    assert "result.json holds no measurement: It does not load." in done.stderr
    again(result, jobs=())
    done = mvdeploy("report", "result.json")
    assert done.returncode == 2
    assert "result.json holds no measurement" in done.stderr


def test_outputs_of_another_network_are_found(mvdeploy: Mvdeploy, result: Path) -> None:
    jobs = codec.load(WebResult, result).jobs
    (path,) = jobs[0].outputs
    wrong = dataclasses.replace(jobs[0], outputs={path: jobs[1].outputs[path]})
    again(result, jobs=(wrong, *jobs[1:]))
    assert mvdeploy("report", "result.json").returncode == 0
    parities = [case.device_parity for case in load_run(result.with_name("result")).cases]
    assert [parity is not None and parity.passed for parity in parities] == [False, True]


def test_a_page_of_litert_measures_on_one_thread_and_on_two(
    typed: Mvdeploy, web_engines: Path, browser: Any, tmp_path: Path
) -> None:
    done = typed(
        *("export", "yardstick", "--format", "litert", "--web", "page", "--web-iterations", "8")
    )
    assert done.returncode == 0, done.stderr
    for threads in (1, 2):
        (tmp_path / f"{threads}").mkdir()
        with serving("serve.py", "0", folder=tmp_path / "page") as address:
            measured(browser, address, tmp_path / f"{threads}", threads)
        assert typed("report", f"{threads}/result.json").returncode == 0
        saved = load_run(tmp_path / f"{threads}" / "result")
        (case,) = saved.cases
        assert case.engine == "litert-web" and case.failure is None
        assert case.measurement is not None and len(case.measurement.steady) == 8
        assert case.measurement.conditions["threads"] == saved.run.plan.threads == threads
        assert f"num_threads={threads}" in case.measurement.conditions["engine_options"]  # type: ignore[operator]
        assert case.device_parity is not None and case.device_parity.passed


def test_a_page_without_its_engine_says_what_is_missing(
    mvdeploy: Mvdeploy, page: Path, browser: Any, tmp_path: Path
) -> None:
    shutil.copytree(page, tmp_path / "broken")
    (path,) = (tmp_path / "broken" / "engine" / "onnxruntime-web").glob("*.wasm")
    path.unlink()
    with serving("serve.py", "0", folder=tmp_path / "broken") as address:
        measured(browser, address, tmp_path)
        said = browser.find_element("id", "failure").text
    assert said.startswith("onnxruntime-web could not be started (")
    done = mvdeploy("report", "result.json")
    assert done.returncode == 2
    assert "holds no measurement: onnxruntime-web could not be started" in done.stderr


def test_what_a_server_sends_is_what_the_page_needs(page: Path) -> None:
    with (
        serving("serve.py", "0", folder=page) as address,
        urllib.request.urlopen(f"{address}engine/onnxruntime-web/ort.wasm.min.mjs") as answer,
    ):
        assert answer.headers["Content-Type"] == "text/javascript"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_a_page_is_replaced_and_nothing_else_is(
    mvdeploy: Mvdeploy, web_engines: Path, tmp_path: Path
) -> None:
    small = ("export", "yardstick", "--web", "page")
    for _ in range(2):
        done = mvdeploy(*small)
        assert done.returncode == 0, done.stderr
    assert codec.load(WebPage, tmp_path / "page" / "job.json").cases[0].label == "yardstick"
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("")
    refused = {
        ("--web", "mine"): "mine holds something else than a page.",
        ("--web", "."): ". cannot become the folder of a page.",
        ("--web", "page", "-o", "x.onnx"): "-o and --web are two places.",
        ("--web", "page", "--format", "pytorch"): "No engine of browsers runs files of the format",
        ("--web", "page", "--format", "onnx", "--format", "litert"): "files of one format",
        ("--web", "page", "--web-iterations", "3"): "3 inferences are too few",
        ("--web-iterations", "8"): "--web-iterations is for pages.",
    }
    for options, words in refused.items():
        done = mvdeploy("export", "yardstick", *options)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr
    assert (tmp_path / "mine" / "work.txt").is_file()


def test_without_the_engine_it_is_said_how_it_is_had(
    mvdeploy: Mvdeploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nothing"))
    done = started("export", "yardstick", "--web", "page", cwd=tmp_path)
    assert done.returncode == 3
    assert "ONNX Runtime Web for browsers is not there yet." in done.stderr
    assert "mvdeploy devices setup chrome" in done.stderr
    assert not (tmp_path / "page").exists()
