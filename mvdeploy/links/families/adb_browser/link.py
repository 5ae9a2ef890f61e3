"""The link to Chrome on a phone: each job in a page of its own, which is closed in the end."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
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
from mvdeploy.links.families.adb_browser import PREFIX
from mvdeploy.links.families.adb_browser.tunnel import Tunnels
from mvdeploy.records import DeviceProfile, Job, JobResult, Level, Reading

SOCKET = "chrome_devtools_remote"
"""Where Chrome listens on a phone, among its abstract sockets; the next of its kind adds a number.

Source: content/browser/devtools of Chromium for Android, as ``chrome://inspect`` looks for them.
"""

_LISTENING = re.compile(r" 00010000 \S+ \S+ +\d+ @(?!webview_)(\S*devtools_remote\S*)$", re.M)
"""Lines of /proc/net/unix: sockets of browsers, not of apps that show a page."""

_CHROME = "com.android.chrome"
_OLDEST = 91
"""From this version on WebAssembly has SIMD, which the engines are built with."""

_ASK_S = 10.0


_CLOSE_S = 10.0
"""Seconds for the browser to close a page: it is the user's, and goes on with what is left open."""


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


class _Silent(DeviceUnavailable):
    """No browser answers at a socket."""


def _get(port: int, what: str) -> Any:
    """Ask a browser without its DevTools; raises an OSError or a ValueError."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://127.0.0.1:{port}/json/{what}", timeout=_ASK_S) as answer:
        text = answer.read(1 << 22)
    return json.loads(text) if text.startswith((b"{", b"[")) else None


def _package(told: Mapping[str, Any]) -> str:
    return str(told.get("Android-Package", ""))


def _called(told: Mapping[str, Any]) -> str:
    """Return name and version of a browser; others than Chrome call themselves so, too."""
    package = _package(told)
    app = f" ({package})" if package not in ("", _CHROME) else ""
    return str(told["Browser"]).replace("/", " ") + app


class PhoneBrowserLink(AdbLink):
    """Runs jobs in Chrome on a phone.

    Args:
        profile: of the phone.
        options: of links.
    """

    prefix = PREFIX

    def __init__(self, profile: DeviceProfile, options: Options = NO_OPTIONS) -> None:
        super().__init__(profile, options)
        self._here = host.HostLink(profile)  # files stay here, and are served
        self._browser = ""
        self._socket = SOCKET
        self._left: frozenset[int] = frozenset()

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
            self._begin()
            self._browser = self.version()
            self.found("experimental_link", Level.NOTE, link="adb_browser")
            self._prepare()
        except BaseException:
            self.close()
            raise

    def claim(self) -> None:
        """Reach the phone, and put right what runs have left that have ended; see `RemoteLink`."""
        super().claim()
        self._left = self.tunnels.remove_left()

    def version(self) -> str:
        """Choose a browser that runs, and return its name and version.

        Raises:
            DeviceUnavailable: none runs, or not the one that was asked for, or it is too old.
        """
        answers = self._answers()
        wanted = self._options.get("phone_browser")
        chosen = [socket for socket, told in answers.items() if _package(told) == wanted]
        if wanted and not chosen:
            others = ", ".join(map(_called, answers.values()))
            raise DeviceUnavailable(
                f"{wanted} does not answer on {self.shell.name}; what does: {others}.",
                "Wake and unlock the phone, open it there, or give another --phone-browser.",
            )
        likely = sorted(answers, key=lambda socket: _package(answers[socket]) != _CHROME)
        self._socket = (chosen or likely)[0]
        taken = answers.pop(self._socket)
        if answers and not wanted:
            others = ", ".join(map(_called, answers.values()))
            self.found("several_browsers", Level.NOTE, taken=_called(taken), others=others)
        number = re.search(r"/(\d+)", str(taken["Browser"]))
        if number is not None and int(number[1]) < _OLDEST:
            raise DeviceUnavailable(
                f"{_called(taken)} on {self.shell.name} is too old for the engines, which need "
                "WebAssembly with SIMD.",
                f"Update it to version {_OLDEST} or newer, and run again.",
            )
        self._close_left()
        return _called(taken)

    def _close_left(self) -> None:
        """Close pages of runs that were killed; no other page has such an address."""
        left, self._left = self._left, frozenset()
        if not left:
            return
        with (
            contextlib.suppress(OSError, ValueError, http.client.HTTPException),
            self.tunnels.forward(self._socket) as port,
        ):
            for page in _get(port, "list"):
                found = re.match(r"http://127\.0\.0\.1:(\d+)/", str(page.get("url")))
                if found and int(found[1]) in left:
                    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                        _get(port, f"close/{page['id']}")

    def _answers(self) -> dict[str, Mapping[str, Any]]:
        """Return what browsers on the phone say of themselves, by their sockets."""
        listed = _LISTENING.findall(self.shell.call("cat /proc/net/unix 2>/dev/null").out)
        answers, silent = {}, None
        for socket in dict.fromkeys((SOCKET, *sorted(listed))):
            try:
                with self.tunnels.forward(socket) as port:
                    answers[socket] = self._ask(port)
            except _Silent as error:
                silent = silent or error
        if not answers and silent is not None:
            raise silent
        return answers

    def _ask(self, port: int) -> Mapping[str, Any]:
        try:
            told: Mapping[str, Any] = _get(port, "version")
            if not {"Browser", "webSocketDebuggerUrl"} <= set(told):
                raise ValueError("it does not say what it is")
        except (OSError, ValueError, TypeError, http.client.HTTPException) as error:
            raise _Silent(
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
        work = Doing(
            job, observer, lambda code, level: self.found(code, level), on_event, force=self.force
        )
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
        with self.tunnels.forward(self._socket) as port:
            path = urlsplit(str(self._ask(port)["webSocketDebuggerUrl"])).path
            address = f"ws://127.0.0.1:{port}{path}"
            with doing.page(
                lambda told: Devtools(devtools.WebSocket(address), told), work.tell, _CLOSE_S
            ) as page:
                page.browser.call("Page.bringToFront", page.session)
                yield page

    def close(self) -> None:
        """Restore the phone and part from it; see `Link.close`."""
        try:
            super().close()
        finally:
            self._here.close()
