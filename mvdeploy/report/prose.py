"""The sentences of a report that are not in a table."""

from __future__ import annotations

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.engine_differences import EngineDifference, ModuleDifference
from mvdeploy.analysis.ratios import CLOCK_NAMES, ComparisonView, interval_text, ratio_text
from mvdeploy.analysis.view import View
from mvdeploy.records import Level
from mvdeploy.report.tables.engines import module_title
from mvdeploy.report.tables.table import tagged
from mvdeploy.stats.paired import METHOD as RATIO_METHOD
from mvdeploy.stats.percentiles import METHOD as PERCENTILE_METHOD
from mvdeploy.stats.summary import DDOF
from mvdeploy.text_format import (
    clean,
    count,
    join,
    milliseconds,
    percent,
    reading,
    signed_milliseconds,
    signed_percent,
)

_NAMED = 2
"""Modules that a sentence on two engines names on each side."""


def summary(view: View) -> tuple[str, ...]:
    """Say what was measured, on what, and what came out."""
    ratios, headlines = _ratios(view), _headlines(view)
    # What was asked for comes first.
    found = (*ratios, *headlines) if view.run.plan.pairs_only else (*headlines, *ratios)
    return (_setting(view), *found, *engines(view), *verdicts(view), *_standing(view))


def _setting(view: View) -> str:
    run, device = view.run, view.run.device
    cpu = device.identity.get("cpu")
    where = clean(device.profile.title) + (f" ({reading(cpu)})" if cpu else "")
    emulated = ", an emulated device" if device.emulated else ""
    engines = dict.fromkeys(clean(case.case.engine) for case in view.measured)
    engine = f" with {join(list(engines))}" if engines else ""
    done = f"{len(view.measured)} of {count(len(view.cases), 'case')}"
    if len(view.measured) == len(view.cases):
        done = count(len(view.cases), "case")
    verb = "was" if len(view.measured) == 1 and len(view.cases) == 1 else "were"
    return (
        f"{done} {verb} measured{engine} ({count(run.plan.threads, 'inference thread')}) on "
        f"{where}{emulated}."
    )


def _headlines(view: View) -> tuple[str, ...]:
    said = [_headline(view, case) for case in view.measured]
    kind = " in turns" if any(c.timing and c.timing.in_turns for c in view.measured) else ""
    return (f"Median latency{kind} (p50): {'; '.join(said)}.",) if said else ()


def _headline(view: View, case: CaseView) -> str:
    if case.timing is None:
        return ""
    interval = case.timing.interval
    width = f" ± {percent(interval.half_width_relative, 2)} within this run" if interval else ""
    return f"{tagged(view, case)} {milliseconds(case.timing.wall.p50)} ms{width}"


def _ratios(view: View) -> tuple[str, ...]:
    return tuple(comparison.sentence for comparison in view.comparisons)


def clocks(view: View) -> tuple[str, ...]:
    """Say of every ratio which clock decided, why, and what the other one says."""
    return tuple(_clocks(c) for c in view.comparisons if c.estimate)


def _clocks(comparison: ComparisonView) -> str:
    choice, other = comparison.choice, comparison.other
    said = f"{CLOCK_NAMES[choice.clock]} decides, because {choice.reason}"
    said = said[0].upper() + said[1:]
    if other is None:
        return f"{said}."
    return f"{said}; by {CLOCK_NAMES[other.clock]}: {ratio_text(other)} ({interval_text(other)})."


def verdicts(view: View) -> tuple[str, ...]:
    """Say of every latency and every ratio whether it can be relied on."""
    said = [f"{name}: {verdict.grade}" for name, verdict in view.verdicts]
    return (f"Can it be relied on? {'; '.join(said)}.",) if said else ()


def _standing(view: View) -> tuple[str, ...]:
    grave = {level: sum(f.level is level for f in view.findings) for level in Level}
    said = [
        count(grave[level], noun)
        for level, noun in ((Level.ERROR, "grave finding"), (Level.WARNING, "warning"))
        if grave[level]
    ]
    if not said:
        return ()
    return (f"Read before using these numbers: {join(said)} under Findings.",)


