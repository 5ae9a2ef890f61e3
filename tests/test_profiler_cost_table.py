"""The committed table of known shares: corrected ones are nearer to what is true."""

from __future__ import annotations

from pathlib import Path

from benchmarks.profiler_cost import LAYERS, markdown, rows

DOCUMENT = Path(__file__).parents[1] / "docs/measurement.md"


def test_corrected_shares_are_nearer_to_the_true_ones() -> None:
    found = rows()
    for engine in ("onnxruntime", "executorch"):
        own = [row for row in found if row.engine == engine]
        assert [row.layers for row in own] == list(LAYERS[1:])
        for row in own:
            assert abs(row.corrected - row.true) < abs(row.as_profiled - row.true), row
            assert abs(row.corrected - row.true) < 0.06, row


def test_the_document_has_the_table() -> None:
    assert markdown(rows()) in DOCUMENT.read_text(encoding="utf-8")
