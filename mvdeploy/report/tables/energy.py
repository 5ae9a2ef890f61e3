"""What an inference takes, in millijoules."""

from __future__ import annotations

from mvdeploy.analysis.energy import CaseEnergy, EnergyView
from mvdeploy.analysis.view import View
from mvdeploy.report.tables.table import Column, Table, tagged, text
from mvdeploy.stats.energy import METHOD
from mvdeploy.text_format import NONE, percent, significant

UNAVAILABLE = "unavailable"


def energies(view: View, found: EnergyView) -> Table:
    """Show the energy of every case that has a latency."""
    numbers = ("mJ", "95 % interval", "power, W", "at rest, W", "blocks")
    return Table(
        "Energy per inference above the device at rest, mJ (measured)",
        (text("Case"), *map(Column, numbers)),
        tuple(_row(view, one) for one in found.cases),
        note=f"{meter(found)} By the {METHOD}. Neither loading nor the warm-up is in it, and no "
        "latency was taken meanwhile.",
    )


def _row(view: View, one: CaseEnergy) -> tuple[str, ...]:
    head = tagged(view, one.case)
    powers = (watts(one.power_w), watts(one.rest_w), str(one.blocks) if one.blocks else NONE)
    return (head, millijoules(one), interval(one), *powers)


def millijoules(one: CaseEnergy) -> str:
    """Return the energy of a case, what it is less than, or that it is unavailable."""
    if one.joules is not None:
        return figures(one.joules.value * 1e3)
    if one.below_j is not None:
        return f"below {figures(one.below_j * 1e3)}"
    return UNAVAILABLE


def figures(value: float) -> str:
    """Return a number of zero or more with three digits that count."""
    return f"{value:,.0f}" if value >= 999.5 else f"{value:#.3g}".rstrip(".")


def interval(one: CaseEnergy) -> str:
    """Return the interval of a case's energy."""
    if one.joules is None:
        return NONE
    low, high = (figures(end * 1e3) for end in (one.joules.low, one.joules.high))
    return f"{low}–{high}"


def watts(power: float | None) -> str:
    """Return a power in watts."""
    return NONE if power is None else figures(power)


def meter(found: EnergyView) -> str:
    """Say what was read, how finely, and what the device took at rest."""
    if found.meter is None:
        return ""
    new = "never told anything new"
    if found.update_s is not None:
        new = f"told something new every {significant(found.update_s, 2)} s"
    step = ""
    if found.step_w:
        step = f", readings that differed by {significant(found.step_w * 1e3, 2)} mW at least"
    rest = ""
    if found.rest_before_w is not None and found.rest_after_w is not None:
        before, after = watts(found.rest_before_w), watts(found.rest_after_w)
        rest = f" At rest: {before} W before all blocks, {after} W after them."
    return (
        f"Read from: {found.meter.source}, which tells the energy of {found.meter.of}. It was read "
        f"every {found.meter.interval_s:g} s and {new}{step}; blocks of "
        f"{significant(found.block_s, 2)} s.{rest}"
    )


def pairs(found: EnergyView) -> Table:
    """Show what the energies of cases are to each other."""
    columns = ("energy ÷ reference's", "95 % interval", "difference, mJ", "95 % interval, mJ")
    rows = []
    for pair in found.pairs:
        ratio, by = pair.ratio, pair.difference_j
        rows.append(
            (
                pair.b.name,
                pair.a.name,
                f"{ratio.value:.3f}",
                f"{ratio.low:.3f}–{ratio.high:.3f}",
                _signed(by.value),
                f"{_signed(by.low)} to {_signed(by.high)}",
                pair.verdict,
            )
        )
    return Table(
        "Energies compared (measured)",
        (*map(text, ("Case", "Reference")), *map(Column, columns), text("verdict")),
        tuple(rows),
        note=(
            "From blocks of the same round: the mean of the logarithms of their ratios, and of "
            f"their differences, with t intervals that hold with {percent(0.95, 0)}."
        ),
    )


def _signed(joules: float) -> str:
    return ("+" if joules >= 0 else "−") + figures(abs(joules) * 1e3)
