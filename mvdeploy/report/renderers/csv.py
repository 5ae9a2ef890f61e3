"""The numbers as CSV files: one row for each case, part, operator or sample."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.energy import CaseEnergy, EnergyView
from mvdeploy.analysis.ratios import ComparisonView
from mvdeploy.analysis.several import SeveralView
from mvdeploy.analysis.stages import stages_view
from mvdeploy.analysis.view import View
from mvdeploy.files import writing
from mvdeploy.report import sustained
from mvdeploy.report.several import values
from mvdeploy.text_format import clean

EXTENSION = "csv"
DESCRIPTION = "the numbers as tables, down to every sample"
DEFAULT = True

Row = dict[str, Any]

_FORMULA = ("=", "+", "-", "@")


def render(view: View, folder: Path) -> tuple[Path, ...]:
    """Write ``latency.csv``, ``comparisons.csv``, ``breakdown.csv`` and the like."""
    return tuple(_write(folder / f"{name}.csv", *table) for name, table in tables(view).items())


def tables(view: View) -> dict[str, tuple[tuple[str, ...], Iterator[Row]]]:
    """Return columns and rows of every table, by name; a row lacks what is not known."""
    found: dict[str, tuple[tuple[str, ...], Iterator[Row]]] = {
        "latency": (_LATENCY, map(_latency, view.cases)),
        "comparisons": (_COMPARISONS, map(_comparison, view.comparisons)),
        "breakdown": (_BREAKDOWN, _each(view, _breakdown)),
        "operators": (_OPERATORS, _each(view, _operators)),
        "samples": (_SAMPLES, _samples(view)),
    }
    if any(case.case.stages for case in view.cases):
        found["stages"] = (_STAGES, _each(view, _stages))
    if any(case.case.first_run for case in view.cases):
        found["first_run"] = (_STARTS, _each(view, _starts))
    if view.sustained:
        found["intervals"] = (_INTERVALS, _intervals(view))
    if view.energy is not None:
        energy = view.energy
        found["energy"] = (_ENERGY, (_energy(one, energy) for one in energy.cases))
    return found


def several(view: SeveralView, folder: Path) -> tuple[Path, ...]:
    """Write ``latency.csv`` and ``shares.csv`` of several runs, and of pages ``browsers.csv``."""
    paths: tuple[Path, ...] = (
        _write(folder / "latency.csv", values.LATENCIES, values.latencies(view)),
        _write(folder / "shares.csv", values.SHARES, values.shares(view)),
    )
    if view.against:
        paths += (_write(folder / "browsers.csv", values.BROWSERS, values.browsers(view)),)
    return paths


_CASE = ("case", "label", "format", "engine")
_STATISTICS = ("mean", "std", "min", "p10", "p50", "p90", "p95", "p99", "max")
_LATENCY = (
    *_CASE,
    "samples",
    *(f"{name}_ms" for name in _STATISTICS),
    *("interval_low_ms", "interval_high_ms", "interval_level"),
    *("cpu_p50_ms", "load_ms", "first_inference_ms"),
    *("peak_memory_mb", "memory_over_baseline_mb", "in_turns", "verdict", "problem"),
    *("batch", "p50_per_image_ms"),
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
_STAGES = (*_CASE, "stage", "p50_ms", "low_ms", "high_ms", "usual_ms", "share", "unavailable")
_STARTS = (
    *_CASE,
    *("start", "cold", "resident_share", "import_ns", "load_ns", "first_ns", "second_ns"),
    "unavailable",
)
_INTERVALS = (
    *_CASE,
    *("start_s", "length_s", "inferences", "p50_ms", "p90_ms", "p99_ms", "mean_ms", "cpu_p50_ms"),
    *("clock_mhz", "clock_limit_mhz", "thermal_status", "temperature_c", "level"),
)
_SAMPLES = (*_CASE, "session", "sample", "wall_ns", "cpu_ns")
_ENERGY = (
    *_CASE,
    *("energy_mj", "interval_low_mj", "interval_high_mj", "interval_level", "below_mj"),
    *("power_w", "rest_w", "blocks", "meter", "problem"),
)


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
    row = {**_case(case), "problem": case.reason, "batch": case.batch}
    timing = case.timing
    if timing is None:
        return row
    row["p50_per_image_ms"] = timing.wall.p50 / case.batch / 1e6
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


def _energy(one: CaseEnergy, found: EnergyView) -> Row:
    joules = one.joules
    row: Row = {
        **_case(one.case),
        "below_mj": None if one.below_j is None else one.below_j * 1e3,
        "power_w": one.power_w,
        "rest_w": one.rest_w,
        "blocks": one.blocks,
        "meter": found.meter.source if found.meter else None,
        "problem": one.reason,
    }
    if joules is None:
        return row
    return {
        **row,
        "energy_mj": joules.value * 1e3,
        "interval_low_mj": joules.low * 1e3,
        "interval_high_mj": joules.high * 1e3,
        "interval_level": joules.level,
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


def _stages(case: CaseView) -> Iterator[Row]:
    record, found = case.case.stages, stages_view(case)
    if found is None and record is not None:
        yield {**_case(case), "unavailable": record.unavailable}
    if found is None:
        return
    rows = [(part.key, part.p50, part.interval, part.ns, part.share) for part in found.parts]
    for key, p50, interval, ns, share in (
        *rows,
        ("whole", found.p50, found.interval, found.ns, 1.0),
    ):
        row = {**_case(case), "stage": key, "p50_ms": p50 / 1e6, "usual_ms": ns / 1e6}
        if interval is not None:
            row |= {"low_ms": interval.low / 1e6, "high_ms": interval.high / 1e6}
        yield {**row, "share": share}


def _starts(case: CaseView) -> Iterator[Row]:
    record = case.case.first_run
    if record is None:
        return
    for number, start in enumerate(record.starts, 1):
        yield {
            **_case(case),
            "start": number,
            "cold": start.cold,
            "resident_share": start.resident,
            "import_ns": start.import_ns,
            "load_ns": start.load_ns,
            "first_ns": start.first_ns,
            "second_ns": dict(enumerate(start.inferences_ns)).get(1),
        }
    if record.no_cold:
        yield {**_case(case), "cold": True, "unavailable": record.no_cold}


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


def _intervals(view: View) -> Iterator[Row]:
    for found in view.sustained:
        for interval in found.record.intervals:
            yield {**_case(found.case), **sustained.interval(view, found, interval)}


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
