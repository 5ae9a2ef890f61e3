"""What a browser is served: to whom, with which headers, and what is taken from it."""

from __future__ import annotations

import dataclasses
import functools
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mvdeploy.links.browsing import site
from mvdeploy.links.browsing.site import HEADERS, Site

TYPES = {
    "page.html": "text/html; charset=utf-8",
    "page.js": "text/javascript",
    "engines/onnxruntime-web.js": "text/javascript",
    "engine/a.mjs": "text/javascript",
    "engine/a.wasm": "application/wasm",
    "models/0": "application/octet-stream",
}


@dataclasses.dataclass
class Served:
    """A site that is open, and what it was sent and told."""

    site: Site
    sent: list[tuple[str, bytes]]
    strays: list[str]

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask for something below the token."""
        full = f"/{self.site.token if token is None else token}/{path}"
        return self.ask_for(full, method, body, headers)

    def ask_for(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.site.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def say(self, raw: bytes) -> bytes:
        """Send bytes, and return all that comes until the end."""
        with socket.create_connection(("127.0.0.1", self.site.port), 20) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    quick = functools.partialmethod(site._Server.serve_forever, 0.02)  # to see that it is to end
    monkeypatch.setattr(site._Server, "serve_forever", quick)
    files = {name: tmp_path / Path(name).name for name in TYPES if name.startswith("engine/")}
    for path in files.values():
        path.write_bytes(path.name.encode() * 400_000)  # more than one piece
    files["models/0"] = tmp_path / "net.onnx"
    files["models/0"].write_bytes(b"model")
    files["inputs/0/an input/ä?"] = files["models/0"]
    files["gone"] = tmp_path / "gone"
    (tmp_path / "secret").write_text("secret")
    sent: list[tuple[str, bytes]] = []
    strays: list[str] = []

    def take(rest: str, content: bytes) -> str:
        if rest == "bad":
            raise ValueError("that is bad")
        sent.append((rest, content))
        return f"took {len(content)}"

    made = Site(files, {"cpu": lambda: "7"}, {"events": take}, strays.append)
    made.open()
    try:
        yield Served(made, sent, strays)
    finally:
        made.close()


@pytest.mark.parametrize("path", TYPES)
def test_files_have_their_type_and_all_headers(served: Served, path: str) -> None:
    status, headers, content = served.ask(path)
    assert (status, headers["Content-Type"]) == (200, TYPES[path])
    assert content == served.site.files[path].read_bytes()
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert "Server" not in headers and "Access-Control-Allow-Origin" not in headers


def test_the_policy_has_no_exceptions(served: Served) -> None:
    _, headers, _ = served.ask("page.html")
    policy = headers["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert not [word for word in ("unsafe-inline", "'unsafe-eval'", "*", "http") if word in policy]
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Cache-Control"] == "no-store"


def test_it_is_for_this_machine_only(served: Served) -> None:
    assert served.site._server is not None
    assert served.site._server.server_address[0] == "127.0.0.1"
    assert served.site.address().startswith(f"http://127.0.0.1:{served.site.port}/")
    assert served.site.address(80).startswith("http://127.0.0.1:80/")


def test_nobody_guesses_the_token() -> None:
    tokens = {Site({}, {}, {}).token for _ in range(100)}
    assert len(tokens) == 100 and min(map(len, tokens)) >= 32


def test_what_is_computed_is_computed_anew(served: Served) -> None:
    numbers = iter("12")
    served.site.gives = {"cpu": lambda: next(numbers)}
    assert [served.ask("cpu?at=1")[2] for _ in range(2)] == [b"1", b"2"]


def test_names_are_as_they_are(served: Served) -> None:
    status, _, content = served.ask("inputs/0/an%20input%2F%C3%A4%3F")
    assert (status, content) == (200, b"model")


@pytest.mark.parametrize("path", ["", "nothing", "gone", "page.html/", "events", "engines", "."])
def test_what_is_not_there(served: Served, path: str) -> None:
    status, headers, _ = served.ask(path)
    assert status == 404 and {name: headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize(
    "path",
    [
        *("../secret", "models/../../secret", "..%2Fsecret", "models/0/../../../secret"),
        *("%2e%2e/secret", "engine/..%5c..%5csecret", "/etc/passwd", "//etc/passwd"),
        *("engines/../../../../pyproject.toml", "page.html%00.js", "file:///etc/passwd"),
    ],
)
def test_no_path_leads_elsewhere(served: Served, path: str) -> None:
    assert served.ask(path)[0] == 404


@pytest.mark.parametrize("token", ["", "wrong", "%00", "ä".encode().hex()])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_the_token_there_is_nothing(served: Served, token: str, method: str) -> None:
    path = "events" if method == "POST" else "page.html"
    status, headers, content = served.ask(path, method, b"x", token=token)
    assert (status, content) == (404, b"there is no such page")
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not served.sent and len(served.strays) == 1


def test_a_part_of_the_token_is_none(served: Served) -> None:
    token = served.site.token
    for wrong in (token[:-1], token.swapcase(), f"{token}x", f"x{token}"):
        assert served.ask("page.html", token=wrong)[0] == 404
    for path in (f"/{token}", "/", "*"):
        assert served.ask_for(path)[0] == 404
    assert len(served.strays) == 7


@pytest.mark.parametrize(
    "host",
    [
        *("example.org", "example.org:80", "127.0.0.1", "127.0.0.1.example.org:80", ""),
        *("localhost:80x", "localhost:", "[::1]:80", "user@127.0.0.1:80", "0.0.0.0:80"),
    ],
)
def test_a_foreign_host_is_refused(served: Served, host: str) -> None:
    status, _, content = served.ask("page.html", headers={"Host": host})
    assert (status, content) == (421, b"this host is not served")
    assert len(served.strays) == 1


def test_a_request_without_a_host_is_refused(served: Served) -> None:
    path = f"/{served.site.token}/page.html"
    assert served.say(f"GET {path} HTTP/1.1\r\n\r\n".encode()).startswith(b"HTTP/1.1 421 ")


@pytest.mark.parametrize("port", [1, 65535])
def test_the_port_may_be_that_of_a_forward(served: Served, port: int) -> None:
    assert served.ask("page.html", headers={"Host": f"127.0.0.1:{port}"})[0] == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"])
def test_other_methods_are_refused(served: Served, method: str) -> None:
    status, headers, _ = served.ask("page.html", method)
    assert status == 501
    assert not [name for name in headers if name.startswith("Access-Control")]


def test_what_is_sent_arrives(served: Served) -> None:
    content = bytes(range(256)) * 8192
    status, _, answer = served.ask("events/0/1", "POST", content)
    assert (status, answer) == (200, b"took 2097152")
    assert served.sent == [("0/1", content)]


def test_what_cannot_be_taken_is_said(served: Served) -> None:
    status, _, answer = served.ask("events/bad", "POST", b"x")
    assert (status, answer) == (500, b"that is bad")
    assert served.ask("events/good", "POST", b"")[0] == 200


@pytest.mark.parametrize("path", ["cpu", "page.html", "nothing", "", "../events"])
def test_nothing_else_is_taken(served: Served, path: str) -> None:
    assert served.ask(path, "POST", b"x")[0] == 404
    assert not served.sent


@pytest.mark.parametrize("length", ["", "-1", "x", "1e3", "٣", str(1 << 40), "9" * 5000])
def test_a_length_that_is_none_or_too_large(served: Served, length: str) -> None:
    head = f"POST /{served.site.token}/events HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"
    line = f"Content-Length: {length}\r\n" if length else "Transfer-Encoding: chunked\r\n"
    said = served.say(f"{head}{line}\r\n3\r\nabc\r\n0\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 404 ") and not served.sent
    assert said.count(b"HTTP/1.1") == 1  # what follows is no request


def test_what_is_cut_short_is_not_taken(served: Served) -> None:
    head = f"POST /{served.site.token}/events HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"
    served.say(f"{head}Content-Length: 10\r\n\r\nabc".encode())
    assert not served.sent


def test_a_connection_is_used_again(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.site.port, timeout=20)
    for _ in range(3):
        connection.request("GET", f"/{served.site.token}/cpu")
        assert connection.getresponse().read() == b"7"
    connection.close()


def test_a_closed_site_answers_nobody(served: Served) -> None:
    port = served.site.port
    served.site.close()
    served.site.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 5)
    with pytest.raises(ValueError, match="not open"):
        _ = served.site.port


def test_the_runner_is_whole_wherever_it_is_installed() -> None:
    names = {path.relative_to(site.runner()).as_posix() for path in site.runner().rglob("*.*")}
    assert names >= {"page.html", "page.js", "runner.js", "loop.js", "npy.js", "channel.js"}
