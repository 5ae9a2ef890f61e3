"""The report as Markdown, with its figures beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mvdeploy.analysis.several import SeveralView
from mvdeploy.analysis.view import View
from mvdeploy.files import writing
from mvdeploy.report import document
from mvdeploy.report import several as pages
from mvdeploy.report.document import Block, Findings, Paragraphs, Picture, Section, Terms
from mvdeploy.report.renderers import png
from mvdeploy.report.tables.table import Table
from mvdeploy.report.wording import FindingGroup
from mvdeploy.text_format import clean, harmless

EXTENSION = "md"
DESCRIPTION = "a page in Markdown, with its figures beside it"
DEFAULT = True

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKS = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LINKS = re.compile(r":(?=//)|(?<=www)\.|@", re.IGNORECASE)
_LINE_START = re.compile(r"^(?:#{1,6}(?=\s|$)|[+-](?=\s|$)|[=-]+$|\d+[.)](?=\s|$))")


def render(view: View, folder: Path) -> tuple[Path, ...]:
    """Write ``report.md`` and the figures it shows."""
    path = folder / "report.md"
    said = document.title(view), document.about(view), document.sections(view)
    writing.text(path, page(*said))
    return (path, *png.render(view, folder))


def several(view: SeveralView, folder: Path) -> tuple[Path, ...]:
    """Write ``report.md`` of several runs, and the figures it shows."""
    path = folder / "report.md"
    writing.text(path, page(pages.title(view), pages.about(view), pages.sections(view)))
    return (path, *png.several(view, folder))


def page(title: str, about: str, sections: Sequence[Section]) -> str:
    """Return a report as Markdown; its figures lie in ``figures/``."""
    lines = [f"# {escape(title)}", "", escape(about), ""]
    for section in sections:
        lines += [f"## {escape(section.title)}", ""]
        for block in section.blocks:
            lines += _block(block)
    return harmless("\n".join(lines)).rstrip("\n") + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is: no tables, links, HTML or mathematics in it."""
    plain = "".join(_ENTITIES.get(c, c) for c in clean(text))
    marked = _MARKS.sub(lambda match: f"\\{match[0]}", plain)
    unlinked = _LINKS.sub(lambda match: f"&#{ord(match[0])};", marked)
    return _LINE_START.sub(lambda match: f"{match[0][:-1]}\\{match[0][-1]}", unlinked)


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Paragraphs):
        for text in block.texts:
            yield from (escape(text), "")
    elif isinstance(block, Terms):
        for term, meaning in block.pairs:
            yield f"- **{escape(term)}**: {escape(meaning)}"
        yield ""
    elif isinstance(block, Findings):
        for group in block.groups:
            yield from _findings(group)
        yield ""
    elif isinstance(block, Picture):
        yield f"**{escape(block.title)}**"
        yield ""
        yield f"![{escape(block.alt)}](figures/{block.name}.png)"
        yield ""


def _table(table: Table) -> Iterator[str]:
    yield f"### {escape(table.title)}"
    yield ""
    yield _row(escape(column.title) for column in table.columns)
    yield _row("---:" if column.numeric else "---" for column in table.columns)
    last = len(table.rows) - 1
    for i, row in enumerate(table.rows):
        cells = [escape(cell) for cell in row]
        if table.total and i == last:
            cells = [f"**{cell}**" if cell else "" for cell in cells]
        yield _row(cells)
    yield ""
    if table.note:
        yield escape(table.note)
        yield ""


def _row(cells: Iterator[str] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _findings(group: FindingGroup) -> Iterator[str]:
    yield f"- **{group.level}** ({escape(group.code)})"
    for subject, sentence in group.lines:
        yield f"  - {escape(f'{subject}: {sentence}' if subject else sentence)}"
    if group.remedy:
        yield f"  - What to do: {escape(group.remedy)}"
