"""Jobs in a real browser, with the engines or with a stand-in that does what its model says."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from mvdeploy import devices
from mvdeploy.links import Link
from mvdeploy.links.browsing import doing, site
from mvdeploy.links.families.browser.link import BrowserLink
from mvdeploy.records import Job, JobModel, JobResult, Warmup

LIMIT_S = 120.0
STAND_IN = Path(__file__).with_name("stand_in_engine.js")
OnEvent = Callable[["Browsers"], object]


def left(folder: Path, names: tuple[str, ...] = ("",)) -> list[str]:
    """Return what is left of browsers with a profile in a folder, once they had time to end.

    Args:
        folder: for temporary files.
        names: beginnings of the names of files; others leave theirs.
    """
    until = time.monotonic() + 20
    while (found := _left(folder, names)) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def _left(folder: Path, names: tuple[str, ...]) -> list[str]:
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = " ".join(process.cmdline())
            if str(folder) in words and "--user-data-dir" in words:
                processes.append(words)
    files = (path.name for path in folder.iterdir())
    return [*processes, *(name for name in files if name.startswith(names))]


class Browsers:
    """Runs jobs, and has what a fault takes.

    Args:
        folder: for files of jobs.
        temporary: the system's temporary folder, for this test.
        options: of the link.
    """

    def __init__(self, folder: Path, temporary: Path, options: dict[str, str]) -> None:
        self.folder, self.temporary, self.options = folder, temporary, options
        self.page: doing.Page | None = None
        self.patch: pytest.MonkeyPatch | None = None
        self.events: list[dict[str, Any]] = []

    @property
    def number(self) -> int:
        """The process of the browser."""
        for child in psutil.Process().children():
            if any(str(self.temporary) in word for word in child.cmdline()):
                return child.pid
        raise LookupError("there is no browser")

    def kill(self) -> None:
        """Kill the browser; what it started ends by that."""
        psutil.Process(self.number).kill()

    def call(self, method: str, **parameters: Any) -> None:
        """Have the page do something that may end it."""
        assert self.page is not None
        with contextlib.suppress(doing.Refused):
            self.page.browser.call(method, self.page.session, limit_s=0.5, **parameters)

    def link(self) -> Link:
        """Return a link that is not open."""
        return BrowserLink(devices.get("chrome"), self.options)

    def stand_in(self, at: str = "", does: str = "nothing", after: int = 0) -> JobModel:
        """Return a model that does something to the browser, at one of the engine's calls."""
        path = self.folder / f"{at or 'net'}.onnx"
        path.write_text(json.dumps({"at": at, "does": does, "after": after}))
        return self.model("onnxruntime-web", path, {"x": np.ones((1, 2), np.float32)})

    def model(
        self, engine: str, path: Path, inputs: dict[str, np.ndarray], **more: Any
    ) -> JobModel:
        """Return a model, whose outputs are left."""
        files = {}
        for name, tensor in inputs.items():
            files[name] = str(self.folder / f"{path.stem}-{name}.npy")
            np.save(files[name], tensor)
        outputs = self.folder / f"{path.name}-outputs"
        outputs.mkdir(exist_ok=True)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return JobModel(engine, str(path), digest, files, outputs_to=str(outputs), **more)

    def job(
        self,
        *models: JobModel,
        order: Sequence[int] = (0,) * 4,
        threads: int = 1,
        cores: Sequence[int] = (),
    ) -> Job:
        """Return a job with little warm-up."""
        return Job(tuple(models), tuple(order), threads, Warmup(iterations=1), tuple(cores))

    def run(
        self, job: Job, when: dict[str, OnEvent] | None = None, limit_s: float = LIMIT_S
    ) -> JobResult:
        """Run a job through a link of its own.

        Args:
            job: what to do.
            when: what is done after an event, by its name.
            limit_s: seconds for the job.
        """
        self.events = []

        def on_event(event: dict[str, Any]) -> None:
            self.events.append(event)
            (when or {}).get(event["event"], lambda _: None)(self)

        with self.link() as link:
            return link.run(job, limit_s, on_event)


@pytest.fixture
def browsers(
    web_engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Browsers]:
    """Run jobs in browsers, of which nothing may be left in the end."""
    temporary = Path(tempfile.mkdtemp(prefix="b", dir="/tmp"))  # a browser's socket is in it
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    made = Browsers(tmp_path, temporary, {})
    made.patch = monkeypatch
    original = doing.page

    @contextlib.contextmanager
    def page(*arguments: Any) -> Iterator[doing.Page]:
        with original(*arguments) as opened:
            made.page = opened
            yield opened

    monkeypatch.setattr(doing, "page", page)
    try:
        yield made
        assert left(temporary) == []
    finally:
        shutil.rmtree(temporary)


@dataclasses.dataclass(frozen=True)
class Runner:
    """A copy of the runner's files, which the site serves."""

    folder: Path

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Have the page served from a copy of the runner, with the stand-in engine in it."""
    folder = tmp_path / "runner"
    shutil.copytree(site.runner(), folder)
    shutil.copy(STAND_IN, folder / "engines" / "onnxruntime-web.js")
    monkeypatch.setattr(site, "runner", lambda: folder)
    return Runner(folder)
