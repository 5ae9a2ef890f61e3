"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

from mvdeploy.analysis.several import SeveralView
from mvdeploy.analysis.view import View
from mvdeploy.files import writing
from mvdeploy.report import document, figures
from mvdeploy.report import several as pages
from mvdeploy.text_format import harmless

EXTENSION = "html"
DESCRIPTION = "one page that needs nothing else"
DEFAULT = True


def render(view: View, folder: Path) -> tuple[Path, ...]:
    """Write ``report.html``."""

    def drawn(name: str) -> bytes:
        return figures.image(view, name, "svg")

    path = folder / "report.html"
    said = document.title(view), document.about(view), document.sections(view)
    writing.text(path, page(*said, drawn))
    return (path,)


def several(view: SeveralView, folder: Path) -> tuple[Path, ...]:
    """Write ``report.html`` of several runs."""
    drawn, path = pages.drawing(view), folder / "report.html"
    said = pages.title(view), pages.about(view), pages.sections(view)
    writing.text(path, page(*said, lambda name: drawn(name, "svg")))
    return (path,)


def page(
    title: str, about: str, sections: Sequence[document.Section], drawn: Callable[[str], bytes]
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

    def source(name: str) -> str:
        return f"data:image/svg+xml;base64,{base64.b64encode(drawn(name)).decode('ascii')}"

    def kind(block: document.Block) -> str:
        return type(block).__name__

    text = environment.get_template("report.html.j2").render(
        title=title, about=about, sections=sections, source=source, kind=kind
    )
    return harmless(text)
