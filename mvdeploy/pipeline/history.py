"""A history's file → series, trends, comparisons and tables; runs → the file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy import plugins
from mvdeploy.analysis import trends
from mvdeploy.analysis.trends import SeriesComparison, Trend
from mvdeploy.analysis.view import View
from mvdeploy.errors import UsageError
from mvdeploy.files import writing
from mvdeploy.history.store import Series, Store, key_of
from mvdeploy.pipeline import report
from mvdeploy.pipeline.compare import ResultComparison, compare_baselines
from mvdeploy.records import UNAVAILABLE, Baseline
from mvdeploy.records.history import HistoryEntry
from mvdeploy.stats import changes

if TYPE_CHECKING:
    import pandas as pd

_SHORTEST = 4
"""Characters of a key at least."""

_ADD = "Add runs with 'mvdeploy history add RUN...' or 'mvdeploy bench ... --record'."

TABLES = (".csv", ".parquet")
"""Endings of the files that a history is exported to."""


@dataclasses.dataclass(frozen=True)
class Added:
    """What became of a run.

    Attributes:
        run: its name.
        added: results that were not there yet.
        known: those that were.
        left: cases that have no latency of their own, and why.
    """

    run: str
    added: int
    known: int
    left: tuple[tuple[str, str], ...]


def add(store: Store, view: View) -> Added:
    """Add the results of a run.

    Raises:
        UsageError: none has a latency of its own, or the history cannot be written.
    """
    entries = trends.entries_of(view)
    added = store.add(entries)
    reasons = ((case.name, trends.why_left(case)) for case in view.cases)
    left = tuple((name, reason) for name, reason in reasons if reason)
    return Added(view.run.name, added, len(entries) - added, left)


def add_saved(store: Store, folder: Path) -> Added:
    """Add the results of a saved run.

    Raises:
        UsageError: the folder holds no run; see also `add`.
    """
    return add(store, report.view(folder))


def listed(store: Store) -> tuple[tuple[Series, HistoryEntry], ...]:
    """Return all series with the last result of each, the one that was measured last first.

    Raises:
        UsageError: the history cannot be read.
    """
    return tuple((one, store.of_series(one.key, last=1)[-1]) for one in store.series())


def keys(store: Store, texts: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of series, of which the beginning is enough; all for no text.

    Raises:
        UsageError: there is no such series, or there are several.
    """
    known = [one.key for one in store.series()]
    if not known:
        raise UsageError(f"There is nothing in the history {store.path} yet.", _ADD)
    return tuple(_key(text, known) for text in texts) if texts else tuple(known)


def _key(text: str, known: Sequence[str]) -> str:
    fitting = [key for key in known if len(text) >= _SHORTEST and key.startswith(text.lower())]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(
            f"{len(fitting)} series begin with '{text}'.",
            "Give more of the key, as 'mvdeploy history list --json' has it.",
        )
    short = tuple(key[:8] for key in known)
    raise plugins.unknown("series", text[:64], short)


def trend(
    store: Store,
    key: str,
    across: Sequence[str] = (),
    least_shift: float = changes.LEAST_SHIFT,
) -> Trend:
    """Return the trend of a series.

    Args:
        store: the history.
        key: of the series, whole.
        across: conditions in which other series may differ whose results count as well.
        least_shift: relative change of the level that counts at least.

    Raises:
        UsageError: the history cannot be read, or results have no such condition.
    """
    entries = store.of_series(key)
    if across:
        entries = _across(store, entries, across)
        key = key_of(entries[-1])
    return trends.trend_of(key, entries, across, least_shift)


def _across(
    store: Store, entries: Sequence[HistoryEntry], across: Sequence[str]
) -> tuple[HistoryEntry, ...]:
    wanted = entries[-1].alike
    for name in across:
        if name not in wanted:
            raise plugins.unknown("condition", name, tuple(wanted))

    def without(values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name not in across}

    chosen = [
        one.key
        for one, last in listed(store)
        if not trends.differences(without(last.alike), without(wanted))
    ]
    found = [entry for key in chosen for entry in store.of_series(key)]
    return tuple(sorted(found, key=lambda entry: entry.created))


