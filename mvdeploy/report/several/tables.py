"""The tables of a page of several runs."""

from __future__ import annotations

from collections.abc import Iterator

from mvdeploy.analysis.in_browsers import Loss
from mvdeploy.analysis.ratios import CLOCK_NAMES
from mvdeploy.analysis.several import Against, Cell, Divided, InTurns, Place, Row, SeveralView
from mvdeploy.records import Reading
from mvdeploy.report import wording
from mvdeploy.report.several import prose
from mvdeploy.report.tables.table import Column, Table, batches, text
from mvdeploy.text_format import NONE, join, milliseconds, percent, reading


def _head(view: SeveralView, index: int, what: str) -> str:
    """Return the heading of a column of a place, on short lines."""
    name = view.places[index].name.replace(", ", ",\n")
    return f"{name},\n{what}"


def latencies(view: SeveralView) -> Iterator[Table]:
    """Show the median of every case, places side by side."""
    for indices in batches(range(len(view.places))):
        columns = [
            column
            for i in indices
            for column in (
                Column(_head(view, i, "p50")),
                Column(_head(view, i, "95 % interval")),
            )
        ]
        rows = tuple(
            (row.name, *(cell for i in indices for cell in _latency(row.cells[i])))
            for row in view.rows
            if any(cell and cell.case.timing for cell in row.cells)
        )
        note = "Median of the wall time, measured; the interval holds within its run only."
        if any(cell.doubtful for _, _, cell in view.cells()):
            note += " * It is doubtful or unreliable; the report of its run says why."
        yield Table("Latency, ms", (text("Case"), *columns), rows, note=note)


def _latency(cell: Cell | None) -> tuple[str, str]:
    interval = cell.case.timing.interval if cell and cell.case.timing else None
    span = f"{milliseconds(interval.low)}–{milliseconds(interval.high)}" if interval else NONE
    return prose.latency_text(cell), span


def ratios(view: SeveralView) -> Iterator[Table]:
    """Show how much longer every case takes than in the first place that has it."""
    references = {row.reference for row in view.shared}
    only = next(iter(references)) if len(references) == 1 else None
    first = "the first" if only is None else view.places[only].name
    others = [i for i in range(len(view.places)) if i != only]
    for indices in batches(others):
        columns = [
            column
            for i in indices
            for column in (
                Column(_head(view, i, "ratio")),
                Column(_head(view, i, "95 % interval")),
                text(_head(view, i, "verdict")),
            )
        ]
        rows = tuple(
            (row.name, *(cell for i in indices for cell in _ratio(row, i))) for row in view.shared
        )
        yield Table(
            f"Ratio of the latency to {first}",
            (text("Case"), *columns),
            rows,
            note=(
                f"Time ÷ time of {_first(only is not None, first)}: below 1 is faster. "
                "Unpaired: the two were measured at other times, and differences below 5 % count "
                "as none."
            ),
        )


def turns(view: SeveralView) -> Iterator[Table]:
    """Show the ratios of cases that took turns, places side by side."""
    for indices in batches([i for i in range(len(view.places)) if _took_turns(view, i)]):
        columns = [
            column
            for i in indices
            for column in (
                Column(_head(view, i, "ratio")),
                Column(_head(view, i, "95 % interval")),
                text(_head(view, i, "clock")),
                text(_head(view, i, "verdict")),
            )
        ]
        yield Table(
            "Ratio of cases that took turns, in each place",
            (text("B ÷ A"), *columns),
            tuple(
                (f"{one.b} ÷ {one.a}", *(cell for i in indices for cell in _turn(one, i)))
                for one in view.turns
            ),
            note="Paired within each run: below 1, B is faster there.",
        )


def _took_turns(view: SeveralView, index: int) -> bool:
    return any(one.cells[index] is not None for one in view.turns)


def _turn(one: InTurns, index: int) -> tuple[str, str, str, str]:
    compared = one.cells[index]
    found = compared.estimate if compared else None
    if found is None:
        return NONE, NONE, NONE, NONE
    clock = CLOCK_NAMES[found.clock]
    return wording.ratio_text(found), wording.interval_text(found), clock, found.verdict


