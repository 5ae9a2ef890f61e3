"""The numbers of a sweep for programs."""

from __future__ import annotations

import io
import json
from typing import Any

from mvdeploy.analysis.scaling import METHOD, Scaling
from mvdeploy.analysis.sweep import Entry, Front, Series, SweepView
from mvdeploy.records.sweep import SweepWay
from mvdeploy.report.sweep.prose import summary

_COLUMNS = (
    *("case", "network", "height", "width", "pixels", "tokens", "batch"),
    *("format", "engine", "precision", "threads"),
    *("latency_ms", "low_ms", "high_ms", "per_image_ms", "cpu_ms", "p50_ms", "sessions"),
    *("parameters", "macs_per_image", "accuracy", "verdict", "problem"),
)


def as_json(view: SweepView) -> dict[str, Any]:
    """Return a sweep as plain JSON values; times are milliseconds."""
    saved = view.saved
    return {
        "title": saved.title,
        "created": saved.created,
        "conditions": saved.conditions,
        "runs": list(saved.runs),
        "accuracy": saved.accuracy or None,
        "summary": list(summary(view)),
        "cases": [_case(entry) for entry in view.entries],
        "not_built": [{"name": one.name, "reason": one.reason} for one in saved.unbuilt],
        "growth": [_growth(series) for series in view.series],
        "fronts": [_front(one) for one in view.fronts],
        "method": METHOD,
    }


def json_text(view: SweepView) -> str:
    """Return a sweep as JSON text."""
    return json.dumps(as_json(view), indent=1)


def csv_text(view: SweepView) -> str:
    """Return every case as a line of CSV."""
    import csv

    from mvdeploy.report.renderers.csv import safe

    target = io.StringIO()
    writer = csv.DictWriter(target, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for entry in view.entries:
        row = _case(entry)
        writer.writerow({name: safe(_stable(row[name])) for name in _COLUMNS})
    return target.getvalue()


def _stable(cell: Any) -> Any:
    """Round to what does not depend on the vector instructions that computed it."""
    return float(f"{cell:.12g}") if isinstance(cell, float) else cell


def _case(entry: Entry) -> dict[str, Any]:
    planned, level, case = entry.planned, entry.level, entry.case
    low, high = level.interval if level and level.interval else (None, None)
    timing = case.timing if case else None
    return {
        "case": planned.slug,
        "network": planned.network,
        "height": planned.image_size[0],
        "width": planned.image_size[1],
        "pixels": planned.pixels,
        "tokens": planned.tokens or None,
        "batch": planned.batch,
        **_way(planned.way),
        "latency_ms": _ms(entry.ns),
        "low_ms": _ms(low),
        "high_ms": _ms(high),
        "per_image_ms": _ms(entry.per_image_ns),
        "cpu_ms": _ms(entry.cpu.ns if entry.cpu else None),
        "p50_ms": _ms(timing.wall.p50 if timing else None),
        "sessions": len(level.logs) if level else 0,
        "parameters": entry.parameters or None,
        "macs_per_image": entry.macs or None,
        "accuracy": planned.accuracy,
        "verdict": str(case.verdict.grade) if case and case.verdict else None,
        "problem": entry.reason or ("wrong outputs" if entry.wrong else None),
    }


def _growth(series: Series) -> dict[str, Any]:
    return {
        "network": series.network,
        "batch": series.batch,
        **_way(series.way),
        "clock": series.clock,
        "cases": [entry.planned.slug for entry in series.entries],
        "pixels": _scaling(series.pixels),
        "tokens": _scaling(series.tokens),
        "macs_exponent_of_pixels": series.macs,
        "macs_exponent_of_tokens": series.macs_of_tokens,
        "parts": [
            {
                "part": part.title,
                "exponent_of_pixels": part.exponent,
                "share_at_smallest": part.smallest,
                "share_at_largest": part.largest,
            }
            for part in series.parts
        ],
    }


def _scaling(found: Scaling | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "exponent": found.exponent,
        "low": found.low,
        "high": found.high,
        "level": found.level,
        "sizes": found.sizes,
        "too_few_sizes": found.few,
        "largest_departure": found.departure,
        "interval_from": "sessions" if found.from_sessions else "residuals",
    }


def _front(one: Front) -> dict[str, Any]:
    return {
        "of": one.key,
        "title": one.title,
        "batch": one.batch,
        **_way(one.way),
        "cases": [
            {
                "name": placed.point.name,
                "per_image_ms": _ms(placed.point.time),
                "low_ms": _ms(placed.point.low) if placed.point.low > 0 else None,
                "high_ms": _ms(placed.point.high) if placed.point.low > 0 else None,
                "value": placed.point.other,
                "standing": str(placed.standing),
                "on_front_of_estimates": placed.drawn,
                "cannot_be_told_from": list(placed.rivals),
                "beaten_by": placed.beaten_by or None,
            }
            for placed in one.placed
        ],
        "lacking": list(one.lacking),
    }


def _way(way: SweepWay) -> dict[str, Any]:
    return {
        "format": way.format,
        "engine": way.engine,
        "precision": way.precision,
        "threads": way.threads,
    }


def _ms(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e6
