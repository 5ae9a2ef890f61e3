"""The page of a trend: how a series of results went over time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mvdeploy.analysis.trends import Trend
from mvdeploy.files import writing
from mvdeploy.report.charts import Point, Points
from mvdeploy.report.document import Paragraphs, Picture, Section
from mvdeploy.report.history.tables import alike, runs, series_title, summary
from mvdeploy.report.renderers import html, markdown
from mvdeploy.stats import changes
from mvdeploy.text_format import clean, count, reading, signed_percent

if TYPE_CHECKING:
    from rich.console import Console

_FIGURE = "trend"


def sections(trend: Trend) -> tuple[Section, ...]:
    """Return all parts of the page."""
    picture = Picture(
        _FIGURE,
        "Median latency of each run",
        "Points: the median of each run, with its interval within the run; line: the level between "
        "two changes; dashed: where a change was found. The table has the same values.",
    )
    how = (
        f"Changes are found by {changes.METHOD}. Each run is one observation; changes below "
        f"{100 * changes.LEAST_SHIFT:g} % of the level are not told unless a lower limit is given."
    )
    return (
        Section("summary", "Summary", (Paragraphs(summary(trend)), picture)),
        Section("runs", "Runs", (runs(trend),)),
        Section("conditions", "Conditions", (alike(trend), Paragraphs((how,)))),
    )


def write(trend: Trend, folder: Path) -> tuple[Path, ...]:
    """Write trend.md, trend.html and the figure.

    Raises:
        NotWritten: the folder cannot be written to.
    """
    since, until = (trend.points[i].entry.created for i in (0, -1))
    about = f"{count(len(trend.points), 'run')} · {since} to {until} · series {trend.key[:8]}"
    said = series_title(trend.points[-1].entry), clean(about), sections(trend)
    paths = (
        folder / "trend.md",
        folder / "trend.html",
        folder / "figures" / f"{_FIGURE}.png",
    )
    writing.text(paths[0], markdown.page(*said))
    lead = html.with_charts({_FIGURE: (chart(trend),)})
    writing.text(paths[1], html.page(*said, lambda _: drawn(trend, "svg"), lead))
    writing.data(paths[2], drawn(trend, "png"))
    return paths


def chart(trend: Trend) -> Points:
    """Return the chart of the page."""
    shifted = [i for i, point in enumerate(trend.points) if point.shift]
    edges = (0, *shifted, len(trend.points))
    return Points(
        title="",
        x="runs in the order of time",
        y="milliseconds",
        series={"median of a run, with its interval": tuple(_chart_points(trend))},
        labels=tuple(clean(point.entry.created)[:10] for point in trend.points),
        levels=tuple(
            (start + 0.6, stop + 0.4, round(trend.points[start].level_ns / 1e6, 6))
            for start, stop in itertools.pairwise(edges)
        ),
        limits=tuple(
            (i + 0.5, signed_percent(shift.share))
            for i, shift in ((i, trend.points[i].shift) for i in shifted)
            if shift
        ),
    )


def _chart_points(trend: Trend) -> Iterator[Point]:
    table = runs(trend)
    for number, (point, row) in enumerate(zip(trend.points, table.rows, strict=True), 1):
        ends = point.interval
        yield Point(
            number,
            round(point.median_ns / 1e6, 6),
            tuple(
                f"{column.title} {cell}" if at else cell
                for at, (column, cell) in enumerate(zip(table.columns, row, strict=True))
                if cell
            ),
            (round(ends.low / 1e6, 6), round(ends.high / 1e6, 6)) if ends else None,
        )


def show(trend: Trend, console: Console) -> None:
    """Print the table and what it says."""
    from rich.text import Text

    from mvdeploy.report.renderers.terminal import fitting

    console.print(Text(f"{series_title(trend.points[-1].entry)} ({trend.key[:8]})", style="bold"))
    for line in summary(trend):
        console.print(Text(line))
    console.print(fitting(runs(trend), console.width), highlight=False)


def drawn(trend: Trend, kind: Literal["png", "svg"]) -> bytes:
    """Return the figure of a trend as a file."""
    from mvdeploy.report import figures
    from mvdeploy.report.figures import _style, _trend

    letters = frozenset(letter for letter in clean(trend.label) if letter > "\x7f")
    with _style.look(letters):
        return figures.saved(_trend.draw(trend), kind)


def as_json(trend: Trend) -> dict[str, Any]:
    """Return a trend as plain JSON values; times are milliseconds."""
    return {
        "series": trend.key,
        "label": trend.label,
        "alike": {
            name: value if isinstance(value, str | int | float) else list(value)
            for name, value in trend.points[-1].entry.alike.items()
            if name not in trend.across
        },
        "across": list(trend.across),
        "enough_runs": trend.enough,
        "least_runs": changes.LEAST_RUNS,
        "spread_between_runs": trend.spread,
        "summary": list(summary(trend)),
        "runs": [
            {
                "run": point.entry.run,
                "created": point.entry.created,
                "mvdeploy": point.entry.mvdeploy,
                "file_sha256": point.entry.file_sha256,
                "p50_ms": point.median_ns / 1e6,
                "p50_low_ms": point.interval.low / 1e6 if point.interval else None,
                "p50_high_ms": point.interval.high / 1e6 if point.interval else None,
                "samples": point.wall.count,
                "level_ms": point.level_ns / 1e6,
                "changed": {name: reading(value) for name, value in point.other.items()},
                "change": {
                    "ratio": point.shift.estimate.ratio,
                    "low": point.shift.estimate.low,
                    "high": point.shift.estimate.high,
                    "probability": point.shift.change.probability,
                }
                if point.shift
                else None,
            }
            for point in trend.points
        ],
        "method": changes.METHOD,
    }
