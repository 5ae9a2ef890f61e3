"""The table of ``benchmarks/onnx_fast.py``: nothing is missing, and the documentation has it."""

from __future__ import annotations

import itertools
from pathlib import Path

from benchmarks import onnx_fast
from mvdeploy import engines

DOCS = Path(__file__).parents[2] / "docs" / "performance.md"


def test_every_line_is_there_in_order() -> None:
    table = onnx_fast.read()
    assert list(table) == onnx_fast.expected()
    for row in table.values():
        assert int(row.runs) > 0
        assert 0.1 < float(row.p5) < 10
        assert 0.1 < float(row.p50) < 10


def test_what_is_compared_with_is_one() -> None:
    table = onnx_fast.read()
    firsts = [("programs", f"{n} {p}", "fp32 standard") for n, p in onnx_fast.PROGRAMS]
    firsts += [("settings", beside, "2 threads") for beside in onnx_fast.BESIDE]
    assert {(table[key].p5, table[key].p50) for key in firsts} == {("1.000", "1.000")}


def test_what_bench_exports_is_the_faster_one() -> None:
    """Its default is a claim about the table."""
    table = onnx_fast.read()
    compared = 0
    for (part, case, variant), row in table.items():
        standard = table.get((part, case, variant.replace(onnx_fast.OWN, onnx_fast.STANDARD)))
        if variant.endswith(onnx_fast.OWN) and standard is not None:
            assert float(row.p5) < float(standard.p5), (case, variant)
            compared += 1
    assert compared == len(onnx_fast.PROGRAMS) + 2


def test_the_settings_are_those_of_the_engine() -> None:
    ort = engines.get("onnxruntime")
    for threads, chosen in onnx_fast.SETTINGS.values():
        assert engines.options(ort, threads, chosen)["intra_op_num_threads"] == threads


def test_the_documentation_has_the_table() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert [line for line in onnx_fast.shown() if line not in text] == []


def test_what_is_there_is_kept_and_ordered(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    assert onnx_fast.read(table) == {}
    keys = onnx_fast.expected()[:3]
    made = [onnx_fast.Row(*key, "9", "1.000", "1.000") for key in keys]
    onnx_fast.add(table, made[2:])
    onnx_fast.add(table, made[:2])
    assert list(onnx_fast.read(table).values()) == made
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_turns_are_timed_by_the_clock_that_is_given() -> None:
    ticks = itertools.count(step=10)
    calls = {"first": lambda: None, "second": lambda: next(ticks)}
    found = list(onnx_fast.ratios(calls, lambda: next(ticks), 0.01))
    assert [(title, low, middle) for title, _, low, middle in found] == [
        ("first", 1.0, 1.0),
        ("second", 2.0, 2.0),
    ]
    assert all(runs > 0 for _, runs, _, _ in found)
