"""Findings that follow from the samples, made when the report is made.

A finding that the run itself recorded is not made again.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence

from mvdeploy.analysis import stages
from mvdeploy.analysis.cases import CaseView, cpu_complete, devices_of
from mvdeploy.analysis.comparability import browser_of
from mvdeploy.analysis.unfinished import unfinished
from mvdeploy.records import (
    UNAVAILABLE,
    Finding,
    Level,
    Parity,
    Preprocessing,
    Run,
    Samples,
    same_release,
)
from mvdeploy.stats.paired import cpu_times_complete
from mvdeploy.stats.reliability import (
    MORE_THREADS,
    NONE_FREE,
    Grade,
    Verdict,
    more_threads_than_cores,
    more_threads_than_free_cores,
)
from mvdeploy.text_format import join

Values = dict[str, str | int | float]

_LEVELS = {Grade.DOUBTFUL: Level.WARNING, Grade.UNRELIABLE: Level.ERROR}
_UNPLACED = 0.01
_NO_TURNS = Samples()
_EXCEEDS = 1.02


def case_findings(case: CaseView, turns: Samples = _NO_TURNS) -> tuple[Finding, ...]:
    """Return what is to be known of one case: recorded findings first, then derived ones.

    Args:
        case: the case.
        turns: its inferences in turns with another.
    """
    measurement, trace = case.case.measurement, case.case.trace
    recorded = [
        *(measurement.findings if measurement else ()),
        *(trace.findings if trace else ()),
    ]
    derived = itertools.chain(
        views_disagree(case, turns),
        itertools.chain.from_iterable(derive(case) for derive in _DERIVED),
        stages.findings(case),
    )
    return _without_repeats(recorded, derived)


def verdict_findings(verdict: Verdict) -> Iterator[Finding]:
    """Give what a verdict found, with what it could not look for as one note."""
    for signal in verdict.reasons:
        yield Finding(signal.code, _LEVELS[signal.grade], signal.values)
    if verdict.unchecked:
        names = [_SIGNALS.get(code, code) for code in verdict.unchecked]
        yield Finding("unchecked", Level.NOTE, {"signals": join(names)})


_SIGNALS = {
    "preempted": "time lost to other programs",
    "preempted_samples": "inferences that lost the processor",
    "drift": "drift of the median",
    "steal": "time that a hypervisor took",
    "anchor": "drift of the anchor",
    "throttled": "changes of clock limits and heat",
}


def run_findings(
    run: Run, cases: Sequence[CaseView], compared: int, *, metered: bool = False
) -> tuple[Finding, ...]:
    """Return what is to be known of the run as a whole: recorded first, then derived.

    Args:
        run: the run.
        cases: all of its cases.
        compared: number of comparisons.
        metered: whether it is known what a meter told.
    """
    derived = (
        *_derived_of_run(run, cases, compared),
        *unfinished(run.plan, cases, metered=metered),
    )
    return _without_repeats(run.findings, derived)


def _without_repeats(
    recorded: Iterable[Finding], derived: Iterable[Finding]
) -> tuple[Finding, ...]:
    kept = list(recorded)
    codes = {finding.code for finding in kept}
    return (*kept, *(finding for finding in derived if finding.code not in codes))


def _derived_of_run(run: Run, cases: Sequence[CaseView], compared: int) -> Iterator[Finding]:
    for device in devices_of(run, cases):
        if device.emulated:
            yield Finding("emulated", Level.WARNING, {"device": device.profile.title})
    saved = {c.case.slug for c in cases}
    waiting = [c.name for c in cases if not (c.case.measurement or c.case.failure)]
    waiting += [slug for slug in run.cases if slug not in saved]
    if waiting:
        yield Finding("interrupted", Level.WARNING, {"cases": ", ".join(waiting)})
    if any(case.timing and case.timing.in_turns for case in cases):
        yield Finding("latency_in_turns", Level.NOTE)
    if sum(case.timing is not None for case in cases) > 1 and not compared:
        several = len(devices_of(run, cases)) > 1
        reason = "the devices differ" if several else "the run holds no paired samples"
        yield Finding("not_interleaved", Level.WARNING, {"reason": reason})


def _parity(case: CaseView) -> Iterator[Finding]:
    parity = case.case.parity
    yield from _failed_parity("parity_failed", parity)
    if parity is not None and len(parity.inputs) > 1 and parity.blind:
        yield Finding("blind_parity", Level.WARNING, {"spread": parity.output_spread or 0.0})
    if parity is not None and parity.losses:
        loss = parity.losses[0]
        module = loss.module or "the network itself"
        lost: Values = {"module": module, "operator": loss.operator, "input": loss.input}
        yield Finding("loses_digits", Level.NOTE, {**lost, "times": parity.ratio or 0.0})


def _device_parity(case: CaseView) -> Iterator[Finding]:
    yield from _failed_parity("device_parity_failed", case.case.device_parity)


def _failed_parity(code: str, parity: Parity | None) -> Iterator[Finding]:
    if parity is not None and parity.inputs and not parity.passed:
        worst = parity.worst
        values: Values = {"max_abs": worst.max_abs, "demand": parity.demand, "input": worst.name}
        yield Finding(code, Level.ERROR, values)


def _ended_early(case: CaseView) -> Iterator[Finding]:
    if case.timing and case.case.failure:
        yield Finding("ended_early", Level.ERROR, {"reason": case.case.failure.message})


def _versions(case: CaseView) -> Iterator[Finding]:
    """Tell of an engine that was measured in another version than the file was made for."""
    measurement, artifact, parity = case.case.measurement, case.case.artifact, case.case.parity
    there = str(measurement.conditions.get("engine_version", UNAVAILABLE)) if measurement else ""
    if there in ("", UNAVAILABLE):
        return
    engine = case.case.engine
    made = artifact.versions.get(engine, "") if artifact and not artifact.read_from else ""
    name, _, checked = parity.engine.partition(" ") if parity else ("", "", "")
    here = {"exported": made, "verified": checked if name == engine else ""}
    differing = {what: v for what, v in here.items() if v and not same_release(v, there)}
    if differing:
        told = join([f"{what} with {version}" for what, version in differing.items()])
        values: Values = {"engine": engine, "here": told, "there": there}
        yield Finding("engine_versions_differ", Level.WARNING, values)


def _weights(case: CaseView) -> Iterator[Finding]:
    artifact = case.case.artifact
    if artifact and artifact.spec.weights is None and artifact.spec.seed is not None:
        yield Finding("random_weights", Level.NOTE, {"seed": artifact.spec.seed})


def _scales(case: CaseView) -> Iterator[Finding]:
    quantized = case.case.artifact.quantized if case.case.artifact is not None else None
    given = quantized.calibration if quantized is not None else None
    if given is not None and given.provisional:
        yield Finding("provisional_scales", Level.NOTE, {"images": given.images})


def _foreign(case: CaseView) -> Iterator[Finding]:
    artifact = case.case.artifact
    if artifact and not all(module.declared for module in artifact.modules.values()):
        yield Finding("categories_by_table", Level.NOTE)


def _of_others(case: CaseView) -> Iterator[Finding]:
    """Say what is not known of a file that others exported, and what was taken for it."""
    artifact = case.case.artifact
    if artifact is None or not artifact.read_from:
        return
    spec = artifact.spec
    if not spec.model:
        types = {tensor.dtype for tensor in artifact.inputs if tensor.is_image}
        fed = "as RGB of 8 bits" if types == {"uint8"} else "as RGB in 0 to 1"
        fed = f"as those of {artifact.fed_as} are" if artifact.fed_as else fed
        yield Finding("unknown_network", Level.NOTE)
        size = artifact.spec.image_size
        plain = artifact.preprocessing == Preprocessing(size, size)
        if types and (plain or artifact.fed_as):
            yield Finding("unknown_images", Level.NOTE, {"fed": fed})
    free = [
        f"'{taken.name}' ({_times(taken.shape)}) as {_times(given.shape)}"
        for taken, given in zip(artifact.inputs, spec.inputs, strict=False)
        if any(isinstance(size, str) for size in taken.shape)
    ]
    if free:
        yield Finding("free_dimensions", Level.NOTE, {"inputs": join(free)})
    seeded = [
        f"'{tensor.name}' from {tensor.values[0]:g} to {tensor.values[1]:g}"
        for tensor in spec.inputs
        if tensor.values is not None
    ]
    if seeded:
        yield Finding("seeded_inputs", Level.NOTE, {"inputs": join(seeded)})
    if not artifact.modules:
        yield Finding("unknown_modules", Level.NOTE)
    elif case.breakdown is not None:
        placed = [o.row.ns for o in case.breakdown.operators if o.row.modules]
        whole = sum(operator.row.ns for operator in case.breakdown.operators) or 1.0
        values: Values = {"source": artifact.read_from, "percent": 100 * sum(placed) / whole}
        yield Finding("modules_read", Level.NOTE, values)


def _times(shape: Iterable[int | str]) -> str:
    return "×".join(map(str, shape)) or "a single number"


def _few_samples(case: CaseView) -> Iterator[Finding]:
    wall = case.timing.wall if case.timing else None
    if wall and (names := wall.too_few_for):
        values: Values = {"count": wall.count, "percentiles": join(names)}
        yield Finding("few_samples", Level.NOTE, values)


def _threads(case: CaseView) -> Iterator[Finding]:
    """Tell of more threads than cores, or than cores that are free, unless the verdict does."""
    measurement = case.case.measurement
    told = {signal.code for signal in case.verdict.reasons} if case.verdict else set()
    if measurement is None or not told.isdisjoint((MORE_THREADS, NONE_FREE)):
        return
    if values := more_threads_than_cores(measurement):
        yield Finding(MORE_THREADS, Level.WARNING, values)
    elif values := more_threads_than_free_cores(measurement):
        yield Finding(NONE_FREE, Level.WARNING, values)


def _environment(case: CaseView) -> Iterator[Finding]:
    measurement = case.case.measurement
    chosen = measurement.before.readings.get("environment") if measurement else None
    if isinstance(chosen, tuple):
        yield Finding("environment", Level.NOTE, {"variables": join(chosen)})


_TIER_UP, _STEADY, _STRETCH = 2.0, 1.25, 3
"""The first inference is told that takes so many times as long as a steady one; steady is where the
median of a few inferences is below so many times that of all that follow the warm-up."""


def _tier_up(case: CaseView) -> Iterator[Finding]:
    """Tell after how many inferences a browser had compiled what it runs."""
    measurement = case.case.measurement
    if measurement is None or not browser_of(case.device) or not measurement.steady.wall_ns:
        return
    if "adapter" in measurement.conditions:
        return  # a GPU does the work
    # CPU times, where they hold the work: what other programs take looks the same by wall time.
    by_cpu = cpu_complete(case.case) and cpu_times_complete(measurement.steady)
    starts = [
        times
        for session in measurement.sessions
        if (
            times := [
                time
                for samples in (session.first, session.warmup)
                for time in (samples.cpu_ns if by_cpu else samples.wall_ns)
            ]
        )
    ]
    steady = statistics.median(measurement.steady.cpu_ns if by_cpu else measurement.steady.wall_ns)
    if not starts or not steady:
        return
    factor = statistics.median(times[0] / steady for times in starts)
    if factor >= _TIER_UP:
        count = statistics.median_high(_until_steady(times, _STEADY * steady) for times in starts)
        clock = "CPU time" if by_cpu else "wall time"
        yield Finding("tier_up", Level.NOTE, {"times": factor, "count": count, "clock": clock})


def _until_steady(times: Sequence[int], limit: float) -> int:
    """Return how many inferences come before the first few that are below a limit."""
    for start in range(1, len(times)):
        if statistics.median(times[start : start + _STRETCH]) <= limit:
            return start
    return len(times)


def _rounds_otherwise(case: CaseView) -> Iterator[Finding]:
    """Tell of a page that computes other numbers than the engine here does, where it rounds."""
    export, device, artifact = case.case.parity, case.case.device_parity, case.case.artifact
    if export is None or device is None or artifact is None or not browser_of(case.device):
        return
    if artifact.precision == "fp32":
        return
    for page in device.inputs:
        for one in export.inputs:
            # What rounding costs PyTorch is the same to the last digit on the same input only.
            alike = page.rounding_db is not None and page.rounding_db == one.rounding_db
            if not alike or page.max_abs == one.max_abs:
                continue
            if page.snr_db is not None and one.snr_db is not None:
                values: Values = {"engine": export.engine, "precision": artifact.precision}
                found = {"here": page.snr_db, "there": one.snr_db}
                yield Finding("rounds_otherwise", Level.NOTE, {**values, **found})
                return


def _reliability(case: CaseView) -> Iterator[Finding]:
    if case.verdict:
        yield from verdict_findings(case.verdict)


_VIEWS_NEED = 20
_VIEWS_APART = {"CPU time": 1.5, "wall time": 3.0}
"""Factor by which the medians of a case alone and in turns may differ. Of 22 cases in runs with
20 samples of each or more, taken on a shared machine of 2 cores while other programs ran on it, CPU
times were 0.93 to 1.18 times as long in turns, wall times 0.92 to 1.89. With 3 to 19 samples of one
it was down to 0.55 and 0.50, which is why so few are not held against each other."""


def views_disagree(case: CaseView, turns: Samples) -> Iterator[Finding]:
    """Hold the times of a case in its blocks against those in turns, by the steadier clock.

    Args:
        case: with samples of its own.
        turns: its inferences in turns.
    """
    timing = case.timing
    if timing is None or timing.in_turns:
        return
    alone = sum(timing.sessions, Samples())
    if min(len(alone), len(turns)) < _VIEWS_NEED:
        return
    by_cpu = timing.cpu is not None and cpu_times_complete(turns)
    clock = "CPU time" if by_cpu else "wall time"
    one, other = (
        statistics.median(samples.cpu_ns if by_cpu else samples.wall_ns)
        for samples in (alone, turns)
    )
    if max(one, other) > _VIEWS_APART[clock] * min(one, other):
        values: Values = {"alone": one / 1e6, "turns": other / 1e6, "clock": clock}
        yield Finding("views_disagree", Level.ERROR, values)


def _breakdown(case: CaseView) -> Iterator[Finding]:
    breakdown = case.breakdown
    if breakdown is None:
        return
    rows = [operator.row for operator in breakdown.operators]
    operators = sum(row.ns for row in rows) or 1.0
    fused = [row.ns for row in rows if len(row.modules) > 1]
    artifact = case.case.artifact
    without = artifact is not None and bool(artifact.read_from) and not artifact.categories
    unplaced = [row.ns for row in rows if row.category is None and not without]
    if fused:
        share = 100 * sum(fused) / operators
        values: Values = {"percent": share, "count": len(fused)}
        yield Finding("fused_across_modules", Level.NOTE, values)
    if unplaced:
        share = sum(unplaced) / operators
        level = Level.WARNING if share > _UNPLACED else Level.NOTE
        yield Finding("unplaced_operators", level, {"percent": 100 * share, "count": len(unplaced)})
    if breakdown.operator_share > _EXCEEDS:
        excess: Values = {"percent": 100 * (breakdown.operator_share - 1)}
        yield Finding("operators_exceed_latency", Level.WARNING, excess)


_DERIVED: tuple[Callable[[CaseView], Iterator[Finding]], ...] = (
    _ended_early,
    _parity,
    _device_parity,
    _reliability,
    _few_samples,
    _threads,
    _environment,
    _tier_up,
    _rounds_otherwise,
    _versions,
    _breakdown,
    _weights,
    _scales,
    _foreign,
    _of_others,
)
