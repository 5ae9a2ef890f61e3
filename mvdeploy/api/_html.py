"""HTML that notebooks show: text alone, escaped, in the notebook's own look."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from mvdeploy.text_format import clean


def text(words: str) -> str:
    """Return text from anywhere as HTML on one line."""
    return html.escape(clean(words))


def paragraphs(sentences: Iterable[str]) -> str:
    """Return sentences, each as a paragraph."""
    return "".join(f"<p>{text(sentence)}</p>" for sentence in sentences)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of text; columns may lack titles."""
    head = "".join(f"<th>{text(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
