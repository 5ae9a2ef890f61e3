"""The report as one HTML file that needs nothing else.

Words and tables are in the page itself and are read without JavaScript; with it, tables are sorted
and filtered, and charts are drawn of data that the page carries. What runs is named by its hash in
the page's Content-Security-Policy, and nothing may be requested.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import importlib.resources
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy.analysis.several import SeveralView
from mvdeploy.analysis.view import View
from mvdeploy.files import writing
from mvdeploy.report import document, figures, interactive, overview, prose
from mvdeploy.report import several as pages
from mvdeploy.report.charts import Charts
from mvdeploy.report.charts import text as charts_text
from mvdeploy.report.overview import Answer
from mvdeploy.text_format import harmless

if TYPE_CHECKING:
    import jinja2

EXTENSION = "html"
DESCRIPTION = "one page that needs nothing else"
DEFAULT = True

LARGEST = 3_000_000
"""Bytes of a page beyond which pictures are left out whose charts show the same."""

_SCRIPTS, _POLICY = "<!--scripts-->", "SCRIPT-SOURCES"
"""Where scripts and their hashes are put into the page; escaped text cannot hold the first."""


@dataclasses.dataclass(frozen=True)
class Lead:
    """What a page has beyond its sections.

    Attributes:
        answers: what stands first.
        data: of the charts, as JSON that is safe in a script element.
        charts: names of the pictures in whose places they stand.
    """

    answers: tuple[Answer, ...]
    data: str
    charts: frozenset[str] = interactive.CHARTS


def render(view: View, folder: Path) -> tuple[Path, ...]:
    """Write ``report.html``."""

    def drawn(name: str) -> bytes:
        return figures.image(view, name, "svg")

    path = folder / "report.html"
    sections = [
        dataclasses.replace(section, blocks=(document.Paragraphs(prose.circumstances(view)),))
        if section.anchor == "summary"
        else section
        for section in document.sections(view)
    ]
    lead = Lead(overview.answers(view), interactive.text(view))
    title, about = document.title(view), document.about(view)
    writing.text(path, page(title, about, sections, drawn, lead))
    return (path,)


def several(view: SeveralView, folder: Path) -> tuple[Path, ...]:
    """Write ``report.html`` of several runs."""
    drawn, path = pages.drawing(view), folder / "report.html"
    said = pages.title(view), pages.about(view), pages.sections(view)
    writing.text(path, page(*said, lambda name: drawn(name, "svg")))
    return (path,)


def page(
    title: str,
    about: str,
    sections: Sequence[document.Section],
    drawn: Callable[[str], bytes],
    lead: Lead | None = None,
) -> str:
    """Return a report as HTML; `drawn` gives its figures as SVG, by name."""

    def filled(room: int) -> str:
        pictures = _Pictures(drawn, lead.charts if lead is not None else frozenset(), room)
        text = _template().render(
            title=title,
            about=about,
            sections=sections,
            pictures=pictures,
            kind=lambda block: type(block).__name__,
            lead=lead,
            style=asset("report.css"),
        )
        return _with_scripts(harmless(text), lead)

    bare = filled(0)
    return bare if lead is None else filled(LARGEST - len(bare.encode()))


def with_charts(charts: Charts) -> Lead | None:
    """Return what a page has beyond its sections that is of no single run; None without charts."""
    return Lead((), charts_text(charts), frozenset(charts)) if charts else None


class _Pictures:
    """The pictures of a page, as its template asks for them in order."""

    def __init__(self, drawn: Callable[[str], bytes], charts: frozenset[str], room: int) -> None:
        self._drawn, self._room = drawn, room
        self.charts = charts

    def source(self, name: str) -> str:
        """Return a picture; nothing when a chart shows the same and the page is full."""
        if name in self.charts and self._room <= 0:
            return ""
        encoded = base64.b64encode(self._drawn(name)).decode("ascii")
        if name in self.charts:
            self._room -= len(encoded)
            if self._room <= 0:
                return ""
        return f"data:image/svg+xml;base64,{encoded}"


def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mvdeploy.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _with_scripts(text: str, lead: Lead | None) -> str:
    """Put the scripts into a page, and their hashes into its policy."""
    names = ["report.js"] if lead is None else ["echarts.min.js", "report.js"]
    scripts = [asset(name) for name in names]
    hashes = [hashlib.sha256(script.encode()).digest() for script in scripts]
    allowed = " ".join(f"'sha256-{base64.b64encode(one).decode('ascii')}'" for one in hashes)
    elements = [f"<script>{script}</script>" for script in scripts]
    if lead is not None:
        data = f'<script type="application/json" id="data">{lead.data}</script>'
        elements.insert(0, data)
    before, after = text.split(_SCRIPTS)
    return "".join((before.replace(_POLICY, allowed, 1), *elements, after))


@functools.cache
def asset(name: str) -> str:
    """Return a file that is written into pages.

    Raises:
        OSError: there is none.
    """
    held = importlib.resources.files("mvdeploy.report") / "assets" / name
    return held.read_bytes().decode("utf-8").replace("\r\n", "\n")
