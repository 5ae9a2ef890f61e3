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

from mvdeploy.analysis.view import View
from mvdeploy.files import writing
from mvdeploy.report import document, figures, interactive, overview, prose
from mvdeploy.report.overview import Answer
from mvdeploy.text_format import harmless

EXTENSION = "html"
DESCRIPTION = "one page that needs nothing else"
DEFAULT = True

_PICTURES = 900_000
"""Characters that pictures may take in a page whose charts show the same; the first are kept."""

_SCRIPTS, _POLICY = "<!--scripts-->", "SCRIPT-SOURCES"
"""Where scripts and their hashes are put into the page; escaped text cannot hold the first."""


@dataclasses.dataclass(frozen=True)
class Lead:
    """What a page has beyond its sections.

    Attributes:
        answers: what stands first.
        data: of the charts, as JSON that is safe in a script element.
    """

    answers: tuple[Answer, ...]
    data: str


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


def page(
    title: str,
    about: str,
    sections: Sequence[document.Section],
    drawn: Callable[[str], bytes],
    lead: Lead | None = None,
) -> str:
    """Return a report as HTML; `drawn` gives its figures as SVG, by name."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mvdeploy.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room = _PICTURES

    def source(name: str) -> str:
        """Return a picture; nothing when the page would become too large by it."""
        nonlocal room
        replaced = lead is not None and name in interactive.CHARTS
        if replaced and room < 0:
            return ""
        encoded = base64.b64encode(drawn(name)).decode("ascii")
        room -= len(encoded) if replaced else 0
        return f"data:image/svg+xml;base64,{encoded}" if room >= 0 or not replaced else ""

    def kind(block: document.Block) -> str:
        return type(block).__name__

    text = environment.get_template("report.html.j2").render(
        title=title,
        about=about,
        sections=sections,
        source=source,
        kind=kind,
        lead=lead,
        charts=interactive.CHARTS if lead is not None else frozenset(),
        style=asset("report.css"),
    )
    return _with_scripts(harmless(text), lead)


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
