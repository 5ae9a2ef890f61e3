"""Where the latency goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mvdeploy.analysis.breakdown_view import BreakdownView, ModuleShare, Part
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.ratios import Difference
from mvdeploy.analysis.view import View
from mvdeploy.report.tables.table import (
    SIDE_BY_SIDE,
    Column,
    Table,
    about,
    batches,
    side_note,
    tagged,
    text,
)
from mvdeploy.text_format import (
    NONE,
    milliseconds,
    percent,
    signed_microseconds,
    signed_milliseconds,
    signed_percent,
)

_TOP = 12


def title(view: View) -> str:
    """Return what latencies are divided by: categories, or what is known instead."""
    return "Latency by kind of operator" if view.by_kind else "Latency by category"


def categories(view: View, side_by_side: int = SIDE_BY_SIDE) -> Iterator[Table]:
    """List the milliseconds and share of every category, cases side by side."""
    yield from _parts_tables(view, title(view), lambda divided: divided.parts, side_by_side)


def kinds(view: View) -> Iterator[Table]:
    """List the milliseconds and share of every kind of operator, cases side by side."""
    yield from _parts_tables(
        view, "Latency by kind of operator", lambda divided: divided.kinds, SIDE_BY_SIDE
    )


def as_profiled(view: View) -> Iterator[Table]:
    """Show the shares as profiles have them beside the corrected ones."""
    corrected = [c for c in view.profiled if c.breakdown and c.breakdown.subtracted_ns]
    for cases in batches(corrected):
        sides = [case.breakdown for case in cases if case.breakdown]
        one = len(view.cases) == 1
        yield Table(
            "Shares as profiled, and corrected",
            (
                text("Part"),
                *(
                    Column(which if one else f"{case.key}, {which}")
                    for case in cases
                    for which in ("as profiled", "corrected")
                ),
            ),
            tuple(
                (row[0].title, *(percent(s) for p in row for s in (p.as_profiled, p.share)))
                for row in zip(*(side.parts for side in sides), strict=True)
            ),
            note=f"{side_note(view, cases)} What a profiler adds is about the same for every "
            "operator, as is what it leaves out, so small operators look larger or smaller than "
            "they are. How much was measured on this device, with chains of linear layers.",
        )


def _parts_tables(
    view: View, title: str, parts: Callable[[BreakdownView], tuple[Part, ...]], side_by_side: int
) -> Iterator[Table]:
    for cases in batches(view.profiled, side_by_side):
        sides = [case.breakdown for case in cases if case.breakdown]
        rows = [
            (row[0].title, *(t for p in row for t in (milliseconds(p.ns), percent(p.share))))
            for row in zip(*map(parts, sides), strict=True)
        ]
        totals = [(milliseconds(s.total_ns), percent(1.0 if s.total_ns else None)) for s in sides]
        rows.append(("Latency (p50)", *(t for pair in totals for t in pair)))
        yield Table(
            title,
            (text("Part"), *_case_columns(view, cases)),
            tuple(rows),
            note=side_note(view, cases),
            total=True,
        )


def difference(view: View, pair: Difference) -> Table:
    """Show which part of the latency the difference between two cases comes from."""
    a, b = pair.a.key, pair.b.key
    return Table(
        f"From {a} to {b}: where the difference comes from",
        (
            text("Part"),
            Column(f"{a}, ms"),
            Column(f"{b}, ms"),
            Column("difference, ms"),
            Column(f"of {a}'s latency"),
        ),
        tuple(
            (
                row.title,
                milliseconds(row.a_ns),
                milliseconds(row.b_ns),
                signed_milliseconds(row.b_ns - row.a_ns),
                signed_percent(row.change),
            )
            for row in pair.rows
        ),
        note=(
            f"{side_note(view, (pair.a, pair.b))} "
            + (
                f"The latency of {b} is that of {a} times the paired ratio, so the parts add up to "
                "the difference that was found in turns; the parts carry no interval of their own."
                if pair.paired
                else "The parts add up to the difference of the medians, which were not taken in "
                "turns."
            )
        ),
        total=True,
        cases=((a, b),) * len(pair.rows),
    )


def reconciliation(view: View) -> Table:
    """Show for every profiled case how the operator times meet the latency."""
    divided = [(case, case.breakdown) for case in view.profiled if case.breakdown]
    corrected = any(one.excess for _, one in divided)
    return Table(
        "How operator times meet the latency",
        (
            text("Case"),
            *map(Column, ("sum of operators ÷ latency", "profiled ÷ plain", "attributed")),
            *((Column("too much for each operator, µs"),) if corrected else ()),
            text("operator times"),
        ),
        tuple(
            (
                tagged(view, case),
                f"{one.operator_share:.2f}",
                f"{1 + one.profiler_overhead:.2f}",
                f"{100 * one.attributed_share:.2f} %",
                *((_too_much(one),) if corrected else ()),
                one.time_kind,
            )
            for case, one in divided
        ),
        note=(
            "Attributed is the share of the operator time that has a module"
            f"{'' if view.by_kind else ' and a category'}."
            f"{_CORRECTED if corrected else ''}"
        ),
        cases=about(case for case, _ in divided),
    )


_CORRECTED = (
    " What a profile has too much for each operator was taken off, or what it lacks added, if the "
    "interval does not hold 0."
)


def _too_much(one: BreakdownView) -> str:
    excess = one.excess
    if excess is None:
        return NONE
    mean, low, high = map(signed_microseconds, (excess.ns, excess.low, excess.high))
    return f"{mean} ({low} to {high})"


def operators(view: View, case: CaseView, top: int = _TOP) -> Table:
    """List the operators of one case that take longest."""
    divided = case.breakdown
    longest = divided.operators[:top] if divided else ()
    of = f" of {len(divided.operators)}" if divided else ""
    return Table(
        f"Top operators: {tagged(view, case)}",
        (
            *(text(t) for t in ("Operator", "Type", "Kind", "Category", "Module")),
            Column("ms"),
            Column("share"),
        ),
        tuple(
            (
                o.row.name,
                o.row.type,
                o.row.kind,
                o.category,
                o.module,
                milliseconds(o.row.ns),
                percent(o.share),
            )
            for o in longest
        ),
        note=f"The first {len(longest)}{of}, {divided.time_kind if divided else ''}; all are in "
        "operators.csv.",
        cases=((case.key,),) * len(longest),
    )


def modules(view: View) -> Iterator[Table]:
    """List the modules that take longest in any case, cases side by side."""
    placed = [case for case in view.profiled if case.breakdown and case.breakdown.modules]
    for cases in batches(placed):
        by_path = [{m.path: m for m in c.breakdown.modules} for c in cases if c.breakdown]
        yield Table(
            "Top modules",
            (text("Module"), text("Category"), *_case_columns(view, cases)),
            tuple(_module_row(path, by_path) for path in top_modules(cases, _TOP)),
            note=f"{side_note(view, cases)} Operators count under the module whose code made them.",
        )


def top_modules(cases: Sequence[CaseView], top: int) -> list[str]:
    """Return the module paths with the largest times in any of the cases, largest first."""
    largest: dict[str, float] = {}
    for case in cases:
        for module in case.breakdown.modules if case.breakdown else ():
            largest[module.path] = max(largest.get(module.path, 0.0), module.ns)
    return sorted(largest, key=lambda path: -largest[path])[:top]


def _module_row(path: str, by_path: Sequence[dict[str, ModuleShare]]) -> tuple[str, ...]:
    sides = [modules.get(path) for modules in by_path]
    categories = dict.fromkeys(m.category for m in sides if m)
    cells = [(milliseconds(m.ns), percent(m.share)) if m else (NONE, NONE) for m in sides]
    return (path, ", ".join(categories), *(cell for pair in cells for cell in pair))


def _case_columns(view: View, cases: Sequence[CaseView]) -> tuple[Column, ...]:
    if len(view.cases) == 1:
        return (Column("ms"), Column("share"))
    return tuple(Column(f"{c.key}, {unit}", case=c.key) for c in cases for unit in ("ms", "share"))
