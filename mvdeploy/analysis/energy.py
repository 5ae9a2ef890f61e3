"""`EnergyView`: what an inference of each case takes above the device at rest, in joules."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence

from mvdeploy.analysis.cases import CaseView
from mvdeploy.records import Comparison, Finding, Level
from mvdeploy.records.energy import IDLE, Energy, EnergyBlock, PowerMeter
from mvdeploy.stats import energy as stats
from mvdeploy.stats.energy import LEAST_BLOCKS, Mean, NoPower, PairVerdict
from mvdeploy.text_format import clean

_DRIFT = 0.2
"""Share of the least power above rest by which the power at rest may change."""


@dataclasses.dataclass(frozen=True)
class CaseEnergy:
    """The energy of one case.

    Attributes:
        case: whose.
        joules: of an inference above the device at rest, with its interval; None where it is not
            known, or too small to be told.
        below_j: where it is too small to be told: it is less than this.
        power_w: mean power of the whole while the case ran; None without a block that counts.
        rest_w: the same while nothing did, before and after its blocks.
        blocks: that count.
        reason: why there is no energy, as a sentence; empty when there is one.
        rounds: joules of an inference in each block that counts, by the number of its round.
    """

    case: CaseView
    joules: Mean | None
    below_j: float | None
    power_w: float | None
    rest_w: float | None
    blocks: int
    reason: str
    rounds: Mapping[int, float]


@dataclasses.dataclass(frozen=True)
class EnergyPair:
    """The energies of two cases, whose blocks were neighbours.

    Attributes:
        a: the reference.
        b: the other.
        ratio: energy of B divided by that of A, with its interval.
        difference_j: joules of B less those of A, with its interval.
        verdict: what can be said of B.
    """

    a: CaseView
    b: CaseView
    ratio: Mean
    difference_j: Mean
    verdict: PairVerdict


@dataclasses.dataclass(frozen=True)
class EnergyView:
    """What is known of the energy that the cases of a run take.

    Attributes:
        meter: None when there was none that could be used.
        problem: why there is no energy, or no more of it; empty when all was measured.
        remedy: what to do about that.
        rest_before_w: mean power of the device at rest, before all blocks; None when not known.
        rest_after_w: the same, after them.
        update_s: after which the meter was seen to tell something new; None for never.
        step_w: smallest difference that it was seen to tell; 0 for a counter.
        block_s: length of a block.
        cases: of the run that have a latency.
        pairs: of cases that are compared.
    """

    meter: PowerMeter | None
    problem: str
    remedy: str
    rest_before_w: float | None
    rest_after_w: float | None
    update_s: float | None
    step_w: float
    block_s: float
    cases: tuple[CaseEnergy, ...]
    pairs: tuple[EnergyPair, ...]

    @property
    def known(self) -> bool:
        """Whether it says anything of a case."""
        return any(case.joules or case.below_j is not None for case in self.cases)


def energy_view(
    energy: Energy, cases: Sequence[CaseView], comparisons: Sequence[Comparison]
) -> EnergyView:
    """Derive the energies of a run.

    Args:
        energy: what the meter told.
        cases: of the run.
        comparisons: says which cases are compared.
    """
    measured = [case for case in cases if case.timing]
    problem, remedy = clean(energy.problem), clean(energy.remedy)
    meter, blocks = energy.meter, [b for b in energy.blocks if not b.problem]
    if meter is not None and not problem and stats.is_stuck(energy.blocks):
        problem = "The meter told the same all the time."
        remedy = "Measure on a device whose meter tells what changes, or with one at its supply."
        energy, blocks = dataclasses.replace(energy, blocks=()), []
    if meter is not None and blocks and meter.channels[0].quantity == "current":
        try:
            stats.sign(blocks)
        except NoPower as error:
            problem = f"The battery did not only give: {error}."
            remedy = "Keep the device off its cable and its charger while it is measured."
            energy, blocks = dataclasses.replace(energy, blocks=()), []
    powers = _Powers(meter, blocks) if meter is not None else None
    found = tuple(_case(case, energy, powers, problem) for case in measured)
    rest = [b for b in blocks if b.case == IDLE]
    return EnergyView(
        meter=meter,
        problem=problem,
        remedy=remedy,
        rest_before_w=powers.of(rest[0]) if powers and rest else None,
        rest_after_w=powers.of(rest[-1]) if powers and len(rest) > 1 else None,
        update_s=stats.update_s(blocks),
        step_w=powers.step_w if powers else 0.0,
        block_s=statistics.median(b.seconds for b in blocks) if blocks else 0.0,
        cases=found,
        pairs=tuple(_pairs(found, comparisons)),
    )


class _Powers:
    """The powers of blocks.

    Args:
        meter: that was read.
        blocks: those that count.
    """

    def __init__(self, meter: PowerMeter, blocks: Sequence[EnergyBlock]) -> None:
        self._meter = meter
        self.update_s = stats.update_s(blocks)
        self.step_w = stats.step_w(blocks, meter)

    def of(self, block: EnergyBlock) -> float | None:
        """Return the mean power of a block, watts; None where its readings do not tell it."""
        try:
            return abs(stats.mean_power(block, self._meter, self.update_s or 0.0))
        except NoPower:
            return None

    def why_not(self, block: EnergyBlock) -> str:
        """Say why a block has no power; empty when it has."""
        try:
            stats.mean_power(block, self._meter, self.update_s or 0.0)
        except NoPower as error:
            return str(error)
        return ""

    def least_w(self, block_s: float, power_w: float) -> float:
        """Return the smallest difference of mean powers that the meter can tell, watts."""
        if not self._meter.counts:
            return self.step_w
        late = (
            self.update_s if self.update_s and self.update_s > 1.5 * self._meter.interval_s else 0
        )
        return power_w * late / block_s if block_s else 0.0


def _case(case: CaseView, energy: Energy, powers: _Powers | None, problem: str) -> CaseEnergy:
    nothing = CaseEnergy(case, None, None, None, None, 0, problem, {})
    own = [block for block in energy.blocks if block.case == case.slug]
    if powers is None or (problem and not own):
        return nothing
    rounds: dict[int, float] = {}
    taken: list[tuple[EnergyBlock, float, float]] = []
    reasons = [block.problem or powers.why_not(block) for block in own]
    for number, block in enumerate(own):
        rest = _rest_around(energy.blocks, block, powers)
        power = None if block.problem else powers.of(block)
        if power is not None and rest is not None:
            rounds[number] = (power - rest) * block.inference_s
            taken.append((block, power, rest))
    if len(taken) < LEAST_BLOCKS:
        why = problem or next((f"It has too few blocks: {r}." for r in reasons if r), "")
        why = why or f"It has {len(taken)} blocks with the device at rest before and after them."
        return dataclasses.replace(nothing, reason=clean(why), blocks=len(taken))
    power_w, rest_w = (statistics.fmean(part) for part in list(zip(*taken, strict=True))[1:])
    seconds = statistics.fmean(block.seconds for block, *_ in taken)
    each_s = statistics.fmean(block.inference_s for block, *_ in taken)
    least_w = powers.least_w(seconds, power_w)
    shared_w2 = stats.shared_variance(_rests(energy.blocks, own[0].setting, powers))
    joules = stats.mean(list(rounds.values()), shared=shared_w2 * each_s**2)
    known = dataclasses.replace(
        nothing, power_w=power_w, rest_w=rest_w, blocks=len(taken), rounds=rounds, reason=""
    )
    if joules.low > 0 and power_w - rest_w > least_w:
        return dataclasses.replace(known, joules=joules)
    below = max(joules.high, least_w * each_s, 0.0)
    reason = "It takes no more above the device at rest than the meter can tell."
    return dataclasses.replace(known, below_j=below, reason=reason, rounds={})


def _rests(blocks: Sequence[EnergyBlock], setting: str, powers: _Powers) -> list[float]:
    """Return the powers of the device at rest in a setting, in order."""
    rests = (b for b in blocks if b.case == IDLE and not b.problem and b.setting == setting)
    return [power for power in map(powers.of, rests) if power is not None]


def _rest_around(
    blocks: Sequence[EnergyBlock], block: EnergyBlock, powers: _Powers
) -> float | None:
    """Return the mean power at rest before and after a block; None without both."""
    place = blocks.index(block)
    before = (b for b in reversed(blocks[:place]) if b.case == IDLE)
    after = (b for b in blocks[place + 1 :] if b.case == IDLE)
    found = [next(side, None) for side in (before, after)]
    known = [
        powers.of(b)
        for b in found
        if b is not None and not b.problem and b.setting == block.setting
    ]
    watts = [power for power in known if power is not None]
    return statistics.fmean(watts) if len(watts) == 2 else None


def _pairs(found: Sequence[CaseEnergy], comparisons: Sequence[Comparison]) -> Iterator[EnergyPair]:
    by_slug = {one.case.slug: one for one in found if one.joules}
    for a, b in ((by_slug.get(c.a), by_slug.get(c.b)) for c in comparisons):
        if a is None or b is None:
            continue
        rounds = sorted(a.rounds.keys() & b.rounds.keys())
        ours, others = [a.rounds[n] for n in rounds], [b.rounds[n] for n in rounds]
        if len(rounds) < LEAST_BLOCKS or min(*ours, *others) <= 0:
            continue
        ratio = stats.paired_ratio(ours, others)
        difference = stats.mean([y - x for x, y in zip(ours, others, strict=True)])
        yield EnergyPair(a.case, b.case, ratio, difference, stats.pair_verdict(ratio))


def energy_findings(view: EnergyView) -> Iterator[Finding]:
    """Give what is to be known of the energies of a run."""
    if view.problem:
        code = "energy_ended_early" if view.known else "energy_unavailable"
        yield Finding(code, Level.WARNING, {"reason": view.problem, "remedy": view.remedy})
    if view.meter is not None and view.meter.assumed:
        yield Finding("energy_assumed", Level.NOTE, {"assumed": view.meter.assumed})
    above = [
        one.power_w - one.rest_w
        for one in view.cases
        if one.joules and one.power_w is not None and one.rest_w is not None
    ]
    if above and view.rest_before_w is not None and view.rest_after_w is not None:
        change = view.rest_after_w - view.rest_before_w
        if abs(change) > _DRIFT * min(above):
            values: dict[str, str | int | float] = {
                "before": round(view.rest_before_w, 3),
                "after": round(view.rest_after_w, 3),
                "least": round(min(above), 3),
            }
            yield Finding("energy_rest_drifts", Level.WARNING, values)


def of_cases(view: EnergyView) -> Iterator[tuple[str, tuple[Finding, ...]]]:
    """Give the names of cases with what is to be known of their energies."""
    for one in view.cases:
        if one.below_j is not None:
            millijoules = round(one.below_j * 1e3, 4)
            found = Finding("energy_too_small", Level.NOTE, {"millijoules": millijoules})
        elif one.joules is None and one.reason != view.problem:
            found = Finding("energy_of_case_unavailable", Level.WARNING, {"reason": one.reason})
        else:
            continue
        yield one.case.name, (found,)
