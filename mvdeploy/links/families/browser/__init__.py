"""The link to a browser on this machine: each job is done in a page of a fresh, headless one.

The engines are files of npm packages, which the page is served from here (`mvdeploy.kits.web`). The
identity has ``browser`` (name and version) beside what this machine is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mvdeploy import engines
from mvdeploy.errors import DeviceUnavailable, MvdeployError
from mvdeploy.kits import web
from mvdeploy.links import NO_OPTIONS, OnEvent, Options, Prerequisite, RunnerFailed, State
from mvdeploy.links.browsing import doing
from mvdeploy.links.browsing.devtools import Devtools, Refused
from mvdeploy.links.browsing.doing import Doing
from mvdeploy.links.families import host
from mvdeploy.links.families.browser import program
from mvdeploy.links.families.browser.observing import Observer
from mvdeploy.plugins import Option
from mvdeploy.records import DeviceProfile, Job, JobResult, Level, Reading

RUNNER = "web"
"""Which program does its jobs; engines say which of them can run them."""

BROWSER = Option(
    "browser",
    "--browser",
    "Browsers: the program: Chrome, Chromium, Edge or Brave.",
    "FILE",
    variable="MVDEPLOY_BROWSER",
)
NPM = Option(
    "npm",
    "--npm",
    "Browsers: take the engine from this folder, in which it was installed with npm.",
    "DIR",
    variable="MVDEPLOY_NPM",
)
OPTIONS = (BROWSER, NPM)


def connect(profile: DeviceProfile, options: Options = NO_OPTIONS) -> BrowserLink:
    """Return the link to a browser on this machine."""
    return BrowserLink(profile, options)


def doctor(profile: DeviceProfile, options: Options = NO_OPTIONS) -> tuple[Prerequisite, ...]:
    """Go through what it takes to measure in a browser."""
    return tuple(_checks(profile, options))


def setup(
    profile: DeviceProfile, options: Options, on_step: Callable[[str], None]
) -> tuple[str, ...]:
    """Take the engines from the folder that was given, else have npm fetch them; say what they are.

    Raises:
        UsageError: none of them is in that folder.
        DeviceUnavailable: they cannot be fetched.
    """
    given = options.get("npm")
    told, refused = [], []
    for engine in profile.engines:
        try:
            kit = web.install(engine, Path(given) if given else None, on_step)
        except MvdeployError as error:
            refused.append(error)
            continue
        told.append(f"{engines.title(engine)} {kit.version} ({kit.sha256[:16]}): ready")
    if refused and (not told or not given):
        raise refused[0]
    return tuple(told)


def _checks(profile: DeviceProfile, options: Options) -> Iterator[Prerequisite]:
    try:
        path = program.find(options.get("browser"))
    except DeviceUnavailable as error:
        yield Prerequisite("browser", State.MISSING, error.message, error.remedy)
        path = ""
    else:
        yield Prerequisite("browser", State.MET, path)
    if path:
        if program.is_root():
            yield Prerequisite(
                "sandbox", State.MET, "off, as this is root: only mvdeploy's own page is opened"
            )
        yield from _start(path)
    for engine in profile.engines:
        try:
            _, kit = web.find(engine)
        except MvdeployError as error:
            yield Prerequisite(engine, State.MISSING, error.message, error.remedy)
        else:
            yield Prerequisite(engine, State.MET, f"{kit.version} ({kit.sha256[:16]})")


def _start(path: str) -> Iterator[Prerequisite]:
    try:
        version = version_of(path)
    except DeviceUnavailable as error:
        yield Prerequisite("start", State.MISSING, error.message, error.remedy)
    else:
        yield Prerequisite("start", State.MET, version)


@functools.cache
def version_of(path: str) -> str:
    """Return the name and version that a browser gives when it is started.

    Raises:
        DeviceUnavailable: it does not start.
    """
    with program.running(path) as browser:
        devtools = Devtools(browser.pipe, lambda _name, _parameters: None)
        try:
            return str(devtools.call("Browser.getVersion")["product"]).replace("/", " ")
        except Refused as error:
            raise not_started(path, browser) from error


def not_started(path: str, browser: program.Browser) -> DeviceUnavailable:
    """Word the error for a browser that has ended at its start."""
    reason, remedy = program.why(browser.said())
    return DeviceUnavailable(f"The browser {path} does not start: {reason}.", remedy)


class BrowserLink(host.HostLink):
    """Runs jobs in a browser on this machine, each in a fresh one.

    Args:
        profile: of the browser.
        options: of links.
    """

    def __init__(self, profile: DeviceProfile, options: Options = NO_OPTIONS) -> None:
        super().__init__(profile)
        self._options = options
        self._program = ""
        self._version = ""

    def open(self) -> None:
        """Find the browser and the engines.

        Raises:
            DeviceUnavailable: there is no browser, it does not start, or an engine is missing.
        """
        self._program = program.find(self._options.get("browser"))
        self.on_reached(self.lock_key())  # it is this machine that it keeps busy
        if given := self._options.get("npm"):
            for engine in self.needs or self.profile.engines[:1]:
                web.install(engine, Path(given))
        for engine in self.needs:
            web.find(engine)
        self._version = version_of(self._program)

    def identity(self) -> dict[str, Reading]:
        """Return what this machine is, and which browser it is."""
        return {**super().identity(), "browser": self._version}

    def run(self, job: Job, limit_s: float, on_event: OnEvent | None = None) -> JobResult:
        """Do a job in a page of a fresh browser; see `Link.run`."""
        flags = program.flags_for(doing.providers(job).values())
        with program.running(self._program, job.cores, flags) as browser:
            observer = Observer(browser.number)
            work = Doing(job, observer, self._note, on_event, force=self.force)
            work.site.open()
            try:
                with doing.page(lambda told: Devtools(browser.pipe, told), work.tell) as page:
                    observer.attach(page.browser, page.session)
                    return work.run(page, work.site.address(), limit_s)
            except Refused as error:
                reason, _ = program.why(browser.said())
                raise RunnerFailed(
                    f"{error.message.rstrip('.')}: {reason}.", error.remedy, (), browser.said()
                ) from error
            finally:
                work.site.close()

    def _note(self, code: str, level: Level) -> None:
        self.found(code, level)

    def discard(self, places: Sequence[str]) -> None:
        """Keep the files: they are no copies."""
