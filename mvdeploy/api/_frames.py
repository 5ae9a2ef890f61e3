"""A saved run as tables of pandas: the rows of its CSV files, with a type for each column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mvdeploy import plugins
from mvdeploy.analysis.breakdown_view import UNPLACED, ModuleShare
from mvdeploy.analysis.view import View
from mvdeploy.report.renderers import csv

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
Made = tuple[tuple[str, ...], Iterable[Row]]

_COUNTS = frozenset(
    (
        *("samples", "session", "sample", "wall_ns", "cpu_ns", "position", "operators"),
        *("groups", "pairs", "threads", "batch"),
    )
)
_YES_NO = frozenset(("in_turns",))
_TEXTS = frozenset(
    (
        *("case", "label", "format", "engine", "precision", "device", "verdict", "problem"),
        *("a", "b", "clock", "reliability", "part", "time_kind", "operator", "type", "kind"),
        *("category", "module", "fused_modules"),
    )
)

_CONDITIONS = ("precision", "threads", "device")
"""Columns of cases that the CSV file of latencies has not."""

_MODULES = (
    *("case", "label", "format", "engine", "module", "category", "operators"),
    *("ms", "share", "time_kind"),
)


def frame(view: View, name: str) -> pd.DataFrame:
    """Return a table of a run.

    Args:
        view: the run.
        name: one of `NAMES`, or of a further CSV file that runs as this one have.

    Raises:
        UsageError: there is no such table.
    """
    import pandas as pd

    further = {own: made for own, made in csv.tables(view).items() if own not in _TOLD}
    if name not in _MADE and name not in further:
        raise plugins.unknown("table", name, (*NAMES, *further))
    columns, rows = _MADE[name](view) if name in _MADE else further[name]
    values: dict[str, list[Any]] = {column: [] for column in columns}
    for row in rows:
        for column, held in values.items():
            held.append(row.get(column))
    return pd.DataFrame({c: _typed(c, held) for c, held in values.items()}, columns=list(columns))


def _typed(column: str, values: list[Any]) -> Any:
    """Return values as a column: what is not known is missing, whatever its type."""
    import pandas as pd

    kinds = {type(value) for value in values if value is not None}
    if column in _TEXTS or any(issubclass(kind, str) for kind in kinds):
        said = [None if value is None else str(value) for value in values]
        return pd.array(said, dtype="string")
    if column in _YES_NO or kinds == {bool}:
        return pd.array(values, dtype="boolean")
    if column in _COUNTS or kinds == {int}:
        return pd.array(values, dtype="Int64")
    return pd.Series(values, dtype="float64")


def _cases(view: View) -> Made:
    columns, rows = csv.tables(view)["latency"]
    usual = view.run.plan.threads
    known = (
        {
            **row,
            "precision": case.precision or None,
            "threads": case.case.threads or usual,
            "device": case.device.profile.title,
        }
        for case, row in zip(view.cases, rows, strict=True)
    )
    at = columns.index("samples")
    return (*columns[:at], *_CONDITIONS, *columns[at:]), known


def _modules(view: View) -> Made:
    _, rows = csv.tables(view)["breakdown"]
    found = (row for row in rows if row["grouping"] == "module")
    ids = {title: key for key, title in view.categories.items()}  # as operators have them
    return _MODULES, (
        {
            **row,
            "module": row["part"],
            "category": ids.get(module.category, UNPLACED),
            "operators": module.operators,
        }
        for row, module in zip(found, _module_shares(view), strict=True)
    )


def _module_shares(view: View) -> Iterator[ModuleShare]:
    for case in view.cases:
        yield from case.breakdown.modules if case.breakdown else ()


def _parts(grouping: str) -> Callable[[View], Made]:
    def made(view: View) -> Made:
        columns, rows = csv.tables(view)["breakdown"]
        own = tuple(grouping if column == "part" else column for column in columns)
        left = tuple(column for column in own if column != "grouping")
        return left, ({**row, grouping: row["part"]} for row in rows if row["grouping"] == grouping)

    return made


_MADE: dict[str, Callable[[View], Made]] = {
    "cases": _cases,
    "comparisons": lambda view: csv.tables(view)["comparisons"],
    "samples": lambda view: csv.tables(view)["samples"],
    "categories": _parts("category"),
    "kinds": _parts("kind"),
    "modules": _modules,
    "operators": lambda view: csv.tables(view)["operators"],
}

_TOLD = frozenset((*_MADE, "latency", "breakdown"))
"""CSV files whose rows are in the tables above."""

NAMES = tuple(_MADE)
"""Tables that there are of every run."""
