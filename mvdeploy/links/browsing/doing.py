"""One job in a page: what it is given, what it tells, and what becomes of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import mvdeploy
from mvdeploy import engines
from mvdeploy.errors import DeviceUnavailable
from mvdeploy.files import writing
from mvdeploy.kits import web
from mvdeploy.links import OnEvent, RunnerFailed, outcome
from mvdeploy.links.browsing import devtools
from mvdeploy.links.browsing.devtools import Devtools, Refused
from mvdeploy.links.browsing.site import Site, json_of
from mvdeploy.records import Job, JobResult, Level
from mvdeploy.records.codec import encode

_SILENCE_S = 20.0
"""Seconds without a word after which the page is asked whether it still answers."""

_ANSWERS_S = 10.0

Found = Callable[[str, Level], None]
Tell = Callable[[str, str], None]
"""Is told what became of a page: a kind and words."""


class BrowserGone(RunnerFailed):
    """The connection to a browser has ended within a job.

    Attributes:
        doing: what the job was at.
    """

    def __init__(self, failed: RunnerFailed, doing: str) -> None:
        super().__init__(failed.message, failed.remedy, failed.events, failed.output)
        self.doing = doing


class Observer(Protocol):
    """Tells of the page's process what the page itself cannot."""

    scope: str
    """What CPU times are of: ``inference``, ``block``, or nothing."""

    def about(self) -> dict[str, Any]:
        """Return fields of ``hello``: ``pid``, ``cores``, and of ``clock`` the one of the CPU."""

    def cpu_ns(self) -> int:
        """Return the CPU time of what runs inferences, so far."""

    def memory(self) -> int:
        """Return resident bytes of the page's process; 0 where that is not known."""

    def peak_memory(self) -> int:
        """Return the largest of them; 0 where that is not known."""

    def begin_usage(self) -> None:
        """Remember what was used until now."""

    def usage(self) -> Mapping[str, Any]:
        """Return the counters of `JobResult.usage` since then; empty where nothing tells them."""


@dataclasses.dataclass
class Page:
    """A page in an open browser.

    Attributes:
        browser: its DevTools.
        session: of the page.
    """

    browser: Devtools
    session: str

    def answers(self) -> bool:
        """Say whether scripts run in it."""
        try:
            self.browser.call(
                "Runtime.evaluate",
                self.session,
                limit_s=_ANSWERS_S,
                expression="1",
                returnByValue=True,
            )
        except Refused:
            return False
        return True


@contextlib.contextmanager
def page(
    connect: Callable[[devtools.OnEvent], Devtools], tell: Tell, close_s: float = 2.0
) -> Iterator[Page]:
    """Give an empty page of a browser, and close the connection in the end.

    Args:
        connect: returns a connection to a browser, whose events are told to what it is given.
        tell: is told what becomes of page and browser.
        close_s: seconds that the browser has to close the page.

    Raises:
        Refused: the browser does not do what it is asked to.
    """

    def on_event(name: str, parameters: Mapping[str, Any]) -> None:
        if name == devtools.CLOSED:
            tell("closed", "")
        elif name == "Inspector.targetCrashed":
            tell("crashed", "")
        elif name == "Runtime.exceptionThrown":
            tell("failed", _exception(parameters))
        elif name == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            tell("said", str(parameters["entry"]["text"]))

    browser = connect(on_event)
    target = ""
    try:
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Inspector", "Runtime", "Log", "Performance"):
            browser.call(f"{domain}.enable", session)
        yield Page(browser, session)
    finally:
        if target:  # a browser that goes on, as one of a phone does, keeps no page of ours
            with contextlib.suppress(Refused):
                browser.call("Target.closeTarget", limit_s=close_s, targetId=target)
        browser.close()


def providers(job: Job) -> dict[str, str]:
    """Return what each engine of a job computes with: ``wasm``, ``webgpu`` or ``webnn``."""
    first = {model.engine: model.options for model in reversed(job.models)}
    return {
        name: str(engines.options(engines.get(name), job.threads, given).get("provider", "wasm"))
        for name, given in first.items()
    }


