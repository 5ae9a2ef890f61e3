"""What a terminal shows while something is measured: what is left, and medians."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from mvdeploy.cli.progress import Board
from mvdeploy.records import Measurement
from tests.saved_runs import measurement

SCRIPT = """
import sys
from mvdeploy.cli import progress, streams
from tests.saved_runs import measurement

streams.prepare()
with progress.steps(6) as announce:
    announce("a-network-with-quite-a-long-name-onnx: load and warm up")
    for number in (1, 2, 3):
        announce(f"session {number}")
        for slug in ("a-network-with-quite-a-long-name-onnx", "short\\x1b[2J"):
            announce.measured(slug, measurement(1, 48.0, 60, number))
print("the result")
"""
MOVES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Rows of a screen that is written to: as much of a terminal as bars need."""

    def __init__(self, columns: int) -> None:
        self.columns, self.rows, self.row, self.column = columns, [""], 0, 0
        self.widest = 0

    def write(self, text: str) -> None:
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", text):
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self.row, self.column = self.row + 1, 0
                self.rows += [""] * (self.row + 1 - len(self.rows))
            elif part == "\x1b[2K":
                self.rows[self.row] = ""
            elif part.endswith("A"):
                self.row -= int(part[2:-1] or 1)
            elif part.startswith("\x1b"):
                assert part[-1] in "mhl", part  # colours, and whether the cursor is seen
            else:
                kept = self.rows[self.row].ljust(self.column)[: self.column]
                self.rows[self.row] = kept + part
                self.column += len(part)
                self.widest = max(self.widest, self.column)


def shown(columns: int, **environment: str) -> tuple[str, bytes, Terminal]:
    """Run the script with a terminal for standard error; return what came out."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    unset = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "CI")}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**unset, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environment},
    )
    os.close(theirs)
    pieces = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says so when nobody writes there any more
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, b"".join(pieces)
    text = b"".join(pieces).decode()
    terminal = Terminal(columns)
    terminal.write(text)
    return text, out, terminal


@pytest.mark.parametrize("columns", [80, 40, 20])
def test_a_terminal_shows_what_is_left_and_medians(columns: int) -> None:
    text, out, terminal = shown(columns)
    assert out == b"the result\n"
    plain = MOVES.sub("", text)
    assert "4/6" in plain
    if columns > 20:
        assert "session 3" in plain
        assert re.search(r"p50 4[89]\.\d{3} ms ±\d\.\d\d %", plain)
        assert "left" in plain
    assert ("3 sessions" in plain) == ("━" in plain) == (columns == 80)
    # No line is broken, and nothing is left of it all.
    assert terminal.widest < columns
    assert not "".join(terminal.rows).strip()
    assert "\x1b[2J" not in text


def test_without_colours() -> None:
    text, _, terminal = shown(80, NO_COLOR="1")
    codes = {code for found in re.findall(r"\x1b\[([\d;]*)m", text) for code in found.split(";")}
    assert codes <= {"", "0", "1", "2"}  # bold and faint are no colours
    assert re.search(r"session 3 ━{10} {10} 4/6 ", MOVES.sub("", text))
    assert not "".join(terminal.rows).strip()


def test_a_terminal_without_a_cursor_and_a_log_get_lines() -> None:
    text, _, _ = shown(80, TERM="dumb")
    assert text.splitlines() == [
        "a-network-with-quite-a-long-name-onnx: load and warm up",
        *(f"session {number}" for number in (1, 2, 3)),
    ]


def lines(board: Board, width: int = 80) -> list[str]:
    from rich.console import Console

    console = Console(width=width, color_system=None, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.capture() as caught:
        console.print(board)
    console.file.close()
    return caught.get().splitlines()


def test_what_is_left_is_taken_from_the_last_sessions() -> None:
    now = [0.0]
    board = Board(8, clock=lambda: now[0])
    board("net: load and warm up")
    now[0] = 30.0
    board("session 1")
    now[0] = 34.0
    assert board.left_s() is None  # it is not known how long one takes
    board("session 2")
    assert board.left_s() == 6 * 4.0
    now[0] = 35.0
    assert lines(board)[0].endswith(" 3/8 0:35, about 0:23 left")
    now[0] = 40.0
    board("onnxruntime: session 3")
    assert board.left_s() == 5 * 5.0
    board("net: profile")
    assert board.left_s() is None


def test_more_steps_than_were_planned() -> None:
    board = Board(2)
    for number in range(1, 5):
        board(f"session {number}")
    assert board.left_s() is None and " 4/4 " in lines(board)[0]
    board = Board(None)
    board("build")
    assert lines(board)[0].startswith("build 0:0")


def test_the_last_measured_cases_are_shown() -> None:
    board = Board(9)
    for i in range(6):
        board.measured(f"case-{i}", measurement(i, 5.0 + i, 40, 1))
    board.measured("case-2", measurement(9, 25.0, 40, 1))
    board.measured("case-9", without_samples(measurement(1, 5.0)))
    shown_lines = lines(board)[1:]
    assert [line.split()[0] for line in shown_lines] == ["case-3", "case-4", "case-5", "case-2"]
    assert re.search(r"p50 25\.\d{3} ms ±\d\.\d\d %, 1 session$", shown_lines[-1])


def without_samples(whole: Measurement) -> Measurement:
    import dataclasses

    return dataclasses.replace(whole, sessions=())
