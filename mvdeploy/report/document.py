"""What a report says, in order, whatever it is written in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.view import View
from mvdeploy.records import Plan, Reading
from mvdeploy.report import first_run as first_run_prose
from mvdeploy.report import prose, sustained
from mvdeploy.report import stages as stages_prose
from mvdeploy.report.tables import (
    breakdown,
    conditions,
    energy,
    engines,
    first_run,
    latency,
    parity,
    precision,
    rankings,
    stages,
)
from mvdeploy.report.tables.table import SIDE_BY_SIDE, Table, facts_table
from mvdeploy.report.wording import FindingGroup, grouped
from mvdeploy.stats.paired import TARGETS
from mvdeploy.text_format import clean, elide, join, milliseconds, percent

T = TypeVar("T")

_PAIRS = 12
"""Tables of two cases beside each other that a report has of a kind."""

_PARTS_SAID, _NAME_WIDTH = 3, 60
"""Parts of a latency that are read out, and characters of a name."""


@dataclasses.dataclass(frozen=True)
class Paragraphs:
    """Plain sentences."""

    texts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Terms:
    """Terms and what they mean."""

    pairs: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was found, with remedies."""

    groups: tuple[FindingGroup, ...]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: of the file in `mvdeploy.report.figures` that draws it.
        title: what it shows.
        alt: what a reader who cannot see it should know.
    """

    name: str
    title: str
    alt: str


Block = Paragraphs | Terms | Findings | Picture | Table


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        anchor: its name in links.
        title: its heading.
        blocks: what it holds, in order.
    """

    anchor: str
    title: str
    blocks: tuple[Block, ...]


def title(view: View) -> str:
    """Return the title of a report."""
    names = [case.name for case in view.cases]
    where = join([device.profile.title for device in view.devices])
    if view.run.plan.pairs_only and len(names) == 2:
        return clean(f"{names[1]} compared with {names[0]} on {where}")
    if view.run.plan.sustained_s:
        what = " and ".join(names) if len(names) < 3 else f"{len(names)} cases"
        return clean(f"{what} under sustained load on {where}")
    what = " and ".join(names) if len(names) < 3 else f"{len(names)} cases"
    said = len(names) < 3 and all(c.device.profile.title in c.name for c in view.cases)
    return clean(f"Latency of {what}{'' if said else f' on {where}'}")


def about(view: View) -> str:
    """Return when, where and with what the report's numbers were taken, on one line."""
    run = view.run
    return clean(f"{run.created} · {run.name} · mvdeploy {run.mvdeploy}")


def sections(view: View) -> tuple[Section, ...]:
    """Return all parts of a report that have something to say."""
    all_parts = (
        Section("summary", "Summary", (Paragraphs(prose.summary(view)),)),
        Section("sustained", "Sustained load", tuple(_sustained(view))),
        Section("latency", "Latency", tuple(_latency(view))),
        Section(
            "findings",
            "Findings",
            (Findings(grouped(view.findings, view.cases)),) if view.findings else (),
        ),
        Section("pipeline", stages.TITLE, tuple(_pipeline(view))),
        Section("first-run", first_run.TITLE, tuple(_first_run(view))),
        Section("energy", "Energy", tuple(_energy(view))),
        Section("breakdown", "Where the time goes", tuple(_breakdown(view))),
        Section("operators", "Operators and modules", tuple(_operators(view))),
        Section("samples", "Samples over time", tuple(_samples(view))),
        Section(
            "parity",
            "Parity",
            (parity.parity(view), *((parity.outputs(view),) if view.outputs else ())),
        ),
        Section("conditions", "Conditions", tuple(_conditions(view))),
        Section("reading", "How to read this report", (Terms(prose.how_to_read()),)),
    )
    return tuple(section for section in all_parts if section.blocks)


def pictures(view: View) -> tuple[Picture, ...]:
    """Return all figures of a report, in order."""
    return tuple(b for s in sections(view) for b in s.blocks if isinstance(b, Picture))


def _sustained(view: View) -> Iterator[Block]:
    if not view.run.plan.sustained_s:
        return
    if view.sustained:
        yield Picture("sustained", sustained.TITLE, sustained.alt(view))
        yield sustained.levels(view)
    if any(found.shifts for found in view.sustained):
        yield sustained.changes(view)


