"""`Roofline`: how much of a machine's measured rate a case uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mvdeploy.analysis.cases import CaseView
from mvdeploy.records import Plan
from mvdeploy.stats.reliability import threads_of


@dataclasses.dataclass(frozen=True)
class Roofline:
    """A case beside the rate of the cores that it runs on. An estimate.

    Attributes:
        case: the case.
        share: its multiply-accumulates, divided by its latency and by what as many cores as it has
            threads can do.
        macs_per_s: measured rate of one core.
        numbers: the type of numbers of that rate.
        threads: of the case.
    """

    case: CaseView
    share: float
    macs_per_s: float
    numbers: str
    threads: int


def rooflines(cases: Sequence[CaseView], plan: Plan) -> tuple[Roofline, ...]:
    """Return one for each case whose multiply-accumulates, precision and rate are known."""
    found = (_roofline(case, plan) for case in cases)
    return tuple(roofline for roofline in found if roofline is not None)


def _roofline(case: CaseView, plan: Plan) -> Roofline | None:
    artifact, timing = case.case.artifact, case.timing
    if case.case.emulated:
        return None  # it multiplies other numbers
    numbers = _numbers(case.precision)
    rate = case.device.identity.get(f"macs_per_s_{numbers}_1")
    if artifact is None or not artifact.macs or timing is None or not isinstance(rate, int | float):
        return None
    threads = threads_of(case.case.measurement, plan)
    # With one thread CPU time is what the core spent on it, whatever else it did.
    latency_ns = (timing.cpu or timing.wall).p50
    if latency_ns <= 0 or rate <= 0:
        return None
    share = artifact.macs / (latency_ns / 1e9) / (rate * threads)
    return Roofline(case, share, float(rate), numbers, threads)


def _numbers(precision: str) -> str:
    """Return the type of numbers in which a precision multiplies; empty where that differs."""
    if precision.startswith("int8"):
        return "int8"
    return precision if precision in ("fp32", "fp16", "bf16") else ""
