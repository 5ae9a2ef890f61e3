"""The sentences of a report that are not in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from mvdeploy.analysis.breakdown_view import BreakdownView
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.energy import CaseEnergy, EnergyPair
from mvdeploy.analysis.engine_differences import EngineDifference, ModuleDifference
from mvdeploy.analysis.rankings import Ranking
from mvdeploy.analysis.ratios import CLOCK_NAMES, ComparisonView
from mvdeploy.analysis.rooflines import Roofline
from mvdeploy.analysis.view import OutputsView, View
from mvdeploy.records import Device, Level
from mvdeploy.report import first_run, stages, sustained
from mvdeploy.report.tables import energy as energy_tables
from mvdeploy.report.tables.engines import module_title
from mvdeploy.report.tables.table import tagged
from mvdeploy.report.wording import NAMED, called, interval_text, ratio_text
from mvdeploy.stats.paired import METHOD as RATIO_METHOD
from mvdeploy.stats.paired import RatioEstimate
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

Naming = Callable[[CaseView], str]
"""Returns what a case is called in a sentence."""

_MODULES = 2
"""Modules that a sentence on two engines names on each side."""

_MEDIANS = 8
"""Cases whose medians are listed; of more, the fastest and the slowest are, and a table has all."""

_DIFFERENCES = 4
"""Sentences on what engines differ in; tables have all."""

_SENTENCES = 10
"""Sentences of a summary; of outputs and engines as many are said as have room among them."""

_COMPARED = 3
"""Comparisons that are said one by one; of more, there is a sentence on each reference."""

_LISTED = 4
"""Verdicts that are listed one by one when they are all the same."""


def summary(view: View) -> tuple[str, ...]:
    """Say what was measured, on what, and what came out."""
    if view.run.plan.sustained_s:
        return (_setting(view), *sustained.sentences(view), *missing(view), *_standing(view))
    ratios, headlines = (*rankings(view), *compared(view)), _headlines(view)
    # What was asked for comes first.
    results = (*ratios, *headlines) if view.run.plan.pairs_only else (*headlines, *ratios)
    results = (*results, *energy(view)[:1], *stages.sentences(view), *first_run.sentences(view))
    judged = (*verdicts(view), *_standing(view))
    room = max(0, _SENTENCES - 1 - len(results) - len(judged))
    more = (*outputs(view)[:_DIFFERENCES], *engines(view)[:_DIFFERENCES])[:room]
    return (_setting(view), *results, *more, *judged)


def circumstances(view: View) -> tuple[str, ...]:
    """Say what was measured, on what, and what to read first; what came out is said elsewhere."""
    around = (*energy(view)[:1], *stages.sentences(view), *first_run.sentences(view))
    load = (*sustained.sentences(view), *missing(view)) if view.run.plan.sustained_s else ()
    return (
        _setting(view),
        *load,
        *around,
        *outputs(view)[:_DIFFERENCES],
        *_standing(view),
    )


def _setting(view: View) -> str:
    where = join([_device(device) for device in view.devices])
    measured = view.measured or tuple(found.case for found in view.sustained)
    engines = dict.fromkeys(case.engine for case in measured)
    engine = f" with {join(list(engines))}" if engines else ""
    done = f"{len(measured)} of {count(len(view.cases), 'case')}"
    if len(measured) == len(view.cases):
        done = count(len(view.cases), "case")
    verb = "was" if len(measured) == 1 and len(view.cases) == 1 else "were"
    threads = f"{join([str(number) for number in view.threads])} inference thread"
    threads += "" if view.threads == (1,) else "s"
    return f"{done} {verb} measured{engine} ({threads}) on {where}."


def _device(device: Device) -> str:
    cpu = device.identity.get("cpu")
    title = clean(device.profile.title) + (f" ({reading(cpu)})" if cpu else "")
    return f"{title}, an emulated device" if device.emulated else title


def _headlines(view: View) -> tuple[str, ...]:
    cases = sorted(view.measured, key=lambda case: case.timing.wall.p50 if case.timing else 0)
    kind = " in turns" if any(case.timing and case.timing.in_turns for case in cases) else ""
    if len(cases) > _MEDIANS:
        fastest, slowest = (_headline(view, case) for case in (cases[0], cases[-1]))
        return (f"Median latency{kind} (p50): from {fastest} to {slowest}.",)
    medians = [_headline(view, case) for case in view.measured]
    return (f"Median latency{kind} (p50): {'; '.join(medians)}.",) if medians else ()


def _headline(view: View, case: CaseView) -> str:
    if case.timing is None:
        return ""
    interval = case.timing.interval
    width = f" ± {percent(interval.half_width_relative, 2)} within this run" if interval else ""
    return f"{tagged(view, case)} {milliseconds(case.timing.wall.p50)} ms{width}"


def comparisons(view: View) -> tuple[str, ...]:
    """Say of every comparison which case is faster, and how sure that is."""
    return tuple(comparison(compared, _naming(view)) for compared in view.comparisons)


def compared(view: View) -> tuple[str, ...]:
    """Say what was compared and is not ranked; of many, how they are to what they were held to."""
    ranked = {one.case.slug for ranking in view.rankings for one in ranking.cases}
    pairs = [c for c in view.comparisons if not {c.a.slug, c.b.slug} <= ranked]
    if len(pairs) <= _COMPARED:
        return tuple(comparison(pair, _naming(view)) for pair in pairs)
    groups: dict[str, list[ComparisonView]] = {}
    for pair in pairs:
        groups.setdefault(pair.a.slug, []).append(pair)
    said = [_group(group, _naming(view)) for group in groups.values()]
    if len(said) <= _COMPARED:
        return tuple(said)
    return (f"{counts(pairs)}: the table of paired ratios has all.",)


def _group(pairs: Sequence[ComparisonView], naming: Naming) -> str:
    """Say of cases that were held against the same one how they are to it."""
    if len(pairs) == 1:
        return comparison(pairs[0], naming)
    known = [(pair, pair.estimate) for pair in pairs if pair.estimate is not None]
    said = f"Against {naming(pairs[0].a)}: {counts(pairs)}"
    if known:
        best, estimate = min(known, key=lambda pair: pair[1].ratio)
        said += f"; least time: {naming(best.b)} ({evidence(estimate)})"
    return f"{said}. The table of paired ratios has all."


def counts(pairs: Sequence[ComparisonView]) -> str:
    """Say how many cases are faster and slower than what they were compared with."""
    verdicts = [pair.estimate.verdict if pair.estimate else "" for pair in pairs]
    said = [
        f"{verdicts.count(verdict)} {words}"
        for verdict, words in (
            ("faster", "faster"),
            ("slower", "slower"),
            ("no difference detected", "without a difference detected"),
            ("", "not compared"),
        )
        if verdict in verdicts
    ]
    return f"{', '.join(said)}, of {count(len(pairs), 'case')}"


def _naming(view: View) -> Naming:
    """Call many cases by their keys, which tables have beside the names."""
    return _key if len(view.cases) > NAMED else _name


def _name(case: CaseView) -> str:
    return case.name


def _key(case: CaseView) -> str:
    return case.key


def _engine(case: CaseView) -> str:
    return f"{case.engine} ({case.key})"


def comparison(compared: ComparisonView, naming: Naming = _name) -> str:
    """Say which of two cases is faster, and how sure that is."""
    if compared.estimate is None:
        a, b = naming(compared.a), naming(compared.b)
        return f"{b} and {a} cannot be compared: {compared.problem}."
    return f"{outcome(compared, compared.estimate, naming)} ({evidence(compared.estimate)})."


def outcome(compared: ComparisonView, estimate: RatioEstimate, naming: Naming = _name) -> str:
    """Say which of two cases is faster."""
    a, b = naming(compared.a), naming(compared.b)
    if estimate.verdict == "faster":
        return f"{b} is {times(1 / estimate.ratio)} as fast as {a}"
    if estimate.verdict == "slower":
        return f"{b} takes {times(estimate.ratio)} as long as {a}"
    return f"No difference detected between {b} and {a}"


def rankings(view: View) -> tuple[str, ...]:
    """Say of cases of several engines which is fastest, and how sure that is."""
    naming = _engine if len(view.cases) > NAMED else _name
    return tuple(ranking(ranked, naming) for ranked in view.rankings)


def ranking(ranked: Ranking, naming: Naming = _name) -> str:
    """Say which of several cases is fastest, or which ones it may be."""
    first, *others = ranked.cases
    precision = f" in {ranked.precision}" if ranked.precision else ""
    known = [r for r in others if r.estimate is not None]
    close = [r.case for r in known if r.estimate and r.estimate.verdict != "slower"]
    if close:
        names = ", ".join(map(naming, (first.case, *close)))
        return f"No difference detected{precision} between the fastest: {names}."
    if not known:
        return f"Which case is fastest{precision} cannot be told: there are too few rounds."
    said = [f"{naming(r.case)} takes {ratio_text(r.estimate)}×" for r in known if r.estimate]
    return f"Fastest{precision}: {naming(first.case)}; {', '.join(said)} as long."


def rooflines(view: View) -> tuple[str, ...]:
    """Say of every case how much it uses of what the cores can, where that was measured."""
    return tuple(map(_roofline, view.rooflines))


def _roofline(found: Roofline) -> str:
    cores = "one core" if found.threads == 1 else f"{found.threads} cores"
    return (
        f"{found.case.name} uses {percent(found.share, 0)} of what {cores} can in {found.numbers} "
        f"(estimated from MACs and a measured rate of {found.macs_per_s / 1e9:.1f} GMAC/s a core)."
    )


def evidence(estimate: RatioEstimate) -> str:
    """Return what a ratio is and how sure, as the inside of a bracket."""
    pairs = f" with {estimate.pairs:,} pairs" if estimate.pairs > estimate.groups else ""
    parts = [
        f"ratio {ratio_text(estimate)}",
        f"{estimate.level:.0%} interval {interval_text(estimate)}".replace("%", " %"),
        CLOCK_NAMES[estimate.clock],
        f"{estimate.groups} {'groups' if pairs else 'pairs of sessions'}{pairs}",
        f"detectable from {percent(estimate.detectable, 2)} on",
    ]
    if not estimate.between_groups:
        parts.append("too few groups: the interval counts only the spread within them")
    return ", ".join(parts)


def times(factor: float) -> str:
    """Return how many times as fast or as long."""
    return f"{factor:.2f}×" if factor >= 1.05 else f"{factor:.3f}×"


def outputs(view: View) -> tuple[str, ...]:
    """Say of every two files that are compared how far their outputs are apart."""
    return tuple(map(_outputs, view.outputs))


def _outputs(compared: OutputsView) -> str:
    a, b, found = compared.a.name, compared.b.name, compared.found
    if found.problem:
        return f"The outputs of {b} and {a} are not compared: {clean(found.problem)}."
    if all(one.identical for one in found.outputs):
        return f"The outputs of {b} are those of {a} to the last bit."
    worst = min(found.outputs, key=lambda one: math.inf if one.identical else one.snr_db or 0.0)
    name = f" in '{clean(worst.name)}'" if len(found.outputs) > 1 else ""
    how = f"{worst.max_abs:.2g}" if worst.max_abs is not None else "values that are no numbers"
    snr = "" if worst.snr_db is None else f" (SNR {worst.snr_db:.1f} dB)"
    shares = [one.same_largest for one in found.outputs if one.same_largest is not None]
    answer = ""
    if shares:
        same = "at the same place" if min(shares) == 1 else "NOT at the same place"
        answer = f"; the largest value of each row is {same}"
    return (
        f"On the same input, the outputs of {b} differ from those of {a} by up to {how}{name}"
        f"{snr}{answer}."
    )


def energy(view: View) -> tuple[str, ...]:
    """Say what an inference of each case takes, or why that is not known; nothing unasked."""
    found = view.energy
    if found is None:
        return ()
    if not found.known:
        why = found.problem or "no case has enough blocks that count."
        return (f"Energy per inference: unavailable. {why} {found.remedy}".strip(),)
    cases = found.cases
    if len(cases) > _MEDIANS:
        known = sorted(
            (one for one in cases if one.joules),
            key=lambda one: one.joules.value if one.joules else 0,
        )
        cases = (known[0], known[-1]) if len(known) > 1 else tuple(known)
    said = [_energy(view, one) for one in cases]
    kept = f" (of {len(found.cases)} cases)" if len(cases) < len(found.cases) else ""
    of = found.meter.of if found.meter else ""
    sentence = f"Energy per inference above the device at rest{kept}, of {of}: {'; '.join(said)}."
    return (sentence, *map(_energy_pair, found.pairs))


def _energy(view: View, one: CaseEnergy) -> str:
    shown = energy_tables.millijoules(one)
    if one.joules is None:
        return f"{tagged(view, one.case)} {shown}{' mJ' if one.below_j is not None else ''}"
    return f"{tagged(view, one.case)} {shown} mJ ({energy_tables.interval(one)})"


def _energy_pair(pair: EnergyPair) -> str:
    ratio, a, b = pair.ratio, pair.a.name, pair.b.name
    evidence = (
        f"ratio {ratio.value:.3f}, 95 % interval {ratio.low:.3f}–{ratio.high:.3f}, "
        f"{ratio.count} rounds of blocks"
    )
    if pair.verdict == "no difference detected":
        return f"No difference detected between the energies of {b} and {a} ({evidence})."
    return f"An inference of {b} takes {pair.verdict} than one of {a} ({evidence})."


def clocks(view: View) -> tuple[str, ...]:
    """Say of every ratio which clock decided, why, and what the other one says."""
    return tuple(_clocks(c) for c in view.comparisons if c.estimate)


def _clocks(compared: ComparisonView) -> str:
    choice, other = compared.choice, compared.other
    reason = f"{CLOCK_NAMES[choice.clock]} decides, because {choice.reason}"
    reason = reason[0].upper() + reason[1:]
    if other is None:
        return f"{reason}."
    return f"{reason}; by {CLOCK_NAMES[other.clock]}: {ratio_text(other)} ({interval_text(other)})."


def verdicts(view: View) -> tuple[str, ...]:
    """Say of every latency and every ratio whether it can be relied on."""
    grades = [f"{name}: {verdict.grade}" for name, verdict in view.verdicts]
    alike = {verdict.grade for _, verdict in view.verdicts}
    if len(grades) > _LISTED and len(alike) == 1:
        return (f"Can it be relied on? All {len(grades)} results are {alike.pop()}.",)
    if len(grades) > _MEDIANS:
        return (f"Can it be relied on? {_by_grade(view)}.",)
    return (f"Can it be relied on? {'; '.join(grades)}.",) if grades else ()


def _by_grade(view: View) -> str:
    """Return results with the grades that fewer of them have, and the number of the others."""
    named: dict[str, list[str]] = {}
    for name, verdict in view.verdicts:
        named.setdefault(str(verdict.grade), []).append(name)
    *few, (usual, others) = sorted(named.items(), key=lambda item: len(item[1]))
    listed = [f"{called(names, view.cases)}: {grade}" for grade, names in few]
    return "; ".join((*listed, f"the {len(others)} others: {usual}"))


def _standing(view: View) -> tuple[str, ...]:
    numbers = {level: sum(f.level is level for f in view.findings) for level in Level}
    counts = [
        count(numbers[level], noun)
        for level, noun in ((Level.ERROR, "grave finding"), (Level.WARNING, "warning"))
        if numbers[level]
    ]
    if not counts:
        return ()
    return (f"Read before using these numbers: {join(counts)} under Findings.",)


def attribution(view: View, case: CaseView) -> str:
    """Say how much of a case's latency is accounted for, on one line."""
    name = f"{case.key}: {case.title}" if len(view.cases) > 1 else case.title
    breakdown = case.breakdown
    if breakdown is None:
        return f"{name}: no breakdown."
    return (
        f"{name}: {100 * breakdown.attributed_share:.2f} % {_attributed(breakdown)}, "
        f"sum of operators ÷ latency {breakdown.operator_share:.2f}, profiler overhead "
        f"{signed_percent(breakdown.profiler_overhead, 0)} ({breakdown.time_kind})"
    )


