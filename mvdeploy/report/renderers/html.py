"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from pathlib import Path

from mvdeploy.analysis.view import View
from mvdeploy.files import writing
from mvdeploy.report import document, figures
from mvdeploy.text_format import harmless

EXTENSION = "html"
DESCRIPTION = "one page that needs nothing else"
DEFAULT = True


def render(view: View, folder: Path) -> tuple[Path, ...]:
    """Write ``report.html``."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mvdeploy.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def source(name: str) -> str:
        data = base64.b64encode(figures.image(view, name, "svg")).decode("ascii")
        return f"data:image/svg+xml;base64,{data}"

    def kind(block: document.Block) -> str:
        return type(block).__name__

    text = environment.get_template("report.html.j2").render(
        title=document.title(view),
        about=document.about(view),
        sections=document.sections(view),
        source=source,
        kind=kind,
    )
    path = folder / "report.html"
    writing.text(path, harmless(text))
    return (path,)
