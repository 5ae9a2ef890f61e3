"""The charts of a study's page, in the places of its pictures."""

from __future__ import annotations

from collections.abc import Iterator

from mvdeploy.analysis.study import StudyView, WayView
from mvdeploy.records.study import Published
from mvdeploy.report.charts import Bars, Point, Points, Row
from mvdeploy.text_format import clean, milliseconds, percent


def accuracies(view: StudyView, way: WayView) -> tuple[Points, ...]:
    """Return latency against accuracy, a part for each kind of accuracy."""
    limit = view.study.limit_ms
    return tuple(
        Points(
            title=clean(one.where),
            x="milliseconds of one inference (wall time, median)",
            y=clean(f"{one.title}, {one.unit} (published)"),
            series={
                "measured": tuple(_measured(view, way, one)),
                "published latency": tuple(_published(view, one)),
            },
            limits=((limit, clean(view.study.limit_title)),) if limit is not None else (),
            logarithmic=True,
        )
        for one in view.study.series("accuracy")
    )


def _measured(view: StudyView, way: WayView, series: Published) -> Iterator[Point]:
    known = {name for one in view.study.series("accuracy") for name in one.values}
    tasks = {row.task for row in view.study.rows if row.name in series.values}
    for entry in way.entries:
        name, accuracy = entry.row.name, series.values.get(entry.row.name)
        if entry.ns is None or (
            accuracy is None and (name in known or entry.row.task not in tasks)
        ):
            continue
        said = [clean(name), f"{milliseconds(entry.ns)} ms, measured", _accuracy(series, accuracy)]
        if accuracy is not None and name in way.front:
            said.append("none is faster and more accurate")
        yield Point(round(entry.ns / 1e6, 6), accuracy, tuple(said))


def _published(view: StudyView, series: Published) -> Iterator[Point]:
    for latency in view.study.series("latency"):
        for name, ms in latency.values.items():
            accuracy = series.values.get(name)
            if accuracy is None:
                continue
            said = f"{ms:g} ms, published: {latency.title}, {latency.where}"
            yield Point(ms, accuracy, (clean(name), clean(said), _accuracy(series, accuracy)))


def _accuracy(series: Published, value: float | None) -> str:
    if value is None:
        return "no published accuracy"
    return clean(f"{series.title} {value:g} {series.unit}, published")


def shares(view: StudyView, way: WayView) -> tuple[Bars, ...]:
    """Return the shares of each row, and paler below it those that are published."""
    from mvdeploy.report.figures import _shares

    looks = _shares.looks_of(view, way)
    rows: list[Row] = []
    for entry in way.entries:
        if not entry.shares:
            continue
        kinds = (
            (str(way.time_kind), _shares.measured(view, way, entry), False),
            ("published", _shares.published(view.study, entry), True),
        )
        rows += [
            Row(
                clean(f"{entry.row.name}, {kind}"),
                tuple(round(of.get(title, 0.0), 6) for title in looks),
                tuple(percent(of[title]) if title in of else "" for title in looks),
                pale,
            )
            for kind, of, pale in kinds
            if of
        ]
    parts = tuple((clean(title), colour) for title, (colour, _) in looks.items())
    return (Bars("share of the latency", parts, tuple(rows)),)
