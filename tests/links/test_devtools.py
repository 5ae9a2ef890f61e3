"""Messages to and from a browser, over pipes to a stand-in."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mvdeploy.errors import EngineError
from mvdeploy.links.browsing.devtools import CLOSED, Devtools, Pipe, Refused


class StandIn:
    """The other ends of a browser's pipes."""

    def __init__(self) -> None:
        self._read, write = os.pipe()
        read, self._write = os.pipe()
        self.events: list[tuple[str, Any]] = []
        self.told = threading.Event()
        self.devtools = Devtools(Pipe(read, write), self._on_event)
        self._rest = b""
        self._ending = threading.Lock()

    def _on_event(self, name: str, parameters: Any) -> None:
        self.events.append((name, parameters))
        self.told.set()

    def asked(self) -> dict[str, Any]:
        """Wait for the next message of the connection."""
        while b"\0" not in self._rest:
            self._rest += os.read(self._read, 65536)
        first, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(first)
        return message

    def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            os.write(self._write, piece)

    def answer(self, body: dict[str, Any]) -> threading.Thread:
        """Answer the next message, in a thread."""

        def work() -> None:
            number = self.asked()["id"]
            self.say(json.dumps({"id": number, **body}).encode() + b"\0")

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def end(self) -> None:
        """End as a browser does."""
        with self._ending:
            for number in (self._read, self._write):
                if number >= 0:
                    os.close(number)
            self._read = self._write = -1

    def heard(self, count: int) -> list[tuple[str, Any]]:
        until = time.monotonic() + 20
        while len(self.events) < count and time.monotonic() < until:
            self.told.wait(0.1)
            self.told.clear()
        return self.events


@pytest.fixture
def browser() -> Iterator[StandIn]:
    made = StandIn()
    yield made
    made.end()
    made.heard(1)
    made.devtools.close()


def test_a_call_and_its_answer(browser: StandIn) -> None:
    browser.answer({"result": {"product": "Chrome/1"}})
    assert browser.devtools.call("Browser.getVersion") == {"product": "Chrome/1"}


def test_what_is_sent(browser: StandIn) -> None:
    thread = threading.Thread(
        target=browser.devtools.call, args=("Page.navigate", "S1"), kwargs={"url": "ä"}
    )
    thread.start()
    asked = browser.asked()
    assert asked == {
        "id": asked["id"],
        "method": "Page.navigate",
        "params": {"url": "ä"},
        "sessionId": "S1",
    }
    browser.say(json.dumps({"id": asked["id"], "sessionId": "S1", "result": {}}).encode() + b"\0")
    thread.join(20)
    assert not thread.is_alive()


def test_answers_find_their_calls_in_any_order(browser: StandIn) -> None:
    got: dict[str, Any] = {}

    def call(name: str) -> None:
        got[name] = browser.devtools.call(name)

    threads = [threading.Thread(target=call, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    asked = [browser.asked() for _ in threads]
    for message in reversed(asked):
        body = {"id": message["id"], "result": {"of": message["method"]}}
        browser.say(json.dumps(body).encode() + b"\0")
    for thread in threads:
        thread.join(20)
    assert got == {name: {"of": name} for name in "abc"}


def test_messages_come_in_pieces_of_any_size(browser: StandIn) -> None:
    messages = [{"method": "A.b", "params": {"n": n, "text": "ä" * 50}} for n in range(3)]
    raw = b"".join(json.dumps(m, ensure_ascii=False).encode() + b"\0" for m in messages)
    browser.say(raw[:1], raw[1:70], raw[70:71], raw[71:])  # also between the bytes of a letter
    assert browser.heard(3) == [("A.b", m["params"]) for m in messages]


def test_a_message_larger_than_a_pipe(browser: StandIn) -> None:
    text = "x" * 3_000_000
    answering = browser.answer({"result": {"text": text}})
    assert browser.devtools.call("A.b", text=text) == {"text": text}
    answering.join(20)


def test_what_is_no_message_is_passed_over(browser: StandIn) -> None:
    browser.say(b"no json\0", b"\0", b"\xff\xfe\0", b'{"id": 99, "result": {}}\0')
    browser.say(b'{"method": "A.b"}\0')
    assert browser.heard(1) == [("A.b", {})]


def test_a_call_that_is_refused(browser: StandIn) -> None:
    browser.answer({"error": {"code": -32601, "message": "'A.b' wasn't found."}})
    with pytest.raises(Refused) as caught:
        browser.devtools.call("A.b")
    assert caught.value.message == "The browser refused A.b ('A.b' wasn't found)."
    assert isinstance(caught.value, EngineError)


def test_a_refusal_without_a_reason(browser: StandIn) -> None:
    browser.answer({"error": {}})
    with pytest.raises(Refused, match=r"refused A\.b \(no reason told\)"):
        browser.devtools.call("A.b")


def test_a_call_without_an_answer(browser: StandIn) -> None:
    with pytest.raises(Refused, match=r"did not answer within 0\.2 s \(A\.b\)"):
        browser.devtools.call("A.b", limit_s=0.2)
    late = browser.asked()["id"]
    browser.say(json.dumps({"id": late, "result": {}}).encode() + b"\0")  # nobody waits any more
    browser.answer({"result": {"n": 2}})
    assert browser.devtools.call("A.c") == {"n": 2}


def test_a_browser_that_ends_during_a_call(browser: StandIn) -> None:
    threading.Thread(target=lambda: (browser.asked(), browser.end()), daemon=True).start()
    with pytest.raises(Refused, match=r"The browser is gone \(A\.b\)"):
        browser.devtools.call("A.b")
    assert browser.heard(1) == [(CLOSED, {})]


def test_a_browser_that_has_ended(browser: StandIn) -> None:
    browser.end()
    assert browser.heard(1) == [(CLOSED, {})]
    with pytest.raises(Refused, match="The browser is gone"):
        browser.devtools.call("A.b")


def test_a_part_of_a_message_at_the_end_is_none(browser: StandIn) -> None:
    browser.say(b'{"method": "A.b"}')
    browser.end()
    assert browser.heard(1) == [(CLOSED, {})]


def numbers() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_it_may_be_closed_again_when_its_files_are_others() -> None:
    before = numbers()
    browser = StandIn()
    browser.end()
    browser.heard(1)
    browser.devtools.close()
    assert numbers() == before
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]  # with the numbers of the pipes
    browser.devtools.close()
    for number in others:
        os.fstat(number)
        os.close(number)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_pipe_that_is_being_read_is_closed_when_that_ends() -> None:
    before = numbers()
    browser = StandIn()
    during = numbers()
    browser.devtools.close()
    assert len(during - numbers()) == 1  # it writes no more, by which a browser ends
    with pytest.raises(Refused, match="The browser is gone"):
        browser.devtools.call("A.b")
    browser.end()
    assert browser.heard(1) == [(CLOSED, {})]
    assert numbers() == before
