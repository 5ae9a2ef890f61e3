"""The numbers as CSV files: one row for each case, part, operator or sample."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.ratios import ComparisonView
from mvdeploy.analysis.several import SeveralView
from mvdeploy.analysis.view import View
from mvdeploy.files import writing
from mvdeploy.report.several import values
from mvdeploy.text_format import clean

EXTENSION = "csv"
DESCRIPTION = "the numbers as tables, down to every sample"
DEFAULT = True

Row = dict[str, Any]

_FORMULA = ("=", "+", "-", "@")


def render(view: View, folder: Path) -> tuple[Path, ...]:
    """Write ``latency.csv``, ``comparisons.csv``, ``breakdown.csv`` and the like."""
    tables = {
        "latency": (_LATENCY, (_latency(case) for case in view.cases)),
        "comparisons": (_COMPARISONS, (_comparison(c) for c in view.comparisons)),
        "breakdown": (_BREAKDOWN, _each(view, _breakdown)),
        "operators": (_OPERATORS, _each(view, _operators)),
        "samples": (_SAMPLES, _samples(view)),
    }
    return tuple(_write(folder / f"{name}.csv", *table) for name, table in tables.items())


def several(view: SeveralView, folder: Path) -> tuple[Path, ...]:
    """Write ``latency.csv`` and ``shares.csv`` of several runs."""
    return (
        _write(folder / "latency.csv", values.LATENCIES, values.latencies(view)),
        _write(folder / "shares.csv", values.SHARES, values.shares(view)),
    )


_CASE = ("case", "label", "format", "engine")
_STATISTICS = ("mean", "std", "min", "p10", "p50", "p90", "p95", "p99", "max")
_LATENCY = (
    *_CASE,
    "samples",
    *(f"{name}_ms" for name in _STATISTICS),
    *("interval_low_ms", "interval_high_ms", "interval_level"),
    *("cpu_p50_ms", "load_ms", "first_inference_ms"),
    *("peak_memory_mb", "memory_over_baseline_mb", "in_turns", "verdict", "problem"),
)
_COMPARISONS = (
    *("a", "b", "verdict", "clock", "ratio", "low", "high", "level", "detectable"),
    *("groups", "pairs", "reliability", "problem"),
)
_BREAKDOWN = (*_CASE, "grouping", "part", "ms", "share", "time_kind")
_OPERATORS = (
    *_CASE,
    *("position", "operator", "type", "kind", "category", "module", "fused_modules"),
    *("ms", "share", "time_kind"),
)
_SAMPLES = (*_CASE, "session", "sample", "wall_ns", "cpu_ns")


def _each(view: View, rows: Callable[[CaseView], Iterator[Row]]) -> Iterator[Row]:
    for case in view.cases:
        yield from rows(case)


def _case(case: CaseView) -> Row:
    record = case.case
    return {
        "case": record.slug,
        "label": record.label,
        "format": case.format,
        "engine": record.engine,
    }


def _latency(case: CaseView) -> Row:
    row = {**_case(case), "problem": case.reason}
    timing = case.timing
    if timing is None:
        return row
    row |= {f"{name}_ms": value for name, value in timing.wall.as_ms().items()}
    if timing.interval:
        row["interval_low_ms"] = timing.interval.low / 1e6
        row["interval_high_ms"] = timing.interval.high / 1e6
        row["interval_level"] = timing.interval.level
    if timing.peak_memory_bytes:
        row["peak_memory_mb"] = timing.peak_memory_bytes / 1e6
        row["memory_over_baseline_mb"] = timing.added_memory_bytes / 1e6
    return {
        **row,
        "samples": timing.wall.count,
        "in_turns": timing.in_turns,
        "verdict": case.verdict.grade if case.verdict else None,
        "cpu_p50_ms": timing.cpu.p50 / 1e6 if timing.cpu else None,
        "load_ms": timing.load_ns / 1e6,
        "first_inference_ms": None if timing.first_ns is None else timing.first_ns / 1e6,
    }


def _comparison(comparison: ComparisonView) -> Row:
    row: Row = {"a": comparison.a.slug, "b": comparison.b.slug, "problem": comparison.problem}
    estimate, reliability = comparison.estimate, comparison.reliability
    if estimate is None or reliability is None:
        return row
    names = ("clock", "ratio", "low", "high", "level", "detectable", "groups", "pairs")
    return {
        **row,
        **{name: getattr(estimate, name) for name in names},
        "verdict": estimate.verdict,
        "reliability": reliability.grade,
    }


def _breakdown(case: CaseView) -> Iterator[Row]:
    breakdown = case.breakdown
    if breakdown is None:
        return
    head = {**_case(case), "time_kind": breakdown.time_kind}
    by_category = () if breakdown.by_kind else breakdown.parts
    for grouping, parts in (("category", by_category), ("kind", breakdown.kinds)):
        for part in parts:
            sums = {"part": part.key, "ms": part.ns / 1e6, "share": part.share}
            yield {**head, "grouping": grouping, **sums}
    for module in breakdown.modules:
        sums = {"part": module.path, "ms": module.ns / 1e6, "share": module.share}
        yield {**head, "grouping": "module", **sums}


def _operators(case: CaseView) -> Iterator[Row]:
    breakdown = case.breakdown
    if breakdown is None:
        return
    for operator in sorted(breakdown.operators, key=lambda o: o.position):
        row = operator.row
        yield {
            **_case(case),
            "position": operator.position,
            "operator": row.name,
            "type": row.type,
            "kind": row.kind,
            "category": row.category or "unplaced",
            "module": row.modules[0] if row.modules else "",
            "fused_modules": " ".join(row.modules[1:]),
            "ms": row.ns / 1e6,
            "share": operator.share,
            "time_kind": breakdown.time_kind,
        }


def _samples(view: View) -> Iterator[Row]:
    for case in view.measured:
        head = _case(case)
        for number, session in enumerate(case.timing.sessions if case.timing else (), 1):
            known = len(session.cpu_ns) == len(session)
            cpu_ns = session.cpu_ns if known else [None] * len(session)
            pairs = zip(session.wall_ns, cpu_ns, strict=True)
            for sample, (wall, cpu) in enumerate(pairs, 1):
                times = {"session": number, "sample": sample, "wall_ns": wall, "cpu_ns": cpu}
                yield {**head, **times}


def _write(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> Path:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    writing.text(path, text.getvalue())
    return path


def _cell(value: Any) -> Any:
    """Return a value as it is written: what is not known as nothing."""
    unknown = isinstance(value, float) and math.isnan(value)
    return None if unknown else safe(value)


def safe(value: Any) -> Any:
    """Keep a spreadsheet from taking text out of a file for a formula."""
    if not isinstance(value, str):
        return value
    text = clean(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
