"""The link to a browser on this machine: each job in a page of a fresh one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mvdeploy.kits import web
from mvdeploy.links import NO_OPTIONS, OnEvent, Options, RunnerFailed
from mvdeploy.links.browsing import doing
from mvdeploy.links.browsing.devtools import Devtools, Refused
from mvdeploy.links.browsing.doing import Doing
from mvdeploy.links.families import host
from mvdeploy.links.families.browser import program
from mvdeploy.links.families.browser.checking import version_of
from mvdeploy.links.families.browser.observing import Observer
from mvdeploy.records import DeviceProfile, Job, JobResult, Level, Reading


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
