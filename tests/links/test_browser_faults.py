"""What goes wrong in a real browser: a sentence on it, one on what to do, and nothing is left."""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdeploy.errors import DeviceUnavailable, MvdeployError, UsageError
from mvdeploy.files.writing import NotWritten
from mvdeploy.kits import web
from mvdeploy.links import RunnerFailed
from mvdeploy.links.browsing import doing, site
from mvdeploy.links.families.browser import checking, program
from mvdeploy.records import Job, Level
from tests.kits.test_build import executable
from tests.links.browsers import Browsers, Runner, browsers, left, runner
from tests.web_engines import web_engines

__all__ = ["browsers", "runner", "web_engines"]

pytestmark = pytest.mark.usefixtures("runner")


def failing(call: Callable[[], object], kind: type[MvdeployError] = RunnerFailed) -> MvdeployError:
    with pytest.raises(MvdeployError) as caught:
        call()
    assert type(caught.value) is kind, caught.value
    for sentence in (caught.value.message, caught.value.remedy):
        assert re.fullmatch(r"\S[^\n]*\S\.", sentence), sentence
    assert "Traceback" not in caught.value.message
    return caught.value


PHASES = {
    # After which event something happens, where the engine waits then, and what was going on.
    "load": ("hello", ("open", "wait"), "loading open.onnx"),
    "first": ("loaded", ("infer", "wait"), "first running infer.onnx"),
    "warmup": ("first", ("infer", "wait", 1), "warming up infer.onnx"),
    "measure": ("warmup", ("infer", "wait", 2), "running inference of infer.onnx"),
    "outputs": ("usage", ("outputs", "spin"), "collecting outputs"),
}


@pytest.mark.parametrize("phase", PHASES)
def test_the_browser_is_killed(browsers: Browsers, phase: str) -> None:
    event, does, what = PHASES[phase]
    job = browsers.job(browsers.stand_in(*does))
    error = failing(lambda: browsers.run(job, {event: Browsers.kill}), doing.BrowserGone)
    assert error.message == f"The page is gone, as the browser has ended while {what}."
    assert error.exit_code == 4 and isinstance(error, RunnerFailed)
    assert error.events[-1]["event"] == event  # what came until then is kept


