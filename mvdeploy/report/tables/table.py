"""`Table`, and what the tables of a report have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.view import View
from mvdeploy.records import Reading
from mvdeploy.text_format import NONE, clean, reading

T = TypeVar("T")

SIDE_BY_SIDE = 4
"""Cases that fit beside each other in a table; more are put into further tables."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column: its title, which may have a line break, and whether it holds numbers.

    `case` is the key of the case whose values it holds; empty when it holds those of several. What
    is `whole` stays on one line, as a name that is typed again.
    """

    title: str
    numeric: bool = True
    case: str = ""
    whole: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: what it shows.
        columns: from left to right.
        rows: as many cells in each as there are columns.
        note: what a reader of the table has to know.
        total: the last row is the sum of the others.
        cases: keys of the cases that each row is about; none when rows are about no case.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    total: bool = False
    cases: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.cases and len(self.cases) != len(self.rows):
            raise ValueError(f"table '{self.title}' does not say of each row whose it is")
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table '{self.title}' has a row of {len(row)} cells")
        object.__setattr__(self, "rows", tuple(tuple(map(clean, row)) for row in self.rows))


def text(title: str, case: str = "") -> Column:
    """Return a column of words."""
    return Column(title, numeric=False, case=case)


def typed(title: str) -> Column:
    """Return a column of names that are typed again."""
    return Column(title, numeric=False, whole=True)


def about(cases: Iterable[CaseView]) -> tuple[tuple[str, ...], ...]:
    """Return the keys of rows that are about a case each, in their order."""
    return tuple((case.key,) for case in cases)


def facts_table(title: str, values: dict[str, Reading]) -> Table:
    """Return names and values as a table."""
    rows = tuple((name, reading(value)) for name, value in values.items())
    return Table(title, (text(""), text("")), rows)


def tagged(view: View, case: CaseView) -> str:
    """Return a case's key and name; the name alone when there is only one case."""
    return f"{case.key}: {case.name}" if len(view.cases) > 1 else case.name


def device_column(view: View) -> tuple[Column, ...]:
    """Return the column that says where a case ran, unless that is clear without it."""
    return (text("Device"),) if _show_device(view) else ()


def device_cell(view: View, case: CaseView) -> tuple[str, ...]:
    """Return what stands in `device_column`."""
    return (case.device.profile.title,) if _show_device(view) else ()


def _show_device(view: View) -> bool:
    named = all(clean(case.device.profile.title) in case.name for case in view.cases)
    return len(view.devices) > 1 and not named


def engine_column(view: View) -> tuple[Column, ...]:
    """Return the column that says what ran a case, unless all names do."""
    return (text("Engine"),) if _show_engine(view) else ()


def engine_cell(view: View, case: CaseView) -> tuple[str, ...]:
    """Return what stands in `engine_column`."""
    return (case.engine or NONE,) if _show_engine(view) else ()


def _show_engine(view: View) -> bool:
    return not all(case.engine and case.engine in case.name for case in view.cases)


def side_note(view: View, cases: Sequence[CaseView]) -> str:
    """Say which case is which column, and whether operator times are measured or estimated."""
    kinds = {case.key: case.breakdown.time_kind for case in cases if case.breakdown}
    if len(set(kinds.values())) == 1:
        note = f"Operator times are {next(iter(kinds.values()))}."
    else:
        note = " ".join(f"Operator times of {key} are {kind}." for key, kind in kinds.items())
    return f"{key_note(view, cases)} {note}".strip()


def key_note(view: View, cases: Sequence[CaseView]) -> str:
    """Say which case is which column."""
    if len(view.cases) == 1:
        return ""
    return "; ".join(f"{case.key} = {case.name}" for case in cases) + "."


def batches(items: Sequence[T], size: int = SIDE_BY_SIDE) -> Iterator[Sequence[T]]:
    """Cut a list into pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def facts_by_case(
    view: View, title: str, facts: Callable[[CaseView], dict[str, Reading]]
) -> Iterator[Table]:
    """Set names and values of several cases side by side."""
    known = [case for case in view.cases if facts(case)]
    for cases in batches(known):
        columns = [facts(case) for case in cases]
        names = dict.fromkeys(name for column in columns for name in column)
        yield Table(
            title,
            (text(""), *(text(case.key, case.key) for case in cases)),
            tuple((n, *(reading(c.get(n, NONE)) for c in columns)) for n in names),
            note=key_note(view, cases),
        )
