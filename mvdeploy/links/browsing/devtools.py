"""The Chrome DevTools Protocol: calls, answers and events, over whatever carries messages.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mvdeploy.errors import EngineError

OnEvent = Callable[[str, Mapping[str, Any]], None]
"""Is told the name of an event and its parameters; of the end of the connection, ``closed``."""

CLOSED = "closed"

PROCESS_TIME = "ProcessTime of DevTools"
"""What the clock of `Devtools.process_ns` is called."""

_ANSWER_S = 30.0


class Refused(EngineError):
    """The browser refused what it was asked to do, or did not answer."""


class Carrier(Protocol):
    """Carries messages to a browser and back."""

    def send(self, message: str) -> None:
        """Send a message, or raise an OSError."""

    def receive(self) -> str | None:
        """Wait for a message; None at the end of the connection."""

    def close(self) -> None:
        """End the connection, which ends `receive`."""


class Pipe:
    """Two pipes, messages in which end with NUL.

    Args:
        read: descriptor of what the browser writes.
        write: of what it reads.
    """

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._rest = b""
        self._whole: list[bytes] = []
        self._closed = False
        self._writing, self._reading, self._ending = (threading.Lock() for _ in range(3))

    def send(self, message: str) -> None:
        """Send a message."""
        data = memoryview(message.encode() + b"\0")
        with self._writing:
            while data:
                data = data[os.write(self._write, data) :]

    def receive(self) -> str | None:
        """Wait for a message."""
        with self._reading:
            text = self._next()
        if self._closed:
            self._end("_read")
        return text

    def _next(self) -> str | None:
        while not self._whole:
            try:
                data = b"" if self._closed else os.read(self._read, 1 << 20)
            except OSError:
                return None
            if not data:
                return None
            *self._whole, self._rest = (self._rest + data).split(b"\0")
        return self._whole.pop(0).decode(errors="replace")

    def close(self) -> None:
        """Close both; the browser ends by that. May be called again."""
        self._closed = True
        self._end("_write")
        # The number of a pipe that is closed while it is read may soon be another file's.
        if self._reading.acquire(blocking=False):
            self._reading.release()
            self._end("_read")

    def _end(self, name: str) -> None:
        with self._ending:
            number = getattr(self, name)
            setattr(self, name, -1)
        if number >= 0:
            with contextlib.suppress(OSError):
                os.close(number)


class WebSocket:
    """A WebSocket.

    Args:
        address: ``ws://``.

    Raises:
        Refused: nothing answers there.
    """

    def __init__(self, address: str) -> None:
        import websocket

        try:
            # Chrome refuses requests that say which page they are of.
            self._socket = websocket.create_connection(
                address,
                timeout=_ANSWER_S,
                suppress_origin=True,
                http_no_proxy=["*"],
                enable_multithread=True,
            )
            self._socket.settimeout(None)
        except (OSError, websocket.WebSocketException) as error:
            raise Refused(
                f"The browser refuses its DevTools ({error}).", "Start it anew, and run again."
            ) from error

    def send(self, message: str) -> None:
        """Send a message."""
        import websocket

        try:
            self._socket.send(message)
        except websocket.WebSocketException as error:
            raise ConnectionError(str(error)) from error

    def receive(self) -> str | None:
        """Wait for a message."""
        import websocket

        try:
            message = self._socket.recv()
        except (OSError, websocket.WebSocketException):
            return None
        return message if isinstance(message, str) and message else None

    def close(self) -> None:
        """End the connection."""
        self._socket.close(timeout=2)


class Devtools:
    """A connection to a browser.

    Args:
        carrier: of its messages.
        on_event: is told, in a thread of this object, of events of all sessions.
    """

    def __init__(self, carrier: Carrier, on_event: OnEvent) -> None:
        self._carrier, self._on_event = carrier, on_event
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[Mapping[str, Any] | None]] = {}
        self._open = True
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._listen, daemon=True, name="devtools")
        self._thread.start()

    def call(
        self, method: str, session: str = "", limit_s: float = _ANSWER_S, **parameters: Any
    ) -> Mapping[str, Any]:
        """Call a method, and return its result.

        Args:
            method: such as ``Page.navigate``.
            session: of a target; empty for the browser itself.
            limit_s: seconds for the answer.
            parameters: of the method.

        Raises:
            Refused: it is refused, or there is no answer.
        """
        number = next(self._numbers)
        answers: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        with self._lock:
            if not self._open:
                raise Refused(f"The browser is gone ({method}).", "Run again.")
            self._waiting[number] = answers
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        try:
            self._carrier.send(json.dumps(message))
            answer = answers.get(timeout=limit_s)
        except queue.Empty as error:
            raise Refused(
                f"The browser did not answer within {limit_s:g} s ({method}).", "Run again."
            ) from error
        except OSError as error:
            raise Refused(f"The browser is gone ({method}).", "Run again.") from error
        finally:
            self._waiting.pop(number, None)
        if answer is None:
            raise Refused(f"The browser is gone ({method}).", "Run again.")
        if "error" in answer:
            words = str(answer["error"].get("message", "no reason told")).rstrip(".")
            raise Refused(f"The browser refused {method} ({words}).", "Use a newer browser.")
        result: Mapping[str, Any] = answer.get("result", {})
        return result

    def process_ns(self, session: str) -> int:
        """Return the CPU time of a page's process, in nanoseconds; 0 when it does not answer."""
        with contextlib.suppress(Refused):
            metrics = self.call("Performance.getMetrics", session)["metrics"]
            seconds = {one["name"]: one["value"] for one in metrics}.get("ProcessTime", 0.0)
            return round(float(seconds) * 1e9)
        return 0

    def close(self) -> None:
        """End the connection. May be called again."""
        self._carrier.close()

    def _listen(self) -> None:
        while (text := self._carrier.receive()) is not None:
            try:
                message = json.loads(text)
            except ValueError:
                continue
            if "id" in message and "method" not in message:
                waiting = self._waiting.get(message["id"])
                if waiting is not None:
                    waiting.put(message)
            else:
                self._on_event(str(message.get("method")), message.get("params", {}))
        with self._lock:
            self._open = False
            waiting_now = list(self._waiting.values())
        for waiting in waiting_now:
            waiting.put(None)
        self._on_event(CLOSED, {})
