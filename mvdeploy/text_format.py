"""Numbers and foreign text as reports print them."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence

from mvdeploy.records import Reading

NONE = "–"
"""Stands in a cell that has no number."""


@functools.lru_cache(maxsize=8192)
def clean(text: str) -> str:
    """Make text from a file or a device printable on one line.

    Control characters (line breaks, terminal escapes, writing-direction marks) could forge lines
    or colours: spaces replace line breaks and tabs, U+FFFD the others.
    """
    spaced = " ".join(text.split())
    return "".join("\ufffd" if _category(c) in _UNSAFE else c for c in spaced)


_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn"}

_JOINERS = "\u200c\u200d"
"""Words of Persian and of Indic scripts, and emoji, need these; they command nothing."""


def _category(letter: str) -> str:
    return "Mn" if letter in _JOINERS else unicodedata.category(letter)


def harmless(text: str) -> str:
    """Replace what could command a terminal; line breaks, tabs and all letters stay."""
    return text.translate(_HARMLESS)


class _Harmless(dict[int, int]):
    """Letters, each with what is printed of it: control characters and writing-direction marks."""

    def __missing__(self, letter: int) -> int:
        commands = _category(chr(letter)) in ("Cc", "Cf")
        self[letter] = 0xFFFD if commands else letter
        return self[letter]


_HARMLESS = _Harmless({ord("\n"): ord("\n"), ord("\t"): ord("\t")})


def reading(value: Reading) -> str:
    """Return a reading of a device or a condition as text."""
    if isinstance(value, tuple):
        return clean(", ".join(value)) or NONE
    if isinstance(value, float):
        return significant(value, 6)
    return clean(str(value)) or NONE


def milliseconds(ns: float | None) -> str:
    """Return a time as milliseconds, without the unit."""
    if ns is None:
        return NONE
    return f"{ns / 1e6:.3f}" if abs(ns) < 1e8 else f"{ns / 1e6:.1f}"


def signed_milliseconds(ns: float) -> str:
    """Return a difference of times as milliseconds, without the unit."""
    return _signed(ns, milliseconds(abs(ns)))


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage."""
    return NONE if share is None else f"{100 * share:.{digits}f} %".replace("-", "−")


def signed_microseconds(ns: float) -> str:
    """Return a difference of times as microseconds, without the unit."""
    return _signed(ns, f"{abs(ns) / 1e3:.2f}")


def signed_percent(share: float, digits: int = 1) -> str:
    """Return a relative difference as a percentage."""
    return _signed(share, percent(abs(share), digits))


def megabytes(count: int | None) -> str:
    """Return bytes as megabytes (1e6 bytes), without the unit; zero bytes mean not known."""
    return f"{count / 1e6:.1f}" if count else NONE


def significant(value: float, digits: int = 3) -> str:
    """Return a number with so many digits that count, without an exponent where possible."""
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def count(number: int, noun: str) -> str:
    """Return a number and its noun, in the plural where it is due."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def join(items: Sequence[str]) -> str:
    """Return items as a list in a sentence: ``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def elide(text: str, width: int) -> str:
    """Shorten text to `width` characters by leaving out its middle."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def _signed(value: float, magnitude: str) -> str:
    if not any(c in "123456789" for c in magnitude):
        return magnitude
    return f"{'−' if value < 0 else '+'}{magnitude}"