def test_the_browser_is_killed_before_there_is_a_page(
    browsers: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = doing.Doing.run

    def run(self: doing.Doing, *arguments: object) -> object:
        browsers.kill()
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(doing.Doing, "run", run)
    error = failing(lambda: browsers.run(browsers.job(browsers.stand_in())))
    assert re.match(r"The (browser is gone|page is gone, as the browser has ended)", error.message)
    assert "dbus" not in error.message


@pytest.mark.parametrize("phase", ["load", "measure"])
def test_the_tab_crashes(browsers: Browsers, phase: str) -> None:
    event, does, what = PHASES[phase]
    job = browsers.job(browsers.stand_in(*does))
    error = failing(lambda: browsers.run(job, {event: lambda b: b.call("Page.crash")}))
    assert error.message == f"The page crashed while {what}."
    assert "4 GB" in error.remedy


def test_the_page_is_frozen(browsers: Browsers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doing, "_SILENCE_S", 15.0)
    event, does, what = PHASES["measure"]
    job = browsers.job(browsers.stand_in(*does))
    freeze = {event: lambda b: b.call("Page.setWebLifecycleState", state="frozen")}
    error = failing(lambda: browsers.run(job, freeze, limit_s=90))
    assert error.message == f"The page was frozen by the browser while {what}."
    assert "awake" in error.remedy


def test_the_page_is_hidden(browsers: Browsers, runner: Runner) -> None:
    text = (runner.folder / "page.js").read_text()
    hidden = 'Object.defineProperty(document, "hidden", { value: true });\n'
    runner.write("page.js", hidden + text)
    seen: list[tuple[str, Level]] = []
    with browsers.link() as link:
        link.found = lambda code, level, *_: seen.append((code, level))  # type: ignore[method-assign]
        link.run(browsers.job(browsers.stand_in()), 60)
    assert seen == [("hidden_page", Level.WARNING)]


def soon(browsers: Browsers) -> None:
    """Have silence noticed after a moment."""
    assert isinstance(browsers.patch, pytest.MonkeyPatch)
    browsers.patch.setattr(doing, "_SILENCE_S", 0.5)
    browsers.patch.setattr(doing, "_ANSWERS_S", 1.0)


def test_the_page_is_busy_and_its_worker_waits(browsers: Browsers) -> None:
    def busy(browsers: Browsers) -> None:
        soon(browsers)
        browsers.call("Runtime.evaluate", expression="for (;;);")

    event, does, what = PHASES["measure"]
    job = browsers.job(browsers.stand_in(*does))
    error = failing(lambda: browsers.run(job, {event: busy}, limit_s=60))
    assert error.message == f"The page does not answer any more while {what}."


@pytest.mark.parametrize("does", ["wait", "spin"])
def test_the_worker_never_ends(browsers: Browsers, does: str) -> None:
    # The page answers, so that its silence is no reason to end.
    job = browsers.job(browsers.stand_in("infer", does, 2))
    error = failing(lambda: browsers.run(job, {"warmup": soon}, limit_s=8.0))
    assert error.message == (
        "The runner did not finish within 8 s while running inference of infer.onnx."
    )
    assert "--time-limit" in error.remedy


def test_the_heap_is_full(browsers: Browsers, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = (*program._FLAGS, "--js-flags=--max-old-space-size=64")
    monkeypatch.setattr(program, "_FLAGS", flags)
    job = browsers.job(browsers.stand_in("infer", "heap", 2))
    error = failing(lambda: browsers.run(job, limit_s=60))
    assert error.message == "The page crashed while running inference of infer.onnx."
    assert "Use a smaller model" in error.remedy


def test_webassembly_ends_at_4_gb(browsers: Browsers) -> None:
    error = failing(lambda: browsers.run(browsers.job(browsers.stand_in("infer", "grow", 2))))
    assert "memory ran out (WebAssembly.Memory.grow()" in error.message
    assert "WebAssembly has 4 GB at most" in error.remedy


@pytest.mark.parametrize(
    ("does", "said"),
    [("throw", "(the pool is dry. at kernel)"), ("number", "(5242880)")],
)
def test_the_engine_throws(browsers: Browsers, does: str, said: str) -> None:
    first = browsers.stand_in()
    job = browsers.job(first, browsers.stand_in("infer", does, 3), order=(0, 1) * 4)
    error = failing(lambda: browsers.run(job))
    assert error.message == (
        f"onnxruntime-web failed in the measured inferences from number 0 on {said}."
    )


def test_the_page_is_not_isolated(browsers: Browsers, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "Cross-Origin-Opener-Policy"
    without = {key: text for key, text in site.HEADERS.items() if key != name}
    monkeypatch.setattr(site, "HEADERS", without)
    error = failing(lambda: browsers.run(browsers.job(browsers.stand_in())))
    assert error.message == "The page's clock is too coarse to measure by (not isolated)."


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("page.js", r"did nothing for 5 s \(.*MIME type"),
        ("runner.js", r"failed \(a file of the runner could not be loaded\) while starting"),
    ],
)
def test_a_script_of_a_wrong_type(
    browsers: Browsers, monkeypatch: pytest.MonkeyPatch, file: str, said: str
) -> None:
    monkeypatch.setattr(doing, "_SILENCE_S", 5.0)
    original = site._Handler._file

    def wrong(self: site._Handler, path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            if path.name == file:
                patch.setattr(site, "_TYPES", {})
            original(self, path)

    monkeypatch.setattr(site._Handler, "_file", wrong)
    error = failing(lambda: browsers.run(browsers.job(browsers.stand_in()), limit_s=60))
    assert re.search(said, error.message), error.message


@pytest.mark.parametrize("file", ["page.js", "runner.js", "loop.js", "engines/onnxruntime-web.js"])
def test_a_script_that_is_not_there(
    browsers: Browsers, runner: Runner, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.setattr(doing, "_SILENCE_S", 5.0)
    (runner.folder / file).unlink()
    error = failing(lambda: browsers.run(browsers.job(browsers.stand_in()), limit_s=60))
    assert error.exit_code == 4


def test_a_model_that_changed(browsers: Browsers) -> None:
    model = browsers.stand_in()
    Path(model.path).write_text("other")
    error = failing(lambda: browsers.run(browsers.job(model)))
    assert f"{model.path} is not the file that the job describes (its SHA-256 is" in error.message
    assert error.remedy == "Export the model again."


def test_a_model_or_an_input_that_is_gone(browsers: Browsers) -> None:
    model = browsers.stand_in()
    Path(model.inputs["x"]).unlink()
    error = failing(lambda: browsers.run(browsers.job(model)))
    assert f"The input 'x' of {model.path} could not be read" in error.message
    Path(model.path).unlink()
    error = failing(lambda: browsers.run(browsers.job(model)))
    assert f"The model {model.path} could not be read" in error.message


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x10\x00" + b" " * 16])
def test_an_input_that_is_damaged(browsers: Browsers, content: bytes) -> None:
    model = browsers.stand_in()
    Path(model.inputs["x"]).write_bytes(content)
    error = failing(lambda: browsers.run(browsers.job(model)))
    assert f"The input 'x' of {model.path} could not be read" in error.message


def test_no_room_for_outputs(browsers: Browsers) -> None:
    model = browsers.stand_in()
    (folder := browsers.folder / "no folder").touch()
    error = failing(
        lambda: browsers.run(
            browsers.job(dataclasses.replace(model, outputs_to=str(folder / "there")))
        ),
        NotWritten,
    )
    assert "cannot be written" in error.message


# The engine's files


def test_an_engine_that_is_damaged(browsers: Browsers, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = web.find("onnxruntime-web")
    copy = browsers.folder / "cache" / "mvdeploy" / "kits" / "web" / "onnxruntime-web"
    copy.mkdir(parents=True)
    for path in folder.iterdir():
        os.link(path, copy / path.name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(browsers.folder / "cache"))
    (copy / "ort-wasm-simd-threaded.wasm").unlink()
    error = failing(lambda: browsers.run(browsers.job(browsers.stand_in())), UsageError)
    assert error.message.startswith("The file ort-wasm-simd-threaded.wasm of onnxruntime-web in ")


# Browsers that are none


def test_two_at_once(browsers: Browsers) -> None:
    jobs = [browsers.job(browsers.stand_in("infer", "nothing"), order=(0,) * 50) for _ in range(2)]
    done: list[int] = []

    def run(job: Job) -> None:
        with browsers.link() as link:
            done.append(len(link.run(job, 60).samples))

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [50, 50]


NONE = {
    "ends": ("exit 0", r"does not start: it does not say why\."),
    "complains": ("echo 'no such display' >&2; exit 1", r"does not start: no such display\."),
    "sandbox": ("echo 'FATAL: No usable sandbox!' >&2; exit 1", r"it has no sandbox here\."),
    "library": ("echo 'error while loading shared libraries' >&2; exit 1", r"it lacks a library\."),
    "noise": (
        "echo 'no X' >&2; echo '[1:2:1201/025310.9:ERROR:dbus/bus.cc:405] No bus' >&2; exit 1",
        r"does not start: no X\.",
    ),
    "says why": (
        "echo 'a script' >&2; echo '[1:2:1201/0.9:ERROR:a/b.cc:4] No lock for it.' >&2; exit 1",
        r"does not start: No lock for it\.",
    ),
    "full": (
        "echo '[1:2:1201/0.9:ERROR:a/b.cc:4] mkdir x: No space left on device (28)' >&2; exit 1",
        r"does not start: there is no space left for its profile\.",
    ),
    "hangs": ("exec sleep 100", r"does not answer as a browser does \(The browser did not answer"),
    "echoes": ("exec cat <&3 >&4", r"does not answer as a browser does \(The browser did not"),
}


@pytest.mark.parametrize("kind", NONE)
def test_a_program_that_is_no_browser(
    browsers: Browsers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(checking, "_START_S", 1.0)
    monkeypatch.setattr(program, "_END_S", 0.2)
    does, said = NONE[kind]
    executable(tmp_path / "bin" / "browser", does)
    browsers.options = {"browser": str(tmp_path / "bin" / "browser")}
    job = browsers.job(browsers.stand_in())
    error = failing(lambda: browsers.run(job), DeviceUnavailable)
    assert re.search(said, error.message), error.message
    assert error.exit_code == 3


@pytest.mark.parametrize("name", ["true", "cat"])
def test_programs_that_are_no_browsers(browsers: Browsers, name: str) -> None:
    browsers.options = {"browser": name}
    job = browsers.job(browsers.stand_in())
    error = failing(lambda: browsers.run(job), DeviceUnavailable)
    assert f"/{name} does not start: " in error.message and "--browser" in error.remedy


def test_a_file_that_is_no_program(browsers: Browsers, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    job = browsers.job(browsers.stand_in())
    for name in ("text", "nothing"):
        browsers.options = {"browser": str(tmp_path / name)}
        error = failing(lambda: browsers.run(job), DeviceUnavailable)
        assert error.message == f"There is no program {tmp_path / name} to be the browser."
    (tmp_path / "text").chmod(0o755)
    (tmp_path / "text").write_bytes(b"\x7fELF")
    browsers.options = {"browser": str(tmp_path / "text")}
    error = failing(lambda: browsers.run(browsers.job(browsers.stand_in())), DeviceUnavailable)
    assert "text does not start: " in error.message


def test_a_temporary_folder_whose_path_is_long(
    browsers: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    (short := browsers.temporary / "short").mkdir()
    (long := browsers.temporary / ("long" * 20)).mkdir()
    monkeypatch.setattr(program, "_SHORT", short)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert len(browsers.run(browsers.job(browsers.stand_in())).samples) == 4
    assert left(short) == left(long) == []
    for folder in (short, long):
        folder.rmdir()


def test_there_is_no_place_for_the_profile(
    browsers: Browsers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nothing := tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(nothing))
    with pytest.raises(NotWritten) as caught, program.running("chromium"):
        pass
    assert str(nothing) in caught.value.message and left(browsers.temporary) == []
