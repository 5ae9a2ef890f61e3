"""The pages that a browser is given: the runner, an engine, one job, and where it tells of it.

They are served to this machine alone, below a path that nobody can guess, to requests that ask for
this very host: no other page that is open in the browser can have or change anything. Isolation
headers give the page shared memory and a clock in steps of 5 µs.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import mvdeploy

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".json": "application/json",
}

HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; "
    "worker-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""What all answers have."""

_LENGTH = re.compile("[0-9]{1,12}")
_LARGEST = 1 << 31
"""Bytes of what a page may send."""

Given = Callable[[], str]
Taken = Callable[[str, bytes], str]
"""Is given the rest of the path and what was sent; returns the answer."""


def runner() -> Path:
    """Return the folder of the runner's own files."""
    return Path(mvdeploy.__file__).parent / "runners" / "web"


class Site:
    """What is served, and to whom.

    Args:
        files: by their paths below the site.
        gives: what is computed when it is asked for, by path.
        takes: what is done with what is sent, by the first part of the path.
        stray: is told of requests that are refused.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        gives: Mapping[str, Given],
        takes: Mapping[str, Taken],
        stray: Callable[[str], None] = lambda _: None,
    ) -> None:
        own = {p.relative_to(runner()).as_posix(): p for p in runner().rglob("*") if p.is_file()}
        self.files = {**own, **files}
        self.gives, self.takes, self.stray = gives, takes, stray
        self.token = secrets.token_urlsafe(24)
        self._server: _Server | None = None

    def open(self) -> None:
        """Begin to serve, on a port that is free."""
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.site = self
        threading.Thread(target=self._server.serve_forever, daemon=True, name="site").start()

    def close(self) -> None:
        """End that. May be called again."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    @property
    def port(self) -> int:
        """The port here."""
        if self._server is None:
            raise ValueError("the site is not open")
        return int(self._server.server_address[1])

    def address(self, port: int | None = None) -> str:
        """Return the address of the page.

        Args:
            port: under which the browser reaches the site; None for that of this machine.
        """
        return f"http://127.0.0.1:{port or self.port}/{self.token}/page.html"


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    site: Site

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that a browser has cut."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """Give a file, or what is computed."""
        path = self._path()
        if path is None:
            return
        site = self.server.site
        if path in site.gives:
            self._answer(site.gives[path]().encode(), "application/json")
        elif path in site.files:
            self._file(site.files[path])
        else:
            self._refuse(404, "there is no such file")

    def do_POST(self) -> None:
        """Take what the page sends."""
        path = self._path()
        if path is None:
            return
        first, _, rest = path.partition("/")
        take = self.server.site.takes.get(first)
        length = self.headers.get("Content-Length", "")
        if take is None or not _LENGTH.fullmatch(length) or int(length) > _LARGEST:
            self.close_connection = True
            self._refuse(404, "nothing is taken here")
            return
        content = self.rfile.read(int(length))
        if len(content) < int(length):  # the page has ended meanwhile
            self.close_connection = True
            return
        try:
            answer = take(rest, content)
        except Exception as error:  # the page tells of it, and the job ends with that
            self._refuse(500, str(error))
            return
        self._answer(answer.encode(), "text/plain; charset=utf-8")

    def _path(self) -> str | None:
        """Return the path below the site; None, and it is refused, for one that is not of it."""
        host = self.headers.get("Host", "")
        name, _, port = host.rpartition(":")
        path = unquote(self.path.partition("?")[0])
        token = f"/{self.server.site.token}/"
        if name not in ("127.0.0.1", "localhost") or not port.isdecimal():
            refused = (421, "this host is not served")
        elif not secrets.compare_digest(path[: len(token)].encode(), token.encode()):
            refused = (404, "there is no such page")
        else:
            return path[len(token) :]
        self.close_connection = True
        self.server.site.stray(path)
        self._refuse(*refused)
        return None

    def _file(self, path: Path) -> None:
        try:
            file = path.open("rb")
        except OSError as error:
            self._refuse(404, str(error.strerror))
            return
        with file:
            size = path.stat().st_size
            self._head(200, _TYPES.get(path.suffix, "application/octet-stream"), size)
            with contextlib.suppress(ConnectionError, socket.timeout):
                self.copy(file, size)

    def copy(self, file: Any, size: int) -> None:
        """Send a file in pieces."""
        while size > 0 and (data := file.read(min(size, 1 << 20))):
            self.wfile.write(data)
            size -= len(data)

    def _answer(self, content: bytes, kind: str, status: int = 200) -> None:
        self._head(status, kind, len(content))
        self.wfile.write(content)

    def _refuse(self, status: int, words: str) -> None:
        self._answer(words.encode(), "text/plain; charset=utf-8", status)

    def _head(self, status: int, kind: str, length: int) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep nothing: paths have the token."""


def json_of(body: object) -> Given:
    """Return what gives a body that does not change."""
    text = json.dumps(body)
    return lambda: text