def _attributed(breakdown: BreakdownView) -> str:
    return "attributed to modules" if breakdown.by_kind else "attributed"


def engines(view: View) -> tuple[str, ...]:
    """Say where one engine loses most against another, and where it gains most."""
    return tuple(_engines(pair) for pair in view.engines)


def _engines(pair: EngineDifference) -> str:
    a, b = pair.parts.a, pair.parts.b
    changes = [
        f"{verb} most in {', '.join(map(_change, modules[:_MODULES]))}"
        for verb, modules in (("loses", pair.losses), ("gains", pair.gains))
        if modules
    ]
    return f"{b.engine} against {a.engine} on {pair.network}: {join(changes)}."


def _change(module: ModuleDifference) -> str:
    return f"{module_title(module)} ({signed_milliseconds(module.change_ns)} ms)"


def reconciliation(view: View) -> tuple[str, ...]:
    """Say for every profiled case how the operator times meet the latency."""
    return tuple(
        f"{tagged(view, case)}: {_reconciliation(case.breakdown)}."
        for case in view.profiled
        if case.breakdown
    )


def _reconciliation(breakdown: BreakdownView) -> str:
    return (
        f"sum of operators ÷ latency = {breakdown.operator_share:.2f}, "
        f"profiled ÷ plain = {1 + breakdown.profiler_overhead:.2f}, "
        f"{100 * breakdown.attributed_share:.2f} % of operator time {_attributed(breakdown)}, "
        f"{breakdown.time_kind}{_added(breakdown)}"
    )


def _added(breakdown: BreakdownView) -> str:
    """Say what the profile has too much for each operator, or lacks, where that was measured."""
    excess = breakdown.excess
    if excess is None:
        return ""
    if not excess.subtracted_ns:
        return "; the profile has nothing too much for an operator, and lacks nothing"
    more = excess.ns > 0
    each, *ends = (f"{abs(ns) / 1e3:.2f}" for ns in (excess.ns, excess.low, excess.high))
    low, high = ends if more else reversed(ends)
    operators = count(len(breakdown.operators), "operator")
    total = f"{milliseconds(abs(breakdown.subtracted_ns))} ms in all"
    if more:
        return (
            f"; the profiler adds {each} µs ({low} to {high}) to each of {operators}, {total}, "
            "which is taken off"
        )
    return (
        f"; the profile lacks {each} µs ({low} to {high}) of each of {operators} (dispatch, and "
        f"what its clock cuts off), {total}, which is added"
    )


def missing(view: View) -> tuple[str, ...]:
    """Say why cases have no latency."""
    return tuple(
        f"{tagged(view, case)} has no latency: {case.reason} {case.remedy}".strip()
        for case in view.cases
        if not case.timing and not (case.case.sustained and case.case.sustained.intervals)
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
