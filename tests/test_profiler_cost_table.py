"""The committed table of known shares: corrected ones are nearer to what is true."""

from __future__ import annotations

import csv

from benchmarks.profiler_cost import LAYERS, TABLE


def test_corrected_shares_are_nearer_to_the_true_ones() -> None:
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_engine = {
        engine: [r for r in rows if r["engine"] == engine] for engine in {r["engine"] for r in rows}
    }
    assert {"onnxruntime", "executorch"} <= set(by_engine)
    for engine, found in by_engine.items():
        assert [int(row["layers"]) for row in found] == list(LAYERS[1:]), engine
        for row in found:
            true, before, after = (float(row[n]) for n in ("true", "as_profiled", "corrected"))
            assert abs(after - true) < abs(before - true), row
            assert abs(after - true) < 0.05, row