def _latency(view: View) -> Iterator[Block]:
    if view.run.plan.sustained_s:
        return
    yield latency.latency(view)
    for ranked in view.rankings:
        yield rankings.ranking(view, ranked)
    if view.comparisons:
        yield latency.ratios(view)
    if precision.concerns(view):
        yield precision.precisions(view)
    if used := prose.rooflines(view):
        yield Paragraphs(used)
    if absent := prose.missing(view):
        yield Paragraphs(absent)
    if view.measured:
        yield _distribution(view)
        yield latency.more_latency(view)


def _pipeline(view: View) -> Iterator[Block]:
    if said := stages_prose.sentences(view):
        yield Paragraphs(said)
    tables = tuple(stages.stages(view))
    if tables:
        yield Picture("pipeline", stages.TITLE, f"Stacked bars, by stage. {' '.join(said)}")
    yield from tables


def _first_run(view: View) -> Iterator[Block]:
    if said := first_run_prose.sentences(view):
        yield Paragraphs(said)
    yield from first_run.first_runs(view)


def _energy(view: View) -> Iterator[Block]:
    if view.energy is None:
        return
    if view.energy.cases and view.energy.meter:
        yield energy.energies(view, view.energy)
    if view.energy.pairs:
        yield energy.pairs(view.energy)
    yield Paragraphs(prose.energy(view))


def _breakdown(view: View) -> Iterator[Block]:
    if view.run.plan.sustained_s:
        return
    if not view.profiled:
        yield Paragraphs(("No case has a breakdown: there is no profile.",))
        return
    if len(view.profiled) <= SIDE_BY_SIDE // 2:
        yield Paragraphs(prose.reconciliation(view))
    yield Picture("categories", breakdown.title(view), _categories_alt(view))
    yield from breakdown.categories(view)
    yield from breakdown.as_profiled(view)
    for pair in view.differences[:_PAIRS]:
        yield breakdown.difference(view, pair)
    yield from _further(len(view.differences), "report.json (--format json) has all")
    if len(view.profiled) > SIDE_BY_SIDE // 2:
        yield breakdown.reconciliation(view)


def _operators(view: View) -> Iterator[Block]:
    if not view.profiled:
        return
    if not view.by_kind:
        yield from breakdown.kinds(view)
    if any(case.breakdown and case.breakdown.modules for case in view.profiled):
        yield Picture(
            "modules",
            "Modules that take longest",
            "Horizontal bars of the time in the modules that take longest, for every case. The "
            "table of modules has the same values.",
        )
    yield from breakdown.modules(view)
    for pair in view.engines[:_PAIRS]:
        yield engines.engines(view, pair)
    yield from _further(len(view.engines), "report.html shows the modules of any two cases")
    for case in view.profiled:
        yield breakdown.operators(view, case)


def _further(pairs: int, where: str) -> Iterator[Block]:
    """Say that there are more pairs of cases than tables of them."""
    if pairs > _PAIRS:
        yield Paragraphs((f"The first {_PAIRS} of {pairs} pairs are shown; {where}.",))


def _samples(view: View) -> Iterator[Block]:
    if view.measured:
        yield Picture(
            "timeline",
            "Every sample in the order it was taken",
            "Wall time of every inference over measured time, one panel for each case, sessions "
            "apart with the median of each; a slope or a step is drift.",
        )


def _distribution(view: View) -> Picture:
    times = [(case, case.timing.wall) for case in view.measured if case.timing]
    said = [
        f"{_short(case)}: p50 {milliseconds(wall.p50)} ms, p90 {milliseconds(wall.p90)} ms, "
        f"p99 {milliseconds(wall.p99)} ms"
        for case, wall in _extremes(times, lambda wall: wall.p50)
    ]
    return Picture(
        "latency",
        "Distribution of the samples",
        f"Distribution of wall times{_of(times)}. {'; '.join(said)}.",
    )


