"""Serve this folder with the headers in ``_headers``, which give its page a clock of 5 µs.

``python serve.py`` serves to this machine; ``python serve.py --lan`` to others too, to which it has
to be https for that clock: give ``--certificate FILE`` (a PEM file with the key in it).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import ssl
from pathlib import Path

HERE = Path(__file__).resolve().parent
TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".json": "application/json",
}
LINES = (HERE / "_headers").read_text(encoding="utf-8").splitlines()
HEADERS = [line.strip().split(": ", 1) for line in LINES if line.startswith(" ")]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files with these headers."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, **TYPES}  # noqa: RUF012

    def end_headers(self) -> None:
        """Add the headers."""
        for name, value in HEADERS:
            self.send_header(name, value)
        super().end_headers()

    def list_directory(self, path: object) -> None:
        """Show no folder."""
        self.send_error(404)


def main() -> None:
    """Serve until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", nargs="?", type=int, default=8000, help="0 for a free one")
    parser.add_argument("--lan", action="store_true", help="serve to other machines too")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="PEM, for https")
    given = parser.parse_args()
    handler = functools.partial(Handler, directory=str(HERE))
    host = "0.0.0.0" if given.lan else "127.0.0.1"
    with http.server.ThreadingHTTPServer((host, given.port), handler) as server:
        scheme = "http"
        if given.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(given.certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        print(f"{scheme}://{host}:{server.server_port}/", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
