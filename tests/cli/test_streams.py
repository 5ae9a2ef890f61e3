"""Nothing that is printed commands a terminal, whoever prints it and wherever it goes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BAD = "\x1b]0;title\x07\x1b[2J\x9b1m\u202e\r"
PRINT = """
import sys, warnings
import click
from rich.table import Table
from rich.text import Text
from mvdeploy.cli import progress, streams

BAD = sys.argv[1].encode().decode("unicode_escape")
streams.prepare()
print("a", BAD, "ü")
click.echo(f"b {BAD} ü")
warnings.warn(f"c {BAD} ü")
table = Table("ü", BAD, title=BAD)
table.add_row(Text(BAD), "cell")
streams.console().print(table, Text(BAD, style="bold red"))
sys.stderr.isatty = lambda: True
with progress.steps(1) as announce:
    announce(BAD)
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_whatever_prints_it(encoding: str) -> None:
    own = {"FORCE_COLOR": "1", "TERM": "xterm", "PYTHONIOENCODING": encoding}
    words = [sys.executable, "-c", PRINT, BAD.encode("unicode_escape").decode()]
    done = subprocess.run(words, capture_output=True, timeout=60, env={**os.environ, **own})
    assert done.returncode == 0, done.stderr
    out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert all(f"{letter} " in text for letter, text in (("a", out), ("b", out), ("c", err)))
    for text in (out, err):
        assert "]0;" in text or "[2J" in text  # it was printed
        assert not {"\x07", "\x9b", "\u202e"} & set(text)
        assert "\x1b]" not in text and "\x1b[2J" not in text
    assert "\r" not in out
    assert "\x1b[1;31m" in out  # the colours of our own stay
