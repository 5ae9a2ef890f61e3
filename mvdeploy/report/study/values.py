"""The numbers of a study for programs."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from mvdeploy.analysis.study import StudyView, WayView
from mvdeploy.report.study.prose import summary

Value = dict[str, Any]

_COLUMNS = (
    *("row", "kind", "quantity", "of", "value", "low", "high", "unit", "format", "precision"),
    *("device", "source"),
)


def values(view: StudyView) -> list[Value]:
    """Return every number, a dictionary for each, and whether it was measured or published."""
    return [
        *_published_values(view),
        *(v for way in view.ways for v in _measured_values(view, way)),
    ]


def as_json(view: StudyView) -> dict[str, Any]:
    """Return a study as plain JSON values."""
    saved = view.saved
    return {
        "name": saved.name,
        "title": view.study.title,
        "paper": view.study.paper,
        "reference": view.study.reference,
        "conditions": saved.conditions,
        "runs": list(saved.runs),
        "summary": list(summary(view)),
        "values": values(view),
        "missing": [
            {"format": way.way.format, "precision": way.way.precision, "row": entry.row.name}
            | {"reason": entry.reason}
            for way in view.ways
            for entry in way.entries
            if entry.reason
        ],
        "agreement": [
            {
                "format": way.way.format,
                "precision": way.way.precision,
                "quantity": one.series.quantity,
                "published": one.series.title,
                "rows": len(one.rows),
                "same_device": one.same_device,
                "spearman": one.rank,
                "pairs": one.told,
                "contradicted": [list(pair) for pair in one.contradicted],
            }
            for way in view.ways
            for one in way.agreements
        ],
    }


def json_text(view: StudyView) -> str:
    """Return a study as JSON text."""
    return json.dumps(as_json(view), indent=1)


def csv_text(view: StudyView) -> str:
    """Return all numbers as CSV, one on a line."""
    import csv

    from mvdeploy.report.renderers.csv import safe

    target = io.StringIO()
    writer = csv.DictWriter(target, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: safe(_stable(cell)) for name, cell in one.items()} for one in values(view)
    )
    return target.getvalue()


def _stable(cell: Any) -> Any:
    """Round to what does not depend on the vector instructions that computed it."""
    return float(f"{cell:.12g}") if isinstance(cell, float) else cell


def _published_values(view: StudyView) -> Iterator[Value]:
    for one in view.study.published:
        for row, value in one.values.items():
            yield _value(row, one.quantity, one.part or one.title, value, one.unit) | {
                "kind": "published",
                "device": one.where,
                "source": one.source,
            }


def _measured_values(view: StudyView, way: WayView) -> Iterator[Value]:
    device = view.device.profile.title if view.device else ""
    for entry in way.entries:
        found: list[Value] = []
        name = entry.row.name
        if entry.ns is not None:
            found.append(_value(name, "latency", "p50", entry.ns / 1e6, "ms"))
        if entry.ratio is not None:
            ratio = entry.ratio
            ends = {"low": ratio.low, "high": ratio.high}
            found.append(_value(name, "ratio", view.study.reference, ratio.value, "") | ends)
        artifact = entry.case.case.artifact if entry.case else None
        if artifact is not None and artifact.parameters:
            found.append(_value(name, "parameters", "", artifact.parameters / 1e6, "M"))
        if entry.shares:
            parts = {**entry.shares, "other": entry.other, "unattributed": entry.unattributed}
            shares = [_value(name, "share", p, 100 * share, "%") for p, share in parts.items()]
            found += [one | {"kind": str(way.time_kind)} for one in shares]
        how = {"device": device, "format": way.way.format, "precision": way.way.precision}
        yield from ({"kind": "measured"} | one | how for one in found)


def _value(row: str, quantity: str, of: str, value: float, unit: str) -> Value:
    return {"row": row, "quantity": quantity, "of": of, "value": value, "unit": unit}
