"""What the charts of the HTML report are drawn from: a part of ``report.json``, and its colours.

All numbers are those that `mvdeploy.report.renderers.json` gives: milliseconds, to the nanosecond.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mvdeploy.analysis.breakdown_view import NETWORK
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.view import View
from mvdeploy.report import charts
from mvdeploy.report.renderers.json import as_json
from mvdeploy.text_format import clean

CHARTS = frozenset({"latency", "categories", "modules", "timeline"})
"""Pictures in whose place the page draws a chart; ``assets/report.js`` has a drawing for each."""

_SAMPLES, _FEWEST, _MOST = 15_000, 200, 2_000
"""Samples that all cases may have in a page, and those that one has at least and at most."""


def text(view: View) -> str:
    """Return the data of a page as JSON that may stand in a script element."""
    return charts.in_script(data(view))


def data(view: View) -> dict[str, Any]:
    """Return what is drawn: cases with their numbers, parts with their colours, and modules."""
    from mvdeploy.report.figures import _style

    told = {case["slug"]: case for case in as_json(view)["cases"]}
    paths = _module_paths(view)
    number = {path: i for i, path in enumerate(paths)}
    looks = _style.part_looks(view)
    titles = _part_titles(view)
    most = max(_FEWEST, min(_MOST, _SAMPLES // max(1, len(view.measured))))
    return {
        "parts": [
            {"key": key, "title": clean(title), "colour": looks.get(key, ("#BBBBBB", ""))[0]}
            for key, title in titles.items()
        ],
        "modules": [clean(path) for path in paths],
        "module_parts": _module_parts(view, paths, tuple(titles.values())),
        "pairs": _pairs(view),
        "cases": [_case(case, told[case.slug], titles, number, most) for case in view.cases],
    }


def _case(
    case: CaseView,
    told: Mapping[str, Any],
    parts: Mapping[str, str],
    modules: Mapping[str, int],
    most: int,
) -> dict[str, Any]:
    latency, interval, divided = told["latency_ms"], told["interval"], told["breakdown"]
    named = ("p10", "p50", "p90", "p95", "p99")
    return {
        "key": case.key,
        "name": clean(case.name),
        "count": sum(map(len, told["raw_samples_ms"])),
        "latency_ms": {name: _ms(latency[name]) for name in named} if latency else None,
        "interval": [_ms(interval["low_ms"]), _ms(interval["high_ms"])] if interval else None,
        "verdict": told["reliability"]["verdict"] if told["reliability"] else None,
        "samples": [*_shown(told["raw_samples_ms"], most)],
        "breakdown": {
            "total_ms": _ms(divided["total_ms"]),
            "time_kind": divided["time_kind"],
            "parts": [
                _ms((divided["categories"] or divided["kinds"]).get(key, {"ms": 0.0})["ms"])
                for key in parts
            ],
            "modules": sorted(
                [modules[path], _ms(found["ms"]), found["operators"]]
                for path, found in divided["modules"].items()
            ),
        }
        if divided
        else None,
    }


def _ms(value: float) -> float:
    """Return milliseconds to the nanosecond."""
    return round(value, 6)


def _shown(sessions: Sequence[Sequence[float]], most: int) -> Iterator[list[list[float]]]:
    """Give the samples of each session with their places among all, at most so many together.

    Of many, the smallest and the largest of each stretch are given, so that no outlier is missing.
    """
    stretch = max(1, -(-2 * sum(map(len, sessions)) // most))
    start = 0
    for session in sessions:
        kept: dict[int, float] = {}
        for at in range(0, len(session), stretch):
            places = range(at, min(at + stretch, len(session)))
            ends = (min(places, key=session.__getitem__), max(places, key=session.__getitem__))
            kept.update((place, session[place]) for place in sorted(ends))
        if stretch <= 2:
            kept = dict(enumerate(session))
        yield [[start + place, _ms(value)] for place, value in kept.items()]
        start += len(session)


def _part_titles(view: View) -> dict[str, str]:
    """Return the parts of latencies with their titles, in order."""
    return {
        part.key: part.title
        for case in view.profiled
        if case.breakdown
        for part in case.breakdown.parts
    }


def _module_paths(view: View) -> list[str]:
    """Return all modules with time, in the order in which their first operators run."""
    paths: dict[str, None] = {}
    for case in view.profiled:
        divided = case.breakdown
        if divided is None:
            continue
        for operator in sorted(divided.operators, key=lambda one: one.position):
            if operator.row.modules:
                paths.setdefault(operator.row.modules[0] or NETWORK)
    return list(paths)


def _module_parts(view: View, paths: Sequence[str], titles: Sequence[str]) -> list[int]:
    """Return the number of each module's part; -1 where it has none."""
    of: dict[str, str] = {}
    for case in view.profiled:
        for module in case.breakdown.modules if case.breakdown else ():
            of.setdefault(module.path, module.category)
    return [titles.index(of[path]) if of.get(path) in titles else -1 for path in paths]


def _pairs(view: View) -> list[list[str]]:
    """Return the cases whose modules are worth being seen side by side, the first pair first."""
    pairs = [(pair.parts.a, pair.parts.b) for pair in view.engines]
    pairs += [(pair.a, pair.b) for pair in view.differences]
    return [list(pair) for pair in dict.fromkeys((a.key, b.key) for a, b in pairs)]
