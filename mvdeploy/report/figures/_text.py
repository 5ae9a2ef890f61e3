"""Names in figures: any script that a font here has, broken and shortened to what they measure."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from mvdeploy.analysis.view import View
from mvdeploy.text_format import elide

FONT = "DejaVu Sans"
"""Our own; it comes with matplotlib."""

_LETTER = 0.6
"""Widths are counted in letters that take so much of the size of the font, as most of ours do."""

_FAMILIES = 4
"""Fonts that are taken beside our own at most."""

_STANDS_IN = "□"
"""Is drawn for a letter that no font here has."""

_NAMED = 8
"""Such letters that a note names."""

_LAST_RESORT = re.compile(r"last ?resort", re.IGNORECASE)
"""Fonts whose letters say only which script is lacking."""


def letters(view: View) -> frozenset[str]:
    """Return the letters of all names in the figures of a run that are not ASCII."""
    names = [case.name for case in view.cases] + list(view.categories.values())
    for case in view.profiled:
        names += [module.path for module in case.breakdown.modules] if case.breakdown else []
    return frozenset(letter for name in names for letter in name if letter > "\x7f")


@functools.lru_cache(maxsize=16)
def families(wanted: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Choose fonts that have the letters which ours lacks.

    Args:
        wanted: letters.

    Returns:
        Names of installed fonts, and the letters that none of them has.
    """
    own = _own()
    # Marks and joiners are no letters of their own.
    lacking = {
        letter
        for letter in wanted
        if not own.get_char_index(ord(letter)) and unicodedata.category(letter)[0] not in "MCZ"
    }
    chosen: list[str] = []
    installed = _installed() if lacking else []
    while lacking and len(chosen) < _FAMILIES:
        has = {
            name: {x for x in lacking if font.get_char_index(ord(x))} for name, font in installed
        }
        best = max(has, key=lambda name: len(has[name]), default="")
        if not best or not has[best]:
            break
        chosen.append(best)
        lacking -= has[best]
    return tuple(chosen), frozenset(lacking)


def _installed() -> list[tuple[str, Any]]:
    """Return the installed fonts that can be drawn with, the plainest of a family for all of it."""
    from matplotlib import font_manager

    def plainness(entry: Any) -> tuple[object, ...]:
        weight = entry.weight if isinstance(entry.weight, int) else 400
        return "Sans" not in entry.name, entry.style != "normal", abs(weight - 400), entry.name

    fonts: dict[str, Any] = {}
    for entry in sorted(font_manager.fontManager.ttflist, key=plainness):
        if entry.name in fonts or _LAST_RESORT.search(entry.name):
            continue
        try:
            font = font_manager.get_font(entry.fname)
        except (OSError, RuntimeError):  # gone since the list was made, or damaged
            continue
        if font.scalable:
            fonts[entry.name] = font
    return list(fonts.items())


def drawable(view: View, text: str) -> str:
    """Return text with a sign in place of each letter that no font here has."""
    return drawable_with(letters(view), text)


def drawable_with(letters: frozenset[str], text: str) -> str:
    """Do the same where `letters` are those of all names."""
    lacking = families(letters)[1]
    return "".join(_STANDS_IN if letter in lacking else letter for letter in text)


def note(view: View) -> str:
    """Name the letters that no font here has; empty if there are none."""
    lacking = sorted(families(letters(view))[1])
    if not lacking:
        return ""
    named = ", ".join(f"U+{ord(letter):04X}" for letter in lacking[:_NAMED])
    more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    return f"{_STANDS_IN} stands for letters that no font on this machine has: {named}{more}"


def wrapped(text: str, width: int, lines: int) -> str:
    """Break text into at most so many lines, leaving out its middle where it is too long.

    Args:
        text: a name.
        width: of a line, in letters of usual width.
        lines: at most.
    """
    for room in range(min(len(text), 3 * width * lines), 0, -1):
        broken = _broken(elide(text, room), width)
        if len(broken) <= lines:
            return "\n".join(broken)
    return ""


def _broken(text: str, width: int) -> list[str]:
    """Break after spaces and the signs between the parts of a name, within a part if need be."""
    lines = [""]
    for part in _parts(text):
        if measure(lines[-1] + part.rstrip()) > width and measure(part.rstrip()) <= width:
            lines.append("")
        for letter in part:
            if lines[-1] and measure(lines[-1] + letter.rstrip()) > width:
                lines.append("")
            lines[-1] += letter
    return [line.strip() for line in lines]


def _parts(text: str) -> Iterator[str]:
    for part in re.findall(r"[^\s_./:,-]*[\s_./:,-]?", text):
        # Scripts without spaces break anywhere.
        yield from part if any(map(_is_wide, part)) else (part,)


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF"


def measure(text: str) -> float:
    """Return the width of text, in letters of usual width."""
    return sum(map(_advance, text)) / _LETTER


@functools.lru_cache(maxsize=4096)
def _advance(letter: str) -> float:
    """Return what a letter takes of the size of the font."""
    from matplotlib.ft2font import LoadFlags

    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0.0
    font = _own()
    if not font.get_char_index(ord(letter)):
        return 1.25 if _is_wide(letter) else 1.0
    font.set_size(100, 72)
    glyph = font.load_char(ord(letter), flags=LoadFlags.NO_HINTING)
    return float(glyph.linearHoriAdvance) / 65536 / 100


@functools.cache
def _own() -> Any:
    """Return the font that comes with matplotlib, at a size of its own."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    return FT2Font(font_manager.findfont(FONT))
