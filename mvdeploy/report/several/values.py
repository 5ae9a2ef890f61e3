"""The numbers of a page of several runs for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mvdeploy.analysis.several import Cell, Place, Row, SeveralView
from mvdeploy.records.codec import SCHEMA_VERSION
from mvdeploy.report.several import prose
from mvdeploy.stats.unpaired import METHOD

Value = dict[str, Any]

LATENCIES = (
    *("row", "device", "run", "slug", "label", "format", "engine", "precision", "threads"),
    *("p50_ms", "interval_low_ms", "interval_high_ms", "reference", "ratio", "ratio_low"),
    *("ratio_high", "ratio_verdict", "reliability", "problem"),
)
BROWSERS = (
    *("row", "native", "web", "ratio", "ratio_low", "ratio_high", "divided_by", "part"),
    *("native_ms", "web_ms", "times", "share_of_difference"),
)
SHARES = ("row", "device", "run", "slug", "part", "share", "ms", "time_kind")


def latencies(view: SeveralView) -> Iterator[Value]:
    """Give every case in every place."""
    for row, place, cell in view.cells():
        yield _latency(view, row, place, cell)


def _latency(view: SeveralView, row: Row, place: Place, cell: Cell) -> Value:
    case = cell.case
    timing, ratio = case.timing, cell.ratio
    interval = timing.interval if timing else None
    reference = None if row.reference is None else view.places[row.reference]
    return {
        **_who(row.name, place, cell),
        "label": case.case.label,
        "format": case.format or None,
        "engine": case.case.engine or None,
        "precision": case.precision or None,
        "threads": case.case.threads or place.view.run.plan.threads,
        "p50_ms": timing.wall.p50 / 1e6 if timing else None,
        "interval_low_ms": interval.low / 1e6 if interval else None,
        "interval_high_ms": interval.high / 1e6 if interval else None,
        "reference": reference.view.run.name if ratio and reference else None,
        "ratio": ratio.value if ratio else None,
        "ratio_low": ratio.low if ratio else None,
        "ratio_high": ratio.high if ratio else None,
        "ratio_verdict": (ratio.verdict or None) if ratio else None,
        "reliability": str(case.verdict.grade) if case.verdict else None,
        "problem": cell.problem or case.reason or None,
    }


def _who(row: str, place: Place, cell: Cell) -> Value:
    run = place.view.run.name
    return {"row": row, "device": place.device.profile.name, "run": run, "slug": cell.case.slug}


def shares(view: SeveralView) -> Iterator[Value]:
    """Give every part of every latency."""
    cells = {(row.name, place.name): cell for row, place, cell in view.cells()}
    for one in view.divided:
        place = view.places[one.place]
        who = _who(one.row, place, cells[one.row, place.name])
        for part, share in one.shares.items():
            yield {
                **who,
                "part": part,
                "share": share,
                "ms": share * one.total_ns / 1e6,
                "time_kind": str(one.time_kind),
            }


def browsers(view: SeveralView) -> Iterator[Value]:
    """Give every part of what a page takes more than a program on the same machine."""
    for one in view.against:
        who = {
            "row": one.row,
            "native": view.places[one.native].view.run.name,
            "web": view.places[one.web].view.run.name,
            "ratio": one.ratio.value,
            "ratio_low": one.ratio.low,
            "ratio_high": one.ratio.high,
        }
        for divided_by, losses in (("category", one.categories), ("kind", one.kinds)):
            for loss in losses:
                yield {
                    **who,
                    "divided_by": divided_by,
                    "part": loss.title,
                    "native_ms": loss.native_ns / 1e6,
                    "web_ms": loss.web_ns / 1e6,
                    "times": loss.times,
                    "share_of_difference": loss.share,
                }


def turns(view: SeveralView) -> Iterator[Value]:
    """Give the ratio of every two cases that took turns, in each place."""
    for one in view.turns:
        for place, compared in zip(view.places, one.cells, strict=True):
            if compared is not None and compared.estimate is not None:
                found = compared.estimate
                yield {
                    "a": one.a,
                    "b": one.b,
                    "device": place.device.profile.name,
                    "run": place.view.run.name,
                    "ratio": found.ratio,
                    "low": found.low,
                    "high": found.high,
                    "clock": found.clock,
                    "verdict": found.verdict,
                }


def as_json(view: SeveralView) -> dict[str, Any]:
    """Return the page as plain JSON values: milliseconds, and shares as fractions."""
    return {
        "schema_version": SCHEMA_VERSION,
        "runs": [
            {
                "name": one.run.name,
                "created": one.run.created,
                "mvdeploy": one.run.mvdeploy,
                "devices": [device.profile.name for device in one.devices],
            }
            for one in view.views
        ],
        "ratios": METHOD,
        "latencies": list(latencies(view)),
        "shares": list(shares(view)),
        "turns": list(turns(view)),
        "browsers": list(browsers(view)),
        "differing": {name: [list(one) for one in found] for name, found in view.differing.items()},
        "summary": list(prose.summary(view)),
        "problems": list(prose.problems(view)),
    }


def json_text(view: SeveralView) -> str:
    """Return the page as JSON text."""
    return json.dumps(as_json(view), indent=1)