def compare(store: Store, a: str, b: str) -> SeriesComparison | tuple[ResultComparison, ...]:
    """Compare two series, by their last levels, or two runs, by their sessions.

    Args:
        store: the history.
        a: name of a run, or the key of a series; the reference.
        b: the other.

    Raises:
        UsageError: there is none, one is a run and the other is not, or they cannot be compared.
    """
    runs = [store.of_run(text) for text in (a, b)]
    if not any(runs):
        first, second = keys(store, (a, b))
        return trends.compare(trend(store, first), trend(store, second))
    for text, entries in zip((a, b), runs, strict=True):
        if not entries:
            raise UsageError(
                f"There is no run '{text}' in the history.",
                "Give two names of runs, as 'mvdeploy history show KEY' lists them, or two keys "
                "of series.",
            )
    return compare_baselines(*map(_baseline, runs))


def _baseline(entries: Sequence[HistoryEntry]) -> Baseline:
    first = entries[0]
    cases = tuple(entry.case for entry in entries)
    return Baseline(first.run, first.created, first.mvdeploy, cases)


def frame(store: Store, texts: Sequence[str] = ()) -> pd.DataFrame:
    """Return the results of series as a table, one in a row.

    Times are nanoseconds and memory bytes. Columns that begin with ``network`` and those after
    ``peak_memory_bytes`` are what makes results alike.

    Args:
        store: the history.
        texts: keys of series; empty for all.

    Raises:
        UsageError: see `keys`.
    """
    import pandas as pd

    rows = [_record(key, point) for key in keys(store, texts) for point in trend(store, key).points]
    return pd.DataFrame.from_records(rows)


def _record(key: str, point: trends.Point) -> dict[str, Any]:
    entry, interval, wall = point.entry, point.interval, point.wall
    case = entry.case
    alike = {
        name: None if value == UNAVAILABLE else _plain(value) for name, value in entry.alike.items()
    }
    return {
        "series": key,
        "run": entry.run,
        "case": case.slug,
        "label": case.label,
        "created": entry.created,
        "mvdeploy": entry.mvdeploy,
        "file_sha256": entry.file_sha256,
        "samples": wall.count,
        "sessions": len(case.sessions),
        "p50_ns": wall.p50,
        "p50_low_ns": interval.low if interval else None,
        "p50_high_ns": interval.high if interval else None,
        "mean_ns": wall.mean,
        "p90_ns": wall.p90,
        "p99_ns": None if "p99" in wall.too_few_for else wall.p99,
        "level_ns": point.level_ns,
        "change": point.shift.share if point.shift else None,
        "load_ns": case.loads_ns[0] if case.loads_ns else None,
        "first_ns": case.firsts_ns[0] if case.firsts_ns else None,
        "peak_memory_bytes": case.peak_memory_bytes or None,
        **alike,
    }


def _plain(value: Any) -> str:
    """Return a condition as text: a column holds one type."""
    return json.dumps(list(value)) if isinstance(value, tuple) else str(value)


def export(store: Store, path: Path, texts: Sequence[str] = ()) -> int:
    """Write the results of series to a CSV or a Parquet file; return how many.

    Raises:
        UsageError: it ends otherwise, Parquet cannot be written here, or see `frame`.
    """
    if path.suffix.lower() not in TABLES:
        raise UsageError(
            f"{path} ends in none of {' and '.join(TABLES)}.", "Give -o FILE.csv or FILE.parquet."
        )
    parquet = path.suffix.lower() == ".parquet"
    if parquet:
        demand_parquet()
    table = frame(store, texts)
    with writing.whole(path) as part:
        if parquet:
            table.astype(_unknown_types(table)).to_parquet(part, index=False)
        else:
            from mvdeploy.report.renderers.csv import safe

            table.map(safe).to_csv(part, index=False, lineterminator="\n")
    return len(table)


def _unknown_types(table: pd.DataFrame) -> dict[str, str]:
    """Return the types of columns without a value, so that all exports have the same."""
    numbers = list(table.columns).index("peak_memory_bytes")
    return {
        str(name): "float64" if at < numbers else "string"
        for at, name in enumerate(table.columns)
        if table[name].isna().all()
    }


def demand_parquet() -> None:
    """Refuse Parquet where nothing writes it.

    Raises:
        UsageError: the package is not installed.
    """
    import importlib.util

    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError(
            "Parquet files are written by the package pyarrow, which is not installed.",
            "Install it with 'pip install pyarrow', or give -o FILE.csv.",
        )
