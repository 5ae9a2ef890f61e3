"""The numbers of a report for programs: what ``--json`` prints."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from mvdeploy.analysis.breakdown_view import BreakdownView, Part
from mvdeploy.analysis.cases import CaseView, Timing
from mvdeploy.analysis.energy import EnergyView
from mvdeploy.analysis.first_run import KindView, Known, first_run_view
from mvdeploy.analysis.rankings import Ranking
from mvdeploy.analysis.ratios import ComparisonView, Difference
from mvdeploy.analysis.several import SeveralView
from mvdeploy.analysis.stages import stages_view
from mvdeploy.analysis.view import View
from mvdeploy.files import writing
from mvdeploy.records.codec import SCHEMA_VERSION, encode
from mvdeploy.report import prose, sustained
from mvdeploy.report.several import values
from mvdeploy.report.wording import word_all
from mvdeploy.stats.energy import METHOD as ENERGY_METHOD
from mvdeploy.stats.energy import Mean
from mvdeploy.stats.interval import Interval
from mvdeploy.stats.paired import METHOD as RATIO_METHOD
from mvdeploy.stats.paired import SESSIONS_METHOD, RatioEstimate
from mvdeploy.stats.percentiles import METHOD as PERCENTILE_METHOD
from mvdeploy.stats.reliability import Verdict
from mvdeploy.stats.summary import DDOF

EXTENSION = "json"
DESCRIPTION = "the numbers for programs, as --json prints them"
DEFAULT = False


def render(view: View, folder: Path) -> tuple[Path, ...]:
    """Write ``report.json``."""
    path = folder / "report.json"
    writing.text(path, text(view) + "\n")
    return (path,)


def several(view: SeveralView, folder: Path) -> tuple[Path, ...]:
    """Write ``report.json`` of several runs."""
    path = folder / "report.json"
    writing.text(path, values.json_text(view) + "\n")
    return (path,)


def text(view: View) -> str:
    """Return a run as JSON text."""
    return json.dumps(as_json(view), indent=1)


def as_json(view: View) -> dict[str, Any]:
    """Return a run as plain JSON values.

    Times are milliseconds, memory is megabytes (1e6 bytes), shares and changes are fractions.
    """
    run = view.run
    return {
        "schema_version": SCHEMA_VERSION,
        "mvdeploy": run.mvdeploy,
        "name": run.name,
        "created": run.created,
        "command": list(run.command),
        "input": run.input,
        "device": encode(run.device),
        "devices": [encode(device) for device in view.devices],
        "environment": encode(run.environment),
        "plan": encode(run.plan),
        "statistics": {
            "percentiles": PERCENTILE_METHOD,
            "std_ddof": DDOF,
            "ratios": RATIO_METHOD,
            "rankings": SESSIONS_METHOD,
        },
        "cases": [_case(case) for case in view.cases],
        "comparisons": [_comparison(c) for c in view.comparisons],
        "rooflines": [
            {
                "slug": r.case.slug,
                "share": r.share,
                "macs_per_s_of_a_core": r.macs_per_s,
                "numbers": r.numbers,
                "threads": r.threads,
                "kind": "estimated from MACs and a measured rate",
            }
            for r in view.rooflines
        ],
        "rankings": [_ranking(ranked) for ranked in view.rankings],
        "energy": _energy(view.energy) if view.energy else None,
        "output_differences": [encode(pair.found) for pair in view.outputs],
        "differences": [_difference(d) for d in view.differences],
        "sustained": [sustained.as_json(view, found) for found in view.sustained],
        "findings": [
            {
                "code": f.code,
                "level": str(f.level),
                "cases": [c.slug for c in view.cases if c.name in f.subjects],
                "message": f.sentence,
                "remedy": f.remedy,
                "values": f.values,
            }
            for f in word_all(view.findings, view.cases)
        ],
    }


def _case(case: CaseView) -> dict[str, Any]:
    record = case.case
    artifact, measurement = record.artifact, record.measurement
    return {
        "slug": case.slug,
        "label": record.label,
        "engine": record.engine,
        "format": case.format or None,
        "precision": case.precision or None,
        "emulated": case.case.emulated or None,
        "device": case.device.profile.name,
        "batch": case.batch,
        "p50_per_image_ms": None if case.per_image_ns is None else case.per_image_ns / 1e6,
        "sha256": artifact.sha256 if artifact else None,
        "parameters": artifact.parameters if artifact else None,
        "macs": artifact.macs if artifact else None,
        "uncounted": list(artifact.uncounted) if artifact else [],
        "read_from": artifact.read_from or None if artifact else None,
        **_timing(case.timing),
        "reliability": _verdict(case.verdict),
        "breakdown": _breakdown(case.breakdown) if case.breakdown else None,
        "pipeline": _pipeline(case),
        "first_run": _first_run(case),
        "parity": encode(record.parity),
        "device_parity": encode(record.device_parity),
        "conditions": encode(measurement.conditions) if measurement else None,
        "state_before": encode(measurement.before) if measurement else None,
        "state_after": encode(measurement.after) if measurement else None,
        "failure": _failure(case),
    }


def _failure(case: CaseView) -> dict[str, Any] | None:
    if case.timing:
        return None
    code = case.case.failure.exit_code if case.case.failure else None
    return {"message": case.reason, "remedy": case.remedy, "exit_code": code}


def _timing(timing: Timing | None) -> dict[str, Any]:
    names = (
        "latency_ms",
        "too_few_samples_for",
        "cpu_ms",
        "interval",
        "in_turns",
        "load_ms",
        "first_inference_ms",
    )
    memory = ("peak_memory_mb", "memory_over_baseline_mb")
    if timing is None:
        return {**dict.fromkeys((*names, *memory)), "raw_samples_ms": [], "raw_cpu_samples_ms": []}
    interval, known = timing.interval, timing.peak_memory_bytes > 0
    return {
        "latency_ms": timing.wall.as_ms(),
        "too_few_samples_for": [*timing.wall.too_few_for],
        "cpu_ms": timing.cpu.as_ms() if timing.cpu else None,
        "interval": _interval(interval),
        "in_turns": timing.in_turns,
        "load_ms": timing.load_ns / 1e6 if timing.load_ns else None,
        "first_inference_ms": None if timing.first_ns is None else timing.first_ns / 1e6,
        "peak_memory_mb": timing.peak_memory_bytes / 1e6 if known else None,
        "memory_over_baseline_mb": timing.added_memory_bytes / 1e6 if known else None,
        "raw_samples_ms": [_ms(s.wall_ns) for s in timing.sessions],
        "raw_cpu_samples_ms": [_ms(s.cpu_ns) for s in timing.sessions] if timing.cpu else [],
    }


def _ms(times: tuple[int, ...]) -> list[float]:
    return [t / 1e6 for t in times]


def _breakdown(breakdown: BreakdownView) -> dict[str, Any]:
    return {
        "time_kind": str(breakdown.time_kind),
        "total_ms": breakdown.total_ns / 1e6,
        "categories": None if breakdown.by_kind else {p.key: _part(p) for p in breakdown.parts},
        "kinds": {p.key: _part(p) for p in breakdown.kinds},
        "modules": {
            m.path: {"ms": m.ns / 1e6, "share": m.share, "operators": m.operators}
            for m in breakdown.modules
        },
        "attributed_share": breakdown.attributed_share,
        "coverage": breakdown.attributed_share,  # its former name, for one more release
        "operator_share": breakdown.operator_share,
        "profiler_overhead": breakdown.profiler_overhead,
        "profiler_cost": _profiler_cost(breakdown),
    }


def _profiler_cost(breakdown: BreakdownView) -> dict[str, float | None] | None:
    excess = breakdown.excess
    if excess is None:
        return None
    return {
        "operator_ns": excess.ns,
        "low_ns": excess.low,
        "high_ns": excess.high,
        "inference_ns": excess.whole_ns,
        "subtracted_ms": breakdown.subtracted_ns / 1e6,
    }


def _pipeline(case: CaseView) -> dict[str, Any] | None:
    record, found = case.case.stages, stages_view(case)
    if record is None:
        return None
    if found is None:
        return {"unavailable": record.unavailable}
    return {
        "p50_ms": found.p50 / 1e6,
        "interval": _interval(found.interval),
        "usual_ms": found.ns / 1e6,
        "p50_without_clocks_ms": found.plain_p50 / 1e6,
        "passes": found.passes,
        "engine_share": found.inference.share,
        "engine_share_by_session": list(found.shares),
        "stages": {
            part.key: {
                "p50_ms": part.p50 / 1e6,
                "interval": _interval(part.interval),
                "usual_ms": part.ns / 1e6,
                "share": part.share,
            }
            for part in found.parts
        },
        "program": record.program,
        "picture": record.picture,
        "batch": record.batch,
        "post_processing": record.finish or None,
        "answers": encode(record.said),
        "answers_agree": record.agrees,
        "difference": record.difference,
        "unavailable": None,
    }


def _first_run(case: CaseView) -> dict[str, Any] | None:
    found = first_run_view(case)
    if found is None:
        return None
    return {
        "warm": _kind(found.warm),
        "cold": _kind(found.cold) if found.cold else None,
        "cold_unavailable": found.record.no_cold or None,
        "reading": _known(found.reading),
        "parts": {key: _known(part) for key, part in found.parts.items()},
        "longest": found.longest or None,
        "first_to_steady": found.first_to_steady,
        "size_mb": found.record.size_bytes / 1e6,
        "starts": encode(found.record.starts),
    }


def _kind(kind: KindView) -> dict[str, Any]:
    return {
        "starts": kind.count,
        "import": _known(kind.imported),
        "load": _known(kind.load),
        "first_inference": _known(kind.first),
        "second_inference": _known(kind.second),
        "load_and_first_inference": _known(kind.answered),
    }


def _known(known: Known | None) -> dict[str, Any] | None:
    if known is None:
        return None
    return {"p50_ms": known.p50 / 1e6, "interval": _interval(known.interval)}


def _interval(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    return {
        "low_ms": interval.low / 1e6,
        "high_ms": interval.high / 1e6,
        "level": interval.level,
        "scope": "within this run",
    }


def _part(part: Part) -> dict[str, float]:
    shares = {} if part.as_profiled is None else {"as_profiled_share": part.as_profiled}
    return {"ms": part.ns / 1e6, "share": part.share, **shares}


def _comparison(comparison: ComparisonView) -> dict[str, Any]:
    decided = comparison.estimate
    return {
        "a": comparison.a.slug,
        "b": comparison.b.slug,
        "verdict": decided.verdict if decided else None,
        "problem": comparison.problem or None,
        "clock": comparison.choice.clock,
        "clock_reason": comparison.choice.reason,
        "estimate": _estimate(decided),
        "wall": _estimate(comparison.other or decided),
        "reliability": _verdict(comparison.reliability),
        "summary": prose.comparison(comparison),
    }


def _ranking(ranked: Ranking) -> dict[str, Any]:
    return {
        "precision": ranked.precision,
        "clock": ranked.clock,
        "level": ranked.level,
        "winner": ranked.winner.slug if ranked.winner else None,
        "cases": [
            {
                "slug": r.case.slug,
                "to_the_first": _estimate(r.estimate),
                "reliability": _verdict(r.reliability),
            }
            for r in ranked.cases
        ],
        "summary": prose.ranking(ranked),
    }


def _energy(found: EnergyView) -> dict[str, Any]:
    return {
        "meter": encode(found.meter),
        "method": ENERGY_METHOD,
        "kind": "measured",
        "problem": found.problem or None,
        "remedy": found.remedy or None,
        "rest_before_w": found.rest_before_w,
        "rest_after_w": found.rest_after_w,
        "update_s": found.update_s,
        "step_w": found.step_w,
        "block_s": found.block_s,
        "cases": [
            {
                "slug": one.case.slug,
                "energy_mj": _millijoules(one.joules),
                "below_mj": None if one.below_j is None else one.below_j * 1e3,
                "power_w": one.power_w,
                "rest_w": one.rest_w,
                "blocks": one.blocks,
                "reason": one.reason or None,
            }
            for one in found.cases
        ],
        "pairs": [
            {
                "a": pair.a.slug,
                "b": pair.b.slug,
                "ratio": dataclasses.asdict(pair.ratio),
                "difference_mj": _millijoules(pair.difference_j),
                "verdict": pair.verdict,
            }
            for pair in found.pairs
        ],
    }


def _millijoules(joules: Mean | None) -> dict[str, Any] | None:
    if joules is None:
        return None
    ends = {name: getattr(joules, name) * 1e3 for name in ("value", "low", "high")}
    return {**ends, "level": joules.level, "blocks": joules.count}


def _difference(difference: Difference) -> dict[str, Any]:
    *parts, total = (
        {"part": row.title, "a_ms": row.a_ns / 1e6, "b_ms": row.b_ns / 1e6, "change": row.change}
        for row in difference.rows
    )
    return {
        "a": difference.a.slug,
        "b": difference.b.slug,
        "paired": difference.paired,
        "parts": parts,
        "total": total,
    }


def _verdict(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "verdict": str(verdict.grade),
        "signals": [
            {
                "code": s.code,
                "verdict": str(s.grade) if s.checked else None,
                "value": s.value,
                "doubtful_from": s.warn,
                "unreliable_above": s.bad,
            }
            for s in verdict.signals
        ],
    }


def _estimate(estimate: RatioEstimate | None) -> dict[str, Any] | None:
    return None if estimate is None else dataclasses.asdict(estimate)
