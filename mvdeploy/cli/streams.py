"""Standard output and error that print everything, and nothing that commands a terminal.

What a terminal lacks becomes plain letters. Labels, names in files and what programs say may hold
escapes, which would move the cursor, recolour or hide lines: whatever is printed is made harmless
here, when it is encoded. Colours and bars of our own come from `console` alone.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

from mvdeploy.text_format import harmless

if TYPE_CHECKING:
    from rich.console import Console

_PLAIN = {
    "±": "+/-",
    "×": "x",
    "÷": "/",
    "·": "*",
    "²": "2",
    "°": " deg",
    "≤": "<=",
    "≥": ">=",
    "–": "-",
    "—": "-",
    "−": "-",
    "→": "->",
    "…": "...",
    "\u00a0": " ",
    # Not a double quote, which would end a string of JSON.
    "“": "'",
    "”": "'",
    "’": "'",
    "‘": "'",
}
_HARMLESS = "_harmless"
"""Ends the name of an encoding that makes text harmless first."""

_HANDLER = "mvdeploy"


def prepare() -> None:
    """Make standard output and error take any character, and pass none on that commands."""
    codecs.register_error(_HANDLER, _plain)
    codecs.register(_find)
    for stream in (sys.stdout, sys.stderr):
        encoding = getattr(stream, "encoding", None)
        if encoding and hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding=_plain_name(encoding) + _HARMLESS, errors=_HANDLER)


def console(*, stderr: bool = False) -> Console:
    """Return what prints colours and bars; texts in them are made harmless."""
    from rich import console as rich_console
    from rich.segment import Segment

    class Harmless(rich_console.Console):
        def render(self, *arguments: Any, **options: Any) -> Any:
            for segment in super().render(*arguments, **options):
                if segment.control:
                    yield segment
                else:
                    yield Segment(harmless(segment.text), segment.style)

    stream = sys.stderr if stderr else sys.stdout
    if getattr(stream, "encoding", "").endswith(_HARMLESS):
        stream = cast(TextIO, _AsItIs(stream))
    return Harmless(file=stream, stderr=stderr)


class _AsItIs:
    """A prepared stream without what makes text harmless."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.encoding = _plain_name(stream.encoding)
        self.isatty, self.fileno, self.flush = stream.isatty, stream.fileno, stream.flush

    def write(self, text: str) -> int:
        self._stream.flush()
        self._stream.buffer.write(text.encode(self.encoding, _HANDLER))
        return len(text)


def _plain_name(encoding: str) -> str:
    return codecs.lookup(encoding.removesuffix(_HARMLESS)).name


def abandon() -> None:
    """Give up what could not be written, so that Python does not try it again when it ends."""
    for number in (1, 2):
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter, "?") for letter in lacking), error.end


def _find(name: str) -> codecs.CodecInfo | None:
    if not name.endswith(_HARMLESS):
        return None
    plain = codecs.lookup(name.removesuffix(_HARMLESS))

    class Encoder(codecs.IncrementalEncoder):
        def encode(self, text: str, final: bool = False) -> bytes:
            return plain.encode(harmless(text), self.errors)[0]

    return codecs.CodecInfo(
        name=name,
        encode=lambda text, errors="strict": plain.encode(harmless(text), errors),
        decode=plain.decode,
        incrementalencoder=Encoder,
        incrementaldecoder=plain.incrementaldecoder,
    )