def _categories_alt(view: View) -> str:
    """Say how long each case took, and its largest parts."""
    divided = [(case, case.breakdown) for case in view.profiled if case.breakdown]
    said = []
    for case, one in _extremes(divided, lambda one: one.total_ns):
        largest = sorted(one.parts, key=lambda part: -part.ns)[:_PARTS_SAID]
        parts = join([f"{part.title} {percent(part.share)}" for part in largest])
        said.append(f"{_short(case)}: {milliseconds(one.total_ns)} ms, most of it {parts}")
    return f"Stacked bars: {breakdown.title(view).lower()}{_of(divided)}. {'; '.join(said)}."


def _extremes(
    found: Sequence[tuple[CaseView, T]], key: Callable[[T], float]
) -> Sequence[tuple[CaseView, T]]:
    """Return the fastest and the slowest of several cases; all of fewer than three."""
    if len(found) <= 2:
        return found
    ordered = sorted(found, key=lambda pair: key(pair[1]))
    return ordered[0], ordered[-1]


def _of(found: Sequence[object]) -> str:
    return f" of {len(found)} cases, here the fastest and the slowest" if len(found) > 2 else ""


def _short(case: CaseView) -> str:
    return elide(case.name, _NAME_WIDTH)


def _conditions(view: View) -> Iterator[Block]:
    run = view.run
    facts: dict[str, Reading] = {
        "run": run.name,
        "created": run.created,
        "mvdeploy": run.mvdeploy,
        "command": " ".join(run.command),
        "input": run.input,
    }
    yield from conditions.artifacts(view)
    yield from conditions.conditions(view)
    yield facts_table("Run", facts)
    yield facts_table("Plan", _plan(view))
    yield from conditions.devices(view)
    if run.environment:
        yield facts_table("Environment of the machine that drove it", dict(run.environment))
    yield from conditions.device_states(view)


def _plan(view: View) -> dict[str, Reading]:
    plan, warmup = view.run.plan, view.run.plan.warmup
    rule = (
        f"at least {warmup.min_iterations} inferences and {warmup.min_seconds:g} s, until two "
        f"medians over {warmup.window_seconds:g} s agree within {percent(warmup.tolerance, 0)}, "
        f"at most {warmup.max_seconds:g} s"
    )
    return {
        "threads": ", ".join(map(str, view.threads)),
        "warm-up": rule if warmup.iterations is None else f"{warmup.iterations} inferences",
        "measured": _length(plan),
        "turns": _turns(plan),
        "anchor": "yes" if plan.anchor else "no",
        "cores": ", ".join(map(str, plan.cores)) or "all",
        "seed of the order": plan.seed,
        "profiled inferences": plan.profile_iterations,
        **({"energy": _energy_blocks(plan)} if plan.energy else {}),
    }


def _energy_blocks(plan: Plan) -> str:
    length = "as long as the meter needs"
    if plan.energy_block_s is not None:
        length = f"of {plan.energy_block_s:g} s"
    return f"blocks {length}, with the device at rest before and after each round of them"


def _length(plan: Plan) -> str:
    if plan.sustained_s:
        how = "all cases in turns of one" if plan.alternate else "each case"
        return (
            f"{how}, {plan.sustained_s:g} s without a pause, in intervals of {plan.interval_s:g} s"
            if not plan.alternate
            else f"{how} interval of {plan.interval_s:g} s, {plan.sustained_s:g} s without a pause"
        )
    if plan.iterations is not None:
        return f"{plan.iterations} inferences of each case in {plan.sessions} sessions"
    if plan.pairs_only:
        return "nothing but turns"
    return (
        f"{plan.session_time_s:g} s of each case in each of {plan.sessions} sessions; further "
        f"sessions until its median is known to ±{percent(plan.target)}, at most "
        f"{plan.max_time_s:g} s"
    )


def _turns(plan: Plan) -> str:
    if plan.sustained_s:
        return "an interval of each case" if plan.alternate else "none"
    if plan.iterations is not None:
        return "as many of each case as in its blocks"
    target = (
        percent(plan.pair_target)
        if plan.pair_target is not None
        else f"{percent(TARGETS['cpu'])} by CPU time, {percent(TARGETS['wall'])} by wall time"
    )
    return (
        f"{plan.pair_time_s:g} s of each pair of cases in each of {plan.groups} sessions; further "
        f"sessions until the ratio is known to ±{target}, at most {plan.max_time_s:g} s"
    )
