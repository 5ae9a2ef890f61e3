"""Every table for LaTeX, in the style of booktabs.

Files are plain ASCII, so that every engine of TeX reads them alike: signs are commands, letters
with accents are put together, and what has no command is named by its number in Unicode.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mvdeploy.analysis.several import SeveralView
from mvdeploy.analysis.view import View
from mvdeploy.files import writing
from mvdeploy.records import Device
from mvdeploy.report import document
from mvdeploy.report import several as pages
from mvdeploy.report.tables.table import Column, Table
from mvdeploy.text_format import NONE, clean, join, reading

EXTENSION = "tex"
DESCRIPTION = "every table for LaTeX (booktabs), a file each"
DEFAULT = False

_ALL = "all.tex"
"""Shows all tables, and can be compiled as it is."""

_WIDE, _WIDER = 90, 125
"""Letters of a row from which on it is set smaller, and smaller still."""

_LONG = 34
"""Letters of a column of words from which on its lines are broken."""

_PIECE = 24
"""Letters of a part of a name that stay on one line."""

_HEAD = 12
"""Letters of a line of a heading at least."""

_SIGNS = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "{}$&%#_"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': "{''}",
    # After the end of a row these would be an argument of it.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "\u00a0": "~",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "÷": r"\ensuremath{\div}",
    "−": r"\ensuremath{-}",
    "–": "{--}",
    "—": "{---}",
    "…": r"\ldots{}",
    "≤": r"\ensuremath{\leq}",
    "≥": r"\ensuremath{\geq}",
    "≈": r"\ensuremath{\approx}",
    "→": r"\ensuremath{\rightarrow}",
    "µ": r"\ensuremath{\mu}",
    "μ": r"\ensuremath{\mu}",
    "²": r"\ensuremath{^2}",
    "³": r"\ensuremath{^3}",
    "°": r"\ensuremath{^\circ}",
    "·": r"\ensuremath{\cdot}",
    "•": r"\textbullet{}",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    **{letter: f"\\{name}{{}}" for letter, name in {"ß": "ss", "æ": "ae", "Æ": "AE"}.items()},
    **{letter: f"\\{name}{{}}" for letter, name in {"ø": "o", "Ø": "O", "œ": "oe"}.items()},
    **{letter: f"\\{name}{{}}" for letter, name in {"Œ": "OE", "ł": "l", "Ł": "L"}.items()},
}

_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
"""Marks above and below letters, each with the command that puts it there."""

_JOINED = re.compile(r"(?<=-)(?=-)|(?<=,)(?=,)|(?<=')(?=')")
"""Between letters that fonts of TeX would make one sign of."""

_NOTE = r"  \par\smallskip\parbox{0.95\linewidth}{\footnotesize %s}"

_NUMBER = re.compile(r"([+−-]?[\d,]+)(?:\.(\d+))?((?: %)?(?: \*)?)")


def render(view: View, folder: Path) -> tuple[Path, ...]:
    """Write ``tables/<name>.tex`` for every table of the report, and ``tables/all.tex``."""
    where = join([_device(device) for device in view.devices])
    threads = join([str(number) for number in view.threads])
    conditions = (
        f"On {where}, {threads} inference thread{'' if view.threads == (1,) else 's'}; mvdeploy "
        f"{view.run.mvdeploy}, {view.run.created[:10]}"
    )
    return _write(document.title(view), document.sections(view), conditions, folder)


def several(view: SeveralView, folder: Path) -> tuple[Path, ...]:
    """Write the tables of several runs."""
    places = [
        f"{place.name}{' (emulated)' if place.device.emulated else ''}, "
        f"{place.view.run.created[:10]}"
        for place in view.places
    ]
    return _write(pages.title(view), pages.sections(view), "; ".join(places), folder)


def _device(device: Device) -> str:
    cpu = device.identity.get("cpu")
    title = device.profile.title + (f" ({reading(cpu)})" if cpu else "")
    return clean(f"{title}, emulated" if device.emulated else title)


def _write(
    title: str, sections: Iterable[document.Section], conditions: str, folder: Path
) -> tuple[Path, ...]:
    tables = [b for section in sections for b in section.blocks if isinstance(b, Table)]
    names = _names([table.title for table in tables])
    paths = []
    for name, table in zip(names, tables, strict=True):
        paths.append(folder / "tables" / f"{name}.tex")
        writing.text(paths[-1], text(table, name, conditions))
    paths.append(folder / "tables" / _ALL)
    writing.text(paths[-1], _page(title, names))
    return tuple(paths)


def _names(titles: Sequence[str]) -> list[str]:
    """Return a name of a file for each title, which others cannot have."""
    names: list[str] = []
    for title in titles:
        plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
        name = re.sub(r"[^a-z0-9]+", "-", plain.lower())[:48].strip("-") or "table"
        taken, number = name, 1
        while taken in names or f"{taken}.tex" == _ALL:
            number += 1
            taken = f"{name}-{number}"
        names.append(taken)
    return names


def _page(title: str, names: Sequence[str]) -> str:
    shown = "\n".join(f"\\input{{{name}.tex}}\n\\clearpage" for name in names)
    return (
        "% Compile it in this folder: pdflatex all.tex\n"
        "\\documentclass[10pt]{article}\n"
        "\\usepackage[a4paper,landscape,margin=15mm]{geometry}\n"
        "\\usepackage{array,booktabs}\n"
        "\\setlength{\\belowcaptionskip}{6pt}\n"
        "\\begin{document}\n"
        f"\\section*{{{escape(title)}}}\n{shown}\n"
        "\\end{document}\n"
    )


def escape(words: str) -> str:
    """Return text as LaTeX that shows it, in ASCII."""
    marked = _JOINED.sub("\0", clean(words))
    return "".join("{}" if letter == "\0" else _letter(letter) for letter in marked)


def _letter(letter: str) -> str:
    if letter in _SIGNS:
        return _SIGNS[letter]
    if " " <= letter <= "~":
        return letter
    base, *marks = list(unicodedata.normalize("NFD", letter))
    if len(marks) == 1 and marks[0] in _ACCENTS and base.isascii():
        dotless = {"i": r"\i", "j": r"\j"}.get(base, base)
        return f"{{\\{_ACCENTS[marks[0]]}{{{dotless}}}}}"
    return f"{{[}}U+{ord(letter):04X}{{]}}"


@dataclasses.dataclass(frozen=True)
class _Set:
    """How a column is set.

    Attributes:
        spec: in the preamble of the table.
        halves: it is two columns that meet at the decimal point.
        cells: as LaTeX.
        head: as LaTeX.
        width: of it, in letters.
    """

    spec: str
    halves: bool
    cells: tuple[str, ...]
    head: str
    width: int


def text(table: Table, name: str, conditions: str = "") -> str:
    """Return a table as LaTeX.

    Args:
        table: the table.
        name: of its label, after ``tab:``.
        conditions: that its caption tells, beside its title.
    """
    columns = [
        _set(column, cells) for column, cells in zip(table.columns, _turned(table), strict=True)
    ]
    width = sum(column.width + 2 for column in columns)
    size = r"\scriptsize" if width > _WIDER else r"\footnotesize" if width > _WIDE else r"\small"
    title = escape(table.title)
    said = f"{title}. {escape(conditions)}." if conditions else f"{title}."
    lines = [
        r"% It needs \usepackage{array,booktabs}",
        r"\begin{table}[htbp]",
        r"  \centering",
        f"  {size}",
        *([r"  \setlength{\tabcolsep}{3pt}"] if width > _WIDE else []),
        f"  \\caption[{{{title}}}]{{{said}}}",
        f"  \\label{{tab:{name}}}",
        f"  \\begin{{tabular}}{{{''.join(column.spec for column in columns)}}}",
        r"    \toprule",
        *_rows(table, columns),
        r"    \bottomrule",
        r"  \end{tabular}",
        *([_NOTE % escape(table.note)] if table.note else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _turned(table: Table) -> Iterator[tuple[str, ...]]:
    """Give the cells of each column."""
    for i in range(len(table.columns)):
        yield tuple(row[i] for row in table.rows)


def _rows(table: Table, columns: Sequence[_Set]) -> Iterator[str]:
    if any(column.title for column in table.columns):
        yield f"    {' & '.join(column.head for column in columns)} \\\\"
        yield r"    \midrule"
    last = len(table.rows) - 1
    for i in range(len(table.rows)):
        if table.total and i == last and last:
            yield r"    \midrule"
        yield f"    {' & '.join(column.cells[i] for column in columns)} \\\\"


def _set(column: Column, cells: Sequence[str]) -> _Set:
    longest = max(map(len, cells), default=0)
    head = _wrapped(column.title, max(_HEAD, longest))
    width = max(longest, *map(len, head))
    if not column.numeric:
        if longest > _LONG:
            spec = f">{{\\raggedright\\arraybackslash}}p{{{_LONG // 2}em}}"
            head = _wrapped(column.title, _LONG)
            return _Set(spec, False, tuple(map(_broken, cells)), _stacked(head, "l"), _LONG)
        return _Set("l", False, tuple(map(escape, cells)), _stacked(head, "l"), width)
    numbers = [_NUMBER.fullmatch(cell) for cell in cells]
    known = all(number or cell == NONE for number, cell in zip(numbers, cells, strict=True))
    tails = {len(f"{number[2] or ''}{number[3]}") for number in numbers if number}
    if not known or len(tails) < 2:
        return _Set("r", False, tuple(map(escape, cells)), _stacked(head, "r"), width)
    halves = (
        f"\\multicolumn{{2}}{{c}}{{{escape(cell)}}}" if number is None else _halves(number)
        for cell, number in zip(cells, numbers, strict=True)
    )
    spanning = f"\\multicolumn{{2}}{{r}}{{{_stacked(head, 'r')}}}"
    return _Set("r@{}l", True, tuple(halves), spanning, width)


def _halves(number: re.Match[str]) -> str:
    point = f".{number[2]}" if number[2] else ""
    return f"{escape(number[1])} & {escape(point + number[3])}"


def _wrapped(title: str, width: int) -> list[str]:
    return [
        line
        for part in title.split("\n")
        for line in textwrap.wrap(part, width, break_long_words=False) or [""]
    ]


def _stacked(head: Sequence[str], side: str) -> str:
    """Return a heading of one or more lines."""
    escaped = [escape(line) for line in head]
    if len(escaped) == 1:
        return escaped[0]
    lines = r" \\ ".join(escaped)
    return f"\\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{lines}\\end{{tabular}}"


def _broken(cell: str) -> str:
    """Return words that may be broken after the signs between the parts of a name, or anywhere.

    They are broken within a part only where that is longer than a line, as a checksum is.
    """
    parts = re.split(r"(?<=[/_.,:=-])(?=\w)", cell)
    pieces = [part[i : i + _PIECE] for part in parts for i in range(0, len(part), _PIECE)]
    return r"\allowbreak{}".join(map(escape, pieces))
