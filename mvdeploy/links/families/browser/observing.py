"""What this machine tells of the process of a page, on Linux: CPU time, memory, what it used."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from mvdeploy.links.browsing.devtools import PROCESS_TIME, Devtools
from mvdeploy.records import UNAVAILABLE

_WORKER = "DedicatedWorker"
_PROCESSES = Path("/proc")


class Observer:
    """Tells of the process of a page in a browser of this machine; see `browsing.doing.Observer`.

    Args:
        browser: number of the browser's own process.
        root: where processes are listed.
    """

    def __init__(self, browser: int, root: Path = _PROCESSES) -> None:
        self._browser, self._root = browser, root
        self._devtools: Devtools | None = None
        self._session = ""
        self._page = 0
        self._thread: Path | None = None
        self._before: dict[str, int] = {}
        self.scope = "inference" if sys.platform == "linux" else "block"

    def attach(self, browser: Devtools, session: str) -> None:
        """Take the page that it is to tell of."""
        self._devtools, self._session = browser, session

    def about(self) -> dict[str, Any]:
        """Return fields of ``hello``; called by the worker, so that its thread is there."""
        self._find()
        if self.scope == "inference" and self._thread is None:
            self.scope = "block"
        cpu: dict[str, Any] = {"implementation": PROCESS_TIME, "resolution_s": 0.01}
        if self.scope == "inference":
            cpu = {"implementation": "schedstat of the worker's thread", "resolution_s": 1e-9}
        return {"pid": self._page, "cores": self._cores(), "clock": {"cpu": cpu}}

    def _find(self) -> None:
        """Find the process of the page, and the thread of its worker."""
        for number in self._numbers():
            for thread in sorted(
                (self._root / str(number) / "task").glob("*"), key=lambda path: int(path.name)
            ):
                # The engine's own threads are called so too, and are started later.
                if _text(thread / "comm").strip() == _WORKER:
                    self._page, self._thread = number, thread
                    return
        self._page = next(iter(self._numbers("--type=renderer")), 0)

    def _numbers(self, having: str = "") -> list[int]:
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(self._browser).children(recursive=True)
            return [child.pid for child in children if not having or having in _command(child)]
        return []

    def _cores(self) -> list[int] | None:
        with contextlib.suppress(psutil.Error, AttributeError):
            return sorted(psutil.Process(self._page or self._browser).cpu_affinity())
        return None

    def cpu_ns(self) -> int:
        """Return the CPU time of the worker's thread, else of the page's process."""
        if self._thread is not None:
            fields = _text(self._thread / "schedstat").split()
            return int(fields[0]) if fields else 0
        if self._devtools is None:
            return 0
        return self._devtools.process_ns(self._session)

    def memory(self) -> int:
        """Return the resident bytes of the page's process; 0 where that is not known."""
        return self._bytes("VmRSS")

    def peak_memory(self) -> int:
        """Return the largest of them."""
        return self._bytes("VmHWM")

    def _bytes(self, field: str) -> int:
        status = _text(self._root / str(self._page) / "status")
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        kilobytes = fields.get(field, "").split()[:1]
        return int(kilobytes[0]) * 1024 if kilobytes else 0

    def begin_usage(self) -> None:
        """Remember what was used until now."""
        self._before = self._delays()

    def usage(self) -> Mapping[str, Any]:
        """Return how long the page's threads waited for a core since then."""
        rises = [ns - self._before.get(name, 0) for name, ns in self._delays().items()]
        return {"run_delay_ns": sum(rises) if rises else UNAVAILABLE}

    def _delays(self) -> dict[str, int]:
        threads = (self._root / str(self._page) / "task").glob("*") if self._page else ()
        delays = {thread.name: _text(thread / "schedstat").split() for thread in threads}
        return {name: int(fields[1]) for name, fields in delays.items() if len(fields) > 1}


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""