def _exception(parameters: Mapping[str, Any]) -> str:
    details = parameters.get("exceptionDetails", {})
    thrown = details.get("exception", {}).get("description") or details.get("text", "")
    return str(thrown).partition("\n")[0]


class Doing:
    """One job that is done in a page.

    Args:
        job: its paths are paths on this machine.
        observer: of the page's process.
        found: notes something about the device, by its code.
        on_event: is given each event.
        own: what ``hello`` says beside.
        force: whether an engine may also compute with what only stands in for hardware.
    """

    def __init__(
        self,
        job: Job,
        observer: Observer,
        found: Found,
        on_event: OnEvent | None = None,
        own: Mapping[str, Any] | None = None,
        *,
        force: bool = False,
    ) -> None:
        self._job, self._observer, self._found = job, observer, found
        self._own, self._force = dict(own or {}), force
        self._heard = outcome.Heard(on_event, keep_samples=not job.repeat_s)
        self._inbox: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._console: list[str] = []
        self.site = self._site()

    def _site(self) -> Site:
        job, observer = self._job, self._observer
        served: dict[str, Path] = {}
        kits: dict[str, dict[str, str]] = {}
        versions, sums, chosen = {}, {}, providers(job)
        for engine in dict.fromkeys(model.engine for model in job.models):
            folder, kit = web.find(engine)
            served |= {f"engine/{engine}/{name}": folder / name for name in kit.sums}
            versions[engine], sums[engine] = kit.version, kit.sha256
            provider = chosen[engine]
            kits[engine] = {
                "script": f"{engine}.js",
                "folder": f"engine/{engine}/",
                "provider": provider,
            }
        for i, model in enumerate(job.models):
            served[f"models/{i}"] = Path(model.path)
            served |= {f"inputs/{i}/{name}": Path(file) for name, file in model.inputs.items()}

        def body() -> str:
            told = observer.about()
            scope = self._scope()
            if any(provider != "wasm" for provider in chosen.values()):
                # The work is done in other processes: what the page's takes says nothing of it.
                scope, told = "", {**told, "clock": {}}
            about = {
                "mvdeploy": mvdeploy.__version__,
                "engines": versions,
                "engine_options": engines.options_of(job),
                "engine_sha256": sums,
                **self._own,
                **told,
            }
            told_all = {"job": encode(job), "about": about, "engines": kits}
            return json_of({**told_all, "scope": scope, "force": self._force})()

        gives = {
            "job.json": body,
            "cpu": lambda: str(observer.cpu_ns()),
            "memory": lambda: str(observer.memory()),
            "peak-memory": lambda: str(observer.peak_memory()),
        }
        takes = {
            "events": self._take_events,
            "page": self._take_page,
            "outputs": self._take_output,
            "profile": self._take_profile,
            "usage": self._take_usage,
        }
        return Site(served, gives, takes)

    def tell(self, kind: str, words: str) -> None:
        """Take note of what became of the page; `run` acts on it."""
        self._inbox.put((kind, words))

    def _scope(self) -> str:
        # The time of a process is that of the thread which calls the engine if there is no other.
        scope = self._observer.scope
        return scope if scope == "inference" or self._job.threads == 1 else ""

    # What a page sends is taken by threads of the site; all but files is left to `run`.

    def _take_events(self, _rest: str, content: bytes) -> str:
        self._inbox.put(("events", content.decode()))
        return ""

    def _take_page(self, _rest: str, content: bytes) -> str:
        said = json.loads(content)
        self._inbox.put((str(said["state"]), str(said["words"])))
        return ""

    def _take_output(self, rest: str, content: bytes) -> str:
        index, position = map(int, rest.split("/"))
        folder = self._job.models[index].outputs_to
        if folder is None:
            raise ValueError("no outputs were asked for")
        return self._write(Path(folder) / f"{position}.npy", content)

    def _take_profile(self, rest: str, content: bytes) -> str:
        index, name = rest.split("/")
        folder = self._job.models[int(index)].profile_to
        if folder is None or PurePosixPath(name).name != name:
            raise ValueError("no such profile was asked for")
        return self._write(Path(folder) / name, content)

    def _write(self, path: Path, content: bytes) -> str:
        try:
            writing.data(path, content)
        except writing.NotWritten as error:
            self._inbox.put(("disk", json.dumps([error.message, error.remedy])))
            raise
        return str(path)

    def _take_usage(self, rest: str, _content: bytes) -> str:
        if rest == "begin":
            self._observer.begin_usage()
            return ""
        counters = self._observer.usage()
        return json.dumps(counters) if counters else ""

    def run(self, page: Page, address: str, limit_s: float) -> JobResult:
        """Open the page, and wait for the end of the job.

        Args:
            page: an empty one.
            address: of the site, as the browser reaches it.
            limit_s: seconds that the job may take.

        Raises:
            RunnerFailed: page or browser crashed, froze or went on for too long, or the job failed.
            NotWritten: the disk refused what came.
        """
        answer = page.browser.call("Page.navigate", page.session, url=address)
        if answer.get("errorText"):
            raise self._failed(f"could not open the page ({answer['errorText']})", _OPEN)
        until, quiet_from = time.monotonic() + limit_s, time.monotonic()
        while not self._heard.finished:
            if time.monotonic() > until:
                raise outcome.hung(self._job, self._heard, limit_s, self._output())
            try:
                kind, words = self._inbox.get(timeout=1.0)
            except queue.Empty:
                kind, words = "", ""
            if kind:
                quiet_from = time.monotonic()
                self._handle(kind, words)
            elif time.monotonic() - quiet_from > _SILENCE_S:
                if not page.answers():
                    raise self._failed("does not answer any more", _BUSY)
                if not self._heard.events:
                    because = f" ({self._console[-1].rstrip('.')})" if self._console else ""
                    raise self._failed(f"did nothing for {_SILENCE_S:g} s{because}", _FAILED)
                quiet_from = time.monotonic()
        self._heard.feed(b"")
        return outcome.conclude(self._job, self._heard, 0, self._output())

    def _handle(self, kind: str, words: str) -> None:
        if kind == "events":
            self._heard.feed(words.encode())
        elif kind == "said":
            self._console.append(words)
        elif kind == "hidden":
            self._found("hidden_page", Level.WARNING)
        elif kind == "frozen":
            raise self._failed("was frozen by the browser", _FROZEN)
        elif kind == "crashed":
            raise self._failed("crashed", _MEMORY)
        elif kind == "closed":
            raise BrowserGone(
                self._failed("is gone, as the browser has ended", _ENDED),
                outcome.doing(self._heard.events, self._job),
            )
        elif kind == "disk":
            raise writing.NotWritten(*json.loads(words))
        else:
            self._console.append(words)
            raise self._failed(f"failed ({words})", _FAILED)

    def _failed(self, what: str, remedy: str) -> RunnerFailed:
        doing = outcome.doing(self._heard.events, self._job)
        return RunnerFailed(
            f"The page {what} while {doing}.", remedy, self._heard.events, self._output()
        )

    def _output(self) -> str:
        return "\n".join(self._console)


_OPEN = "Check that the browser may reach this machine: no proxy may be between the two."
_BUSY = "Close other pages and programs, or measure a smaller model, and run again."
_FROZEN = "Keep the page in front and the device awake, and run again."
_MEMORY = "Use a smaller model, batch or image size: a page of a browser has 4 GB at most."
_ENDED = "Run again; if it ends again, look for what ended it: the system may lack memory."
_FAILED = "Use a newer browser, or report this with its version and that of the engine."


def gone(error: Refused, name: str) -> DeviceUnavailable:
    """Word the error for a browser that does not do what it is asked to."""
    return DeviceUnavailable(f"{name} cannot be used: {error.message}", error.remedy)
