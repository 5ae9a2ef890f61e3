"""The tables and sentences of a history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mvdeploy import engines
from mvdeploy.analysis.trends import Point, SeriesComparison, Shift, Trend
from mvdeploy.records import UNAVAILABLE, Reading
from mvdeploy.records.history import HistoryEntry
from mvdeploy.report.tables.table import Column, Table, facts_table, text, typed
from mvdeploy.stats import changes
from mvdeploy.stats.percentiles import percentile
from mvdeploy.text_format import (
    NONE,
    clean,
    count,
    elide,
    milliseconds,
    percent,
    reading,
    signed_percent,
)

if TYPE_CHECKING:
    from mvdeploy.history.store import Series

_LABEL = 60
"""Characters of a name."""

_SLOWER, _FASTER = "▲", "▼"


def series_title(entry: HistoryEntry) -> str:
    """Return what a series is called: the case and the conditions that tell most apart."""
    conditions = entry.case.conditions
    threads = conditions.get("threads", UNAVAILABLE)
    words = (
        elide(entry.case.label, _LABEL),
        way(entry),
        count(threads, "thread") if isinstance(threads, int) else "",
        f"on {reading(conditions.get('device', UNAVAILABLE))}",
    )
    return clean(", ".join(filter(None, words)))


def way(entry: HistoryEntry) -> str:
    """Return engine and precision of a result, and the format where the engine has others."""
    names = ("format", "engine", "engine_version", "precision")
    form, engine, version, precision = (
        reading(entry.case.conditions.get(name, UNAVAILABLE)) for name in names
    )
    release = "" if version == UNAVAILABLE else f" {version}"
    usual = engine in engines.names() and tuple(engines.get(engine).FORMATS) == (form,)
    shown = "" if usual or form == UNAVAILABLE else f" ({form})"
    return clean(f"{engines.title(engine)}{release}{shown} {precision}")


def series(listed: Sequence[tuple[Series, HistoryEntry]]) -> Table:
    """Return all series, each with its last result."""
    columns = (
        typed("Series"),
        text("Case"),
        text("with"),
        Column("threads"),
        text("device"),
        Column("runs"),
        typed("last"),
        Column("p50, ms"),
    )
    rows = tuple(
        (
            one.key[:8],
            elide(last.case.label, _LABEL),
            way(last),
            reading(last.case.conditions.get("threads", NONE)),
            reading(last.case.conditions.get("device", NONE)),
            f"{one.count:,}",
            moment(one.last)[:10],
            milliseconds(median(last)),
        )
        for one, last in listed
    )
    return Table("Series (p50 is that of the last run)", columns, rows)


def results(entries: Sequence[tuple[str, HistoryEntry]]) -> Table:
    """Return the results of a run, each with its series."""
    columns = (typed("Series"), text("Case"), text("with"), Column("samples"), Column("p50, ms"))
    rows = tuple(
        (
            key[:8],
            elide(entry.case.label, _LABEL),
            way(entry),
            f"{sum(map(len, entry.case.sessions)):,}",
            milliseconds(median(entry)),
        )
        for key, entry in entries
    )
    run = entries[0][1]
    return Table(f"{run.run}, {moment(run.created)}, mvdeploy {run.mvdeploy}", columns, rows)


def runs(trend: Trend) -> Table:
    """Return the runs of a trend, with a mark at each change."""
    columns = (
        typed("Run"),
        Column("p50, ms"),
        Column("±"),
        Column("÷ level"),
        text("mvdeploy"),
        *(text(clean(name.replace("_", " "))) for name in trend.across),
        text("change"),
    )
    rows = tuple(_run(trend, point) for point in trend.points)
    note = (
        "± is the 95 % interval of the median within the run; the level is that of the runs "
        f"between two changes. {_SLOWER} slower, {_FASTER} faster than before."
    )
    return Table("Runs, the last at the end", columns, rows, note=note)


def alike(trend: Trend) -> Table:
    """Return what all results of a trend have in common."""
    return facts_table(
        "What all of these runs have in common",
        known({k: v for k, v in trend.points[-1].entry.alike.items() if k not in trend.across}),
    )


def known(values: dict[str, Reading]) -> dict[str, Reading]:
    """Return what is known of conditions, by names as they are read."""
    return {
        condition.replace("_", " "): value
        for condition, value in values.items()
        if value not in (UNAVAILABLE, ())
    }


def summary(trend: Trend) -> tuple[str, ...]:
    """Say how a series went."""
    return tuple(_sentences(trend))


def _sentences(trend: Trend) -> Iterator[str]:
    number = len(trend.points)
    for point in trend.points:
        if point.shift:
            word = "slower" if point.shift.share > 0 else "faster"
            yield (
                f"{_mark(point.shift)} {percent(abs(point.shift.share))} {word} since "
                f"{clean(point.entry.run)} ({moment(point.entry.created)}); 95 % interval "
                f"{_interval(point.shift)}, by the spread between runs."
            )
    if not trend.enough:
        yield (
            f"{count(number, 'run')} {'is' if number == 1 else 'are'} too few to tell a change "
            f"from the spread between runs, which takes {changes.LEAST_RUNS}."
        )
    elif not trend.shifts:
        yield f"No change was found in {number} runs."
    if trend.spread is not None:
        yield (
            f"Runs at one level differ by {percent(trend.spread, 2)} (standard deviation between "
            "runs)."
        )


def comparison(found: SeriesComparison) -> tuple[str, ...]:
    """Say which of two series is faster, and in what they differ."""
    a, b = (series_title(trend.points[-1].entry) for trend in (found.a, found.b))
    keys = [trend.key[:8] for trend in (found.a, found.b)]
    estimate = found.estimate
    if estimate.verdict in ("faster", "slower"):
        verdict = f"{b} ({keys[1]}) is {estimate.verdict} than {a} ({keys[0]})"
    else:
        verdict = f"No difference detected between {b} ({keys[1]}) and {a} ({keys[0]})"
    said = [
        f"{verdict}: ratio of p50 {estimate.ratio:.3f}, {100 * estimate.level:.0f} % interval "
        f"{estimate.low:.3f}–{estimate.high:.3f}, by the spread between runs, not paired."
    ]
    for name, (here, there) in found.differing.items():
        title = clean(name.replace("_", " "))
        said.append(f"They differ in {title}: {reading(here)} and {reading(there)}.")
    return tuple(said)


def moment(created: str) -> str:
    """Return when a run was, to the minute."""
    return clean(created)[:16].replace("T", " ")


def median(entry: HistoryEntry) -> float:
    """Return the median of all samples of a result, nanoseconds."""
    return percentile([time for session in entry.case.sessions for time in session], 50)


def _run(trend: Trend, point: Point) -> tuple[str, ...]:
    interval = point.interval
    return (
        point.entry.run,
        milliseconds(point.median_ns),
        percent(interval.half_width_relative, 2) if interval else NONE,
        f"{point.median_ns / point.level_ns:.3f}",
        point.entry.mvdeploy,
        *(reading(point.other[name]) if name in point.other else "" for name in trend.across),
        f"{_mark(point.shift)} {signed_percent(point.shift.share)}" if point.shift else "",
    )


def _mark(shift: Shift) -> str:
    return _SLOWER if shift.share > 0 else _FASTER


def _interval(shift: Shift) -> str:
    low, high = (signed_percent(end - 1) for end in (shift.estimate.low, shift.estimate.high))
    return f"{low} to {high}"
