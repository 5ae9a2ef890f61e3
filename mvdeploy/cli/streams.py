"""Standard output and error that print everything: what a terminal lacks becomes plain letters."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys

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
_ASCII = "mvdeploy_ascii"
_HANDLER = "mvdeploy"


def prepare() -> None:
    """Make standard output and error take any character."""
    codecs.register_error(_HANDLER, _plain)
    codecs.register(_find)
    for stream in (sys.stdout, sys.stderr):
        encoding = getattr(stream, "encoding", None)
        if encoding and hasattr(stream, "reconfigure"):
            # click takes ASCII for a mistake, and would write UTF-8 to a terminal that said so.
            is_ascii = codecs.lookup(encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII if is_ascii else encoding, errors=_HANDLER)


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
    if name != _ASCII:
        return None
    ascii_codec = codecs.lookup("ascii")
    return codecs.CodecInfo(
        name=_ASCII,
        encode=ascii_codec.encode,
        decode=ascii_codec.decode,
        incrementalencoder=ascii_codec.incrementalencoder,
        incrementaldecoder=ascii_codec.incrementaldecoder,
    )
