"""The table of docs/robustness.md is what was found, and nothing in it is what must not be."""

from __future__ import annotations

from pathlib import Path

from benchmarks import robustness

DOCUMENT = Path(__file__).parents[2] / "docs/robustness.md"


def test_the_document_has_what_was_found() -> None:
    assert robustness.markdown(robustness.rows()) in DOCUMENT.read_text(encoding="utf-8")


def test_nothing_failed() -> None:
    assert robustness.failed(robustness.rows()) == []
