"""What arrives from a program on a device, in pieces of any size."""

from __future__ import annotations

import itertools
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdeploy.links.outcome import Heard
from mvdeploy.links.stream import Stream, listen

EVENTS = b'{"event": "hello"}\r\n{"event": "done"}\n\n__RC=4\n'


@given(st.lists(st.integers(0, len(EVENTS)), max_size=6))
def test_pieces_of_any_size_give_the_same(cuts: list[int]) -> None:
    stream, heard = Stream(), Heard()
    edges = [0, *sorted(cuts), len(EVENTS)]
    for first, last in itertools.pairwise(edges):
        stream.feed(EVENTS[first:last], heard)
    assert heard.lines == ['{"event": "hello"}', '{"event": "done"}']
    assert (stream.status, stream.exit_status) == (4, 4)


@given(st.binary())
def test_whatever_a_program_prints_is_no_error(data: bytes) -> None:
    stream, heard = Stream(), Heard()
    stream.feed(data, heard)
    stream.feed(b"\n__RC=0\n", heard)
    assert stream.status == 0


@pytest.mark.parametrize(("printed", "status"), [(0, 0), (4, 4), (128, 128), (139, -11), (137, -9)])
def test_signals_have_a_minus_sign(printed: int, status: int) -> None:
    stream = Stream()
    stream.feed(f"__RC={printed}\n".encode(), Heard())
    assert stream.exit_status == status


@pytest.mark.parametrize(
    "line", [b"__RC=\n", b"__RC=x\n", b" __RC=3\n", b"__RC=3", b"__RC=99999\n"]
)
def test_what_only_looks_like_a_status_is_none(line: bytes) -> None:
    stream = Stream()
    stream.feed(line, Heard())
    assert stream.status is None


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("echo one; echo __RC=3", 3),
        ("echo one", None),  # cut
        ("echo one; sleep 60", None),  # hangs
    ],
)
def test_listening_ends_with_the_program_or_the_time(script: str, status: int | None) -> None:
    stream, heard = Stream(), Heard()
    with subprocess.Popen(["sh", "-c", f"exec 2>&1; {script}"], stdout=subprocess.PIPE) as process:
        try:
            listen(process, stream, heard, time.monotonic() + 2.0)
        finally:
            subprocess.run(["pkill", "-P", str(process.pid)], check=False)
            process.kill()
    assert heard.lines == ["one"]
    assert stream.status == status