def attribution(view: View, case: CaseView) -> str:
    """Say how much of a case's latency is accounted for, on one line."""
    name = f"{case.key}: {case.title}" if len(view.cases) > 1 else case.title
    if case.shares is None:
        return f"{name}: no breakdown."
    shares = case.shares
    return (
        f"{name}: {100 * shares.coverage:.2f} % attributed, "
        f"sum of operators ÷ latency {shares.operator_share:.2f}, profiler overhead "
        f"{signed_percent(shares.profiler_overhead, 0)} ({shares.time_kind})"
    )


def engines(view: View) -> tuple[str, ...]:
    """Say where one engine loses most against another, and where it gains most."""
    return tuple(_engines(pair) for pair in view.engines)


def _engines(pair: EngineDifference) -> str:
    a, b = pair.parts.a, pair.parts.b
    said = [
        f"{verb} most in {', '.join(f'{module_title(m)} ({_change(m)})' for m in found[:_NAMED])}"
        for verb, found in (("loses", pair.losses), ("gains", pair.gains))
        if found
    ]
    return f"{b.case.engine} against {a.case.engine} on {a.case.label}: {join(said)}."


def _change(module: ModuleDifference) -> str:
    return f"{signed_milliseconds(module.change_ns)} ms"


def reconciliation(view: View) -> tuple[str, ...]:
    """Say for every profiled case how the operator times meet the latency."""
    return tuple(
        f"{tagged(view, case)}: {case.shares.reconciliation}."
        for case in view.profiled
        if case.shares
    )


def missing(view: View) -> tuple[str, ...]:
    """Say why cases have no latency."""
    return tuple(
        f"{tagged(view, case)} has no latency: {case.reason} {case.remedy}".strip()
        for case in view.cases
        if not case.timing
    )


def how_to_read() -> tuple[tuple[str, str], ...]:
    """Explain the terms and methods: pairs of a term and what it means."""
    return (
        (
            "Latency",
            "Wall time of one inference on a warm session: the input is in memory, the output is "
            "read. No sample is left out. p50 is the median.",
        ),
        ("Percentiles", f"By {PERCENTILE_METHOD}."),
        ("Standard deviation", f"Of single samples, divided by n − {DDOF}."),
        (
            "95 % interval of p50",
            "A t interval on the logarithms of block medians: how far the median wandered within "
            "this run. It does not promise that another run gives the same; only paired ratios "
            "judge differences.",
        ),
        (
            "Verdict",
            "Reliable, doubtful or unreliable, by the gravest of these signs: time lost to other "
            "programs, drift of the median between the halves of the run, time that a hypervisor "
            "took, drift of the anchor, a changed clock limit or thermal status, and an interval "
            "that stayed wider than its target. What could not be read is named under Findings.",
        ),
        (
            "Paired ratio",
            f"Two cases took turns, inference by inference, in random order: {RATIO_METHOD}. From "
            "4 groups on, the interval is a t interval over groups. A case is called faster or "
            "slower when the interval leaves out 1.",
        ),
        (
            "Categories",
            "Declared where the network's modules are defined, never guessed from operator names. "
            "LayerNorm and residual additions belong to the attention or FFN they serve. Pre- and "
            "post-processing holds pooling and classifier, and a patch embedding where there is "
            "one.",
        ),
        (
            "Unattributed",
            "Unplaced operators could not be traced to a module, such as copies that the engine "
            "added. Outside operators is the latency no operator accounts for: the engine "
            "between operators, and what its profiler does not see. Categories and unattributed "
            "time always add up to the latency.",
        ),
        (
            "Operator times",
            "Medians over profiled inferences in a session of their own, scaled to the latency "
            "without the profiler. 'Sum of operators ÷ latency' and 'profiled ÷ plain' show how "
            "far the profiler changed what it watched.",
        ),
        (
            "measured, estimated",
            "Measured times were taken by the engine while it ran; estimated times are the "
            "engine's own prediction and can differ.",
        ),
        (
            "Load and first inference",
            "Load is from the file to a session that can run; the first inference includes what "
            "the engine sets up late. Both are from a process of their own.",
        ),
    )
