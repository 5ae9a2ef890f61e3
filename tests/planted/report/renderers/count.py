"""A planted renderer: how many cases there are."""

from __future__ import annotations

EXTENSION = "count"
DESCRIPTION = "the number of cases"
DEFAULT = True


def render(view, folder):
    path = folder / "report.count"
    path.write_text(str(len(view.cases)))
    return (path,)
