"""The table of docs/robustness.md is what was found, and nothing in it is what must not be."""

from __future__ import annotations

from pathlib import Path

from benchmarks import robustness
from tests.robustness import kills, readers

DOCUMENT = Path(__file__).parents[2] / "docs/robustness.md"


def test_the_document_has_what_was_found() -> None:
    assert robustness.markdown(robustness.rows()) in DOCUMENT.read_text(encoding="utf-8")


def test_nothing_failed() -> None:
    assert robustness.failed(robustness.rows()) == []


def test_enough_was_tried_of_everything() -> None:
    found = robustness.rows()
    assert sum(map(robustness.is_damage, found)) >= 10_000
    assert sum(map(robustness.is_kill, found)) >= 300
    tried = {row["reader"] for row in found}
    assert {reader.name for reader in readers.READERS} <= tried
    assert {f"{kind}: {w.name}" for w in kills.WORKS for kind in ("killed", "limit")} <= tried
