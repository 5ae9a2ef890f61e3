"""The table of docs/verification.md is what was measured, and what was measured is caught."""

from __future__ import annotations

from pathlib import Path

from benchmarks import mutation_table

DOCUMENT = Path(__file__).parents[3] / "docs/verification.md"


def test_the_document_has_what_was_measured() -> None:
    assert mutation_table.markdown(mutation_table.rows()) in DOCUMENT.read_text(encoding="utf-8")


def test_every_fault_was_caught_with_its_module() -> None:
    measured = mutation_table.rows()
    assert {row["format"] for row in measured} == set(mutation_table.FORMATS)
    missed = [row for row in measured if row["caught"] != "yes" or row["named"] != row["module"]]
    assert missed == []


def test_a_row_is_measured_again() -> None:
    fault = "LayerNorm eps × 100"
    found = mutation_table.measure("onnx", "quiet", [fault])
    known = [row for row in mutation_table.rows() if row["format"] == "onnx"]
    known = [row for row in known if row["weights"] == "quiet" and row["mutation"] == fault]
    assert [row[:6] for row in found] == [tuple(row.values())[:6] for row in known]
