"""Whether an export, and a device that runs it, still compute the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mvdeploy import tasks
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.view import OutputsView, View
from mvdeploy.records import Parity, ParityInput
from mvdeploy.report.tables.table import Column, Table, tagged, text
from mvdeploy.text_format import NONE


def parity(view: View) -> Table:
    """Show how far every artifact is from the PyTorch reference, and what devices computed."""
    of_tasks = dict.fromkeys(
        title
        for case in view.cases
        for checked in (case.case.parity, case.case.device_parity)
        for title in _task_columns(checked)
    )
    return Table(
        "Parity with the PyTorch reference",
        (
            *(text(t) for t in ("Case", "Input", "Result", "Checked with")),
            *map(Column, ("max abs difference", "demanded", "SNR, dB", "cosine")),
            *map(text, of_tasks),
        ),
        tuple(row for case in view.cases for row in _parity_rows(view, case, tuple(of_tasks))),
        cases=tuple(
            (case.key,) for case in view.cases for _ in _parity_rows(view, case, tuple(of_tasks))
        ),
    )


def _task_columns(checked: Parity | None) -> dict[str, Callable[[ParityInput], str]]:
    """Return what the task of a network adds to the table: titles of columns, and their cells."""
    # A saved run may be of a task that is not installed here.
    if checked is None or checked.task not in tasks.names():
        return {}
    return {column.title: column.text for column in tasks.get(checked.task).COLUMNS}


def _parity_rows(view: View, case: CaseView, of_task: Sequence[str]) -> Iterator[tuple[str, ...]]:
    export, device = case.case.parity, case.case.device_parity
    if export is None or not export.inputs:
        empty = [NONE] * (5 + len(of_task))
        yield (tagged(view, case), NONE, "not checked", *empty)
    for checked, place in ((export, ""), (device, " on this device")):
        if checked is not None:
            for one in checked.inputs:
                yield (tagged(view, case), *_parity_row(checked, one, place, of_task))


def _parity_row(
    checked: Parity, one: ParityInput, place: str, of_task: Sequence[str]
) -> Iterator[str]:
    fine, of_its_task = checked.accepts(one), _task_columns(checked)
    yield one.name
    yield "passed" if fine and checked.passed else "FAILED" if not fine else "not sufficient"
    yield f"{checked.engine}{place}"
    yield f"{one.max_abs:.2e}"
    yield checked.demand
    yield "identical" if one.snr_db is None else f"{one.snr_db:.1f}"
    yield f"{one.cosine:.7f}"
    for title in of_task:
        yield of_its_task[title](one) if title in of_its_task else NONE


def outputs(view: View) -> Table:
    """Show how the outputs of files differ from those of the first case, on the same input."""
    return Table(
        "Difference of the outputs",
        (
            *(text(t) for t in ("Case", "against", "Output")),
            Column("max abs difference"),
            Column("SNR, dB"),
            text("largest value"),
        ),
        tuple(row for pair in view.outputs for row in _output_rows(pair)),
        note="Each pair of files was fed the same, once; nothing is demanded of the difference.",
        cases=tuple((p.a.key, p.b.key) for p in view.outputs for _ in _output_rows(p)),
    )


def _output_rows(pair: OutputsView) -> Iterator[tuple[str, ...]]:
    cases = (f"{pair.b.key}: {pair.b.name}", pair.a.key)
    if pair.found.problem:
        yield (*cases, f"not compared: {pair.found.problem}", *[NONE] * 3)
    for one in pair.found.outputs:
        same = {None: NONE, 1.0: "at the same place"}.get(one.same_largest, "at ANOTHER place")
        yield (
            *cases,
            one.name if one.name == one.other else f"{one.name} ({one.other})",
            NONE if one.max_abs is None else f"{one.max_abs:.2e}",
            "identical" if one.identical else NONE if one.snr_db is None else f"{one.snr_db:.1f}",
            same,
        )
