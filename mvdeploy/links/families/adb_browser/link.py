"""The link to Chrome on a phone: each job in a page of its own, which is closed in the end."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mvdeploy.errors import DeviceUnavailable
from mvdeploy.kits import web
from mvdeploy.links import NO_OPTIONS, OnEvent, Options
from mvdeploy.links.browsing import devtools, doing
from mvdeploy.links.browsing.devtools import Devtools, Refused
from mvdeploy.links.browsing.doing import Doing
from mvdeploy.links.families import host
from mvdeploy.links.families.adb import AdbLink
from mvdeploy.links.families.adb_browser.tunnel import Tunnels
from mvdeploy.records import DeviceProfile, Job, JobResult, Level, Reading

SOCKET = "chrome_devtools_remote"
"""Where Chrome listens on a phone, among its abstract sockets."""

_ASK_S = 10.0


class Observer:
    """Tells what DevTools tell of a page on a phone; see `doing.Observer`."""

    scope = "block"

    def __init__(self) -> None:
        self._browser: Devtools | None = None
        self._session = ""

    def attach(self, browser: Devtools, session: str) -> None:
        """Take the page that it is to tell of."""
        self._browser, self._session = browser, session

    def about(self) -> dict[str, Any]:
        """Return fields of ``hello``."""
        cpu = {"implementation": devtools.PROCESS_TIME, "resolution_s": 0.01}
        return {"pid": 0, "cores": None, "clock": {"cpu": cpu}}

    def cpu_ns(self) -> int:
        """Return the CPU time of the page's process; 0 where that is not known."""
        return self._browser.process_ns(self._session) if self._browser else 0

    def memory(self) -> int:
        """Return 0: it is not known."""
        return 0

    def peak_memory(self) -> int:
        """Return 0: it is not known."""
        return 0

    def begin_usage(self) -> None:
        """Nothing tells what is used."""

    def usage(self) -> Mapping[str, Any]:
        """Return nothing."""
        return {}


class PhoneBrowserLink(AdbLink):
    """Runs jobs in Chrome on a phone.

    Args:
        profile: of the phone.
        options: of links.
    """

    def __init__(self, profile: DeviceProfile, options: Options = NO_OPTIONS) -> None:
        super().__init__(profile, options)
        self._here = host.HostLink(profile)  # files stay here, and are served
        self._browser = ""

    @property
    def tunnels(self) -> Tunnels:
        """The tunnels between the phone and here."""
        if self._adb is None:
            raise ValueError(f"the link to {self.profile.title} is not open")
        return Tunnels(self._adb, self._serial, self.shell.name)

    def open(self) -> None:
        """Reach the phone, and Chrome on it.

        Raises:
            DeviceUnavailable: the phone or Chrome does not answer, or an engine is missing.
        """
        try:
            if given := self._options.get("npm"):
                for engine in self.needs or self.profile.engines[:1]:
                    web.install(engine, Path(given))
            for engine in self.needs:
                web.find(engine)
            self.claim()
            self.tunnels.remove_left()
            self._begin()
            self._browser = self.version()
            self.found("experimental_link", Level.NOTE, link="adb_browser")
            self._prepare()
        except BaseException:
            self.close()
            raise

    def version(self) -> str:
        """Return the name and version of the browser.

        Raises:
            DeviceUnavailable: it does not run.
        """
        with self.tunnels.forward(SOCKET) as port:
            return str(self._ask(port)["Browser"]).replace("/", " ")

    def _ask(self, port: int) -> Mapping[str, Any]:
        url = f"http://127.0.0.1:{port}/json/version"
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(url, timeout=_ASK_S) as answer:
                told: Mapping[str, Any] = json.loads(answer.read(1 << 16))
            if not {"Browser", "webSocketDebuggerUrl"} <= set(told):
                raise ValueError("it does not say what it is")
        except (OSError, ValueError, TypeError, urllib.error.URLError) as error:
            raise DeviceUnavailable(
                f"Chrome does not answer on {self.shell.name} ({error or 'the connection ends'}).",
                "Wake and unlock the phone, open Chrome on it, and run again.",
            ) from error
        return told

    def identity(self) -> dict[str, Reading]:
        """Return what the phone is, and which browser it is."""
        return {**super().identity(), "browser": self._browser}

    def upload(self, files_: Sequence[Path]) -> dict[Path, str]:
        """Return where files are here: they are served from here."""
        return self._here.upload(files_)

    def discard(self, places: Sequence[str]) -> None:
        """Keep the files: they are no copies."""

    def scratch(self) -> str:
        """Return a temporary folder here, in which what pages send is written."""
        return self._here.scratch()

    def fetch(self, remote: str, local: Path) -> None:
        """Copy a file that a page has sent; see `Link.fetch`."""
        self._here.fetch(remote, local)

    def run(self, job: Job, limit_s: float, on_event: OnEvent | None = None) -> JobResult:
        """Do a job in a page of its own; see `Link.run`.

        Raises:
            DeviceUnavailable: the phone or Chrome is gone.
        """
        self._ready()
        observer = Observer()
        work = Doing(job, observer, lambda code, level: self.found(code, level), on_event)
        work.site.open()
        try:
            with (
                self.tunnels.reverse(work.site.port) as on_phone,
                self._page(work) as page,
            ):
                observer.attach(page.browser, page.session)
                return work.run(page, work.site.address(on_phone), limit_s)
        except Refused as error:
            raise DeviceUnavailable(error.message, error.remedy) from error
        except doing.BrowserGone as error:
            raise self._lost(error.doing) from error
        finally:
            work.site.close()

    @contextlib.contextmanager
    def _page(self, work: Doing) -> Iterator[doing.Page]:
        with self.tunnels.forward(SOCKET) as port:
            path = urlsplit(str(self._ask(port)["webSocketDebuggerUrl"])).path
            address = f"ws://127.0.0.1:{port}{path}"
            with doing.page(
                lambda told: Devtools(devtools.WebSocket(address), told), work.tell
            ) as page:
                page.browser.call("Page.bringToFront", page.session)
                yield page

    def close(self) -> None:
        """Restore the phone and part from it; see `Link.close`."""
        try:
            super().close()
        finally:
            self._here.close()