def losses(view: SeveralView) -> Iterator[Table]:
    """Show what pages take more than programs, by category and by kind of operator."""
    pairs = dict.fromkeys((one.native, one.web) for one in view.against)
    for native, web in pairs:
        found = [one for one in view.against if (one.native, one.web) == (native, web)]
        by = {"category": [one.categories for one in found]} if not view.by_kind else {}
        by["kind of operator"] = [one.kinds for one in found]
        for what, parts in by.items():
            rows = [
                row
                for one, losses in zip(found, parts, strict=True)
                for row in _losses(one, losses)
            ]
            if rows:
                yield Table(
                    f"{view.places[web].name} against native code, by {what}",
                    (
                        text("Case"),
                        text(what.capitalize()),
                        Column(_head(view, native, "ms")),
                        Column(_head(view, web, "ms")),
                        Column("times as long"),
                        Column("of the difference, %"),
                    ),
                    tuple(rows),
                    note="Latency of each part; the differences of a case add up to its own.",
                )


def _losses(one: Against, losses: tuple[Loss, ...]) -> Iterator[tuple[str, ...]]:
    for loss in sorted(losses, key=lambda loss: -loss.share):
        times = NONE if loss.times is None else f"{loss.times:.2f}"
        ms = milliseconds(loss.native_ns), milliseconds(loss.web_ns)
        share = f"{100 * loss.share:.1f}".replace("-", "−")
        yield one.row, loss.title, *ms, times, share


def _first(same: bool, name: str) -> str:
    return name if same else "the first place in the row that can be compared"


def _ratio(row: Row, index: int) -> tuple[str, str, str]:
    cell = row.cells[index]
    if index == row.reference:
        return "1", NONE, "the first"
    if cell is None or cell.ratio is None:
        return NONE, NONE, "not comparable" if cell and cell.case.timing else NONE
    found = cell.ratio
    return (
        prose.ratio_text(found),
        prose.interval_text(found) or NONE,
        found.verdict or "too few sessions",
    )


def shares(view: SeveralView) -> Table:
    """Show the parts of every latency as shares, places below each other."""
    what = "kind of operator" if view.by_kind else "category"
    kinds = dict.fromkeys(str(one.time_kind) for one in view.divided)
    note = f"Times of operators are {join(list(kinds))}."
    if len(kinds) > 1:
        note = " ".join(
            f"{view.places[i].name}: times of operators are {kind}."
            for i, kind in dict.fromkeys((one.place, one.time_kind) for one in view.divided)
        )
    return Table(
        f"Shares of the latency by {what}, %",
        (text("Case"), text("On"), Column("p50, ms"), *map(Column, view.parts)),
        tuple(_shares(view, one) for one in view.divided),
        note=note,
    )


def _shares(view: SeveralView, one: Divided) -> tuple[str, ...]:
    cells = (f"{100 * one.shares[part]:.1f}" if part in one.shares else NONE for part in view.parts)
    return one.row, view.places[one.place].name, milliseconds(one.total_ns), *cells


def conditions(view: SeveralView) -> Iterator[Table]:
    """Show the devices and the runs, and in what conditions the same cases differ."""
    facts = [_facts(place) for place in view.places]
    for indices in batches(range(len(view.places))):
        names = dict.fromkeys(name for i in indices for name in facts[i])
        yield Table(
            "Devices and runs",
            (text(""), *(text(view.places[i].name) for i in indices)),
            tuple((n, *(reading(facts[i].get(n, NONE)) for i in indices)) for n in names),
        )
    if view.differing:
        for indices in batches(range(len(view.places))):
            yield Table(
                "Where the same cases differ",
                (text("Condition"), *(text(view.places[i].name) for i in indices)),
                tuple(
                    (name, *(", ".join(values[i]) or NONE for i in indices))
                    for name, values in view.differing.items()
                ),
                note="Latencies differ for these too, not for the devices alone.",
            )


def _facts(place: Place) -> dict[str, Reading]:
    run, device = place.view.run, place.device
    plan = run.plan
    known = ("browser", "cpu", "machine", "model", "os", "system", "build", "kernel", "cores")
    length = (
        f"{plan.iterations} inferences in {plan.sessions} sessions"
        if plan.iterations is not None
        else f"until p50 is known to ±{percent(plan.target)}, at most {plan.max_time_s:g} s"
    )
    return {
        "device": device.profile.name,
        "emulated": "yes" if device.emulated else "no",
        **{name: device.identity[name] for name in known if name in device.identity},
        "run": run.name,
        "created": run.created,
        "mvdeploy": run.mvdeploy,
        "threads": ", ".join(map(str, place.view.threads)),
        "measured": length,
        "input": run.input,
        "cases": f"{sum(case.timing is not None for case in place.cases)} of {len(place.cases)}",
    }
