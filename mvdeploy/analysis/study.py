"""`StudyView`: what was measured of a study beside what is published.

Where a published number is of the device that was measured, the two are compared as they are;
otherwise as ratios to the study's reference. Ranks are compared either way.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from mvdeploy.analysis.breakdown_view import OUTSIDE, UNPLACED
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.ratios import ComparisonView
from mvdeploy.analysis.view import View
from mvdeploy.records import Device, TimeKind
from mvdeploy.records.study import Published, Study, StudyPart, StudyRow, StudyRun, StudyWay

TOLD_APART = 0.02
"""Two rows whose numbers differ by less, in either source, have no order that could agree."""

_FEWEST = 3
"""Rows from which on ranks are correlated."""


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Latency of a row, divided by that of the reference.

    Attributes:
        value: the ratio.
        low: end of its 95 % interval; None where the two did not take turns.
        high: likewise.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row, measured in one way.

    Attributes:
        row: of the study.
        case: what was measured; None for a row that is only published, or whose turn has not come.
        ratio: to the reference.
        shares: of the latency, by title of the part; empty without a breakdown.
        other: share of the latency that is in none of the parts, but in a category or kind.
        unattributed: share of the latency that is in no category.
        reason: why there is no latency; empty where there is one, and for published rows.
    """

    row: StudyRow
    case: CaseView | None
    ratio: Ratio | None
    shares: dict[str, float]
    other: float
    unattributed: float
    reason: str

    @property
    def ns(self) -> float | None:
        """The median latency."""
        return self.case.timing.wall.p50 if self.case and self.case.timing else None

    def attributed(self, part: str) -> float | None:
        """Return a part's share of what is attributed, as the rows of papers are."""
        known = 1 - self.unattributed
        return self.shares[part] / known if part in self.shares and known > 0 else None

    @property
    def wrong(self) -> bool:
        """Whether the device computes something else than the network."""
        parity = self.case.case.device_parity if self.case else None
        return parity is not None and not parity.passed


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How what was measured agrees with one column of published numbers.

    Attributes:
        series: the published numbers.
        same_device: whether they are of the device that was measured.
        rows: names of those that have both.
        rank: Spearman's correlation of the two; None with too few rows, or all the same.
        told: pairs of rows that both tell apart.
        contradicted: those of them that have another order: the measured smaller one first.
        worst: the row that differs most.
        difference: by how much: measured ÷ published for latencies and ratios of them, measured
            minus published for shares of what is attributed; None where the two cannot be held
            against each other.
    """

    series: Published
    same_device: bool
    rows: tuple[str, ...]
    rank: float | None
    told: int
    contradicted: tuple[tuple[str, str], ...]
    worst: str = ""
    difference: float | None = None


@dataclasses.dataclass(frozen=True)
class WayView:
    """All rows in one format and precision.

    Attributes:
        way: which.
        engine: that ran them; empty when nothing ran.
        entries: in the order of the study.
        agreements: with each column of published latencies, shares and accuracies.
        front: rows than which none is both faster and, as published, more accurate.
        largest: rows with published shares, each with the largest of their parts as measured, and
            as published.
    """

    way: StudyWay
    engine: str
    entries: tuple[Entry, ...]
    agreements: tuple[Agreement, ...]
    front: tuple[str, ...]
    largest: tuple[tuple[str, str, str], ...] = ()

    @property
    def has_others(self) -> bool:
        """Whether a share that can be seen, of 0.05 %, is in none of the study's parts."""
        return any(entry.other >= 0.0005 for entry in self.entries)

    @property
    def time_kind(self) -> TimeKind:
        """Whether the shares rest on measured or on estimated times of operators."""
        found = (e.case.breakdown for e in self.entries if e.case and e.case.breakdown)
        return next((one.time_kind for one in found), TimeKind.MEASURED)

    @property
    def title(self) -> str:
        """Engine, or the format where nothing ran, and precision."""
        precision = "" if self.way.precision == "fp32" else self.way.precision
        return " ".join(filter(None, (self.engine or self.way.format, precision)))


# Compared by identity, as the views that it is made of.
@dataclasses.dataclass(frozen=True, eq=False)
class StudyView:
    """A study as reports show it.

    Attributes:
        saved: what was asked, and which runs there are.
        ways: what was measured, by format and precision.
        device: where; None when nothing was measured.
        runs: views of the runs.
    """

    saved: StudyRun
    ways: tuple[WayView, ...]
    device: Device | None
    runs: tuple[View, ...]

    @property
    def study(self) -> Study:
        """The study."""
        return self.saved.study

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All rows in all ways."""
        return tuple(entry for way in self.ways for entry in way.entries)


def study_view_of(saved: StudyRun, runs: Sequence[View]) -> StudyView:
    """Derive everything that is shown of a study.

    Args:
        saved: the study.
        runs: views of its runs.
    """
    device = runs[0].devices[0] if runs else None
    name = device.profile.name if device else ""
    ways = tuple(_way_view(saved, way, number, runs, name) for number, way in enumerate(saved.ways))
    return StudyView(saved, ways, device, tuple(runs))


def _way_view(
    saved: StudyRun, way: StudyWay, number: int, runs: Sequence[View], device: str
) -> WayView:
    slugs = {row: cases[number] for row, cases in saved.cases.items()}
    reference = slugs[saved.study.reference]
    entries = tuple(
        _entry(saved.study, row, slugs.get(row.name, ""), reference, runs)
        for row in saved.study.rows
    )
    engines = dict.fromkeys(e.case.engine for e in entries if e.case)
    compared = [s for s in saved.study.published if s.quantity != "parameters"]
    return WayView(
        way,
        ", ".join(filter(None, engines)),
        entries,
        tuple(_agreement(saved.study, series, entries, device) for series in compared),
        _front(saved.study, entries),
        tuple(_largest(saved.study, entries)),
    )


def _entry(study: Study, row: StudyRow, slug: str, reference: str, runs: Sequence[View]) -> Entry:
    found = [(run, case) for run in runs for case in run.cases if case.slug == slug]
    if not found:
        reason = "It has not been measured yet." if row.model else ""
        return Entry(row, None, None, {}, 0.0, 0.0, reason)
    # The reference is in every run: the first one that has a latency speaks for it.
    run, case = next((pair for pair in found if pair[1].timing), found[0])
    shares, other, unattributed = _shares(study, case)
    ratio = _ratio(run, case, reference)
    return Entry(row, case, ratio, shares, other, unattributed, case.reason)


def _ratio(run: View, case: CaseView, reference: str) -> Ratio | None:
    if case.timing is None:
        return None
    if case.slug == reference:
        return Ratio(1.0)
    pair = next((c for c in run.comparisons if _is_pair(c, reference, case.slug)), None)
    if pair is not None and pair.estimate is not None:
        return Ratio(pair.estimate.ratio, pair.estimate.low, pair.estimate.high)
    other = next((c for c in run.cases if c.slug == reference and c.timing), None)
    if other is None or other.timing is None:
        return None
    return Ratio(case.timing.wall.p50 / other.timing.wall.p50)


def _is_pair(comparison: ComparisonView, a: str, b: str) -> bool:
    return (comparison.a.slug, comparison.b.slug) == (a, b)


def _shares(study: Study, case: CaseView) -> tuple[dict[str, float], float, float]:
    """Return the share of each part of a study, of all others, and what is in none."""
    if case.breakdown is None or not study.divided:
        return {}, 0.0, 0.0
    view = case.breakdown
    by_key = {p.key: p.share for p in (view.parts if study.divided == "category" else view.kinds)}
    unattributed = by_key.get(UNPLACED, 0.0) + by_key.get(OUTSIDE, 0.0)
    shares = {part.title: _share(part, by_key) for part in study.parts}
    covered = {key for part in study.parts for key in part.of} | {UNPLACED, OUTSIDE}
    other = math.fsum(share for key, share in by_key.items() if key not in covered)
    return shares, other, unattributed


def _share(part: StudyPart, by_key: Mapping[str, float]) -> float:
    return math.fsum(by_key.get(key, 0.0) for key in part.of)


def _agreement(study: Study, series: Published, entries: Sequence[Entry], device: str) -> Agreement:
    same = bool(device) and series.device == device
    pairs = {
        entry.row.name: (measured, series.values[entry.row.name])
        for entry in entries
        if entry.row.name in series.values and (measured := _measured(series, entry)) is not None
    }
    told = [(a, b) for a, b in itertools.combinations(pairs, 2) if _both_tell(pairs[a], pairs[b])]
    contradicted = tuple(
        (a, b) if pairs[a][0] < pairs[b][0] else (b, a)
        for a, b in told
        if (pairs[a][0] < pairs[b][0]) != (pairs[a][1] < pairs[b][1])
    )
    differences = _differences(study, series, entries, pairs, same)
    worst = max(differences, key=lambda row: _size(series, differences[row]), default="")
    return Agreement(
        series,
        same,
        tuple(pairs),
        _rank(list(pairs.values())),
        len(told),
        contradicted,
        worst,
        differences.get(worst),
    )


def _measured(series: Published, entry: Entry) -> float | None:
    """Return what is held against a published number: ms, percent, or the latency's ratio."""
    if series.quantity == "share":
        share = entry.attributed(series.part)
        return None if share is None else 100 * share
    if entry.ratio is not None:
        return entry.ratio.value  # blocks have the reference in common, and nothing else
    return None


def _differences(
    study: Study,
    series: Published,
    entries: Sequence[Entry],
    pairs: Mapping[str, tuple[float, float]],
    same: bool,
) -> dict[str, float]:
    """Return how each row differs from what is published, where that can be said."""
    if series.quantity == "share":
        return {row: ours - theirs for row, (ours, theirs) in pairs.items()}
    if series.quantity != "latency":
        return {}
    if same:
        times = {entry.row.name: entry.ns for entry in entries}
        return {
            row: ns / 1e6 / theirs
            for row, (_, theirs) in pairs.items()
            if (ns := times[row]) is not None and theirs
        }
    unit = series.values.get(study.reference)
    if not unit:
        return {}
    others = {row: pair for row, pair in pairs.items() if row != study.reference and pair[1]}
    return {row: ours / (theirs / unit) for row, (ours, theirs) in others.items()}


def _size(series: Published, difference: float) -> float:
    return abs(difference if series.quantity == "share" else math.log(difference))


def _both_tell(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return all(abs(x - y) >= TOLD_APART * max(x, y) > 0 for x, y in zip(a, b, strict=True))


def _rank(pairs: Sequence[tuple[float, float]]) -> float | None:
    if len(pairs) < _FEWEST or any(len(set(side)) == 1 for side in zip(*pairs, strict=True)):
        return None
    from scipy import stats

    ours, theirs = zip(*pairs, strict=True)
    return float(stats.spearmanr(ours, theirs).statistic)


def _front(study: Study, entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the rows than which none of the same data is faster and more accurate."""
    front: list[str] = []
    for series in study.series("accuracy"):
        known = {
            entry.row.name: (entry.ratio.value, -series.values[entry.row.name])
            for entry in entries
            if entry.ratio is not None and entry.row.name in series.values
        }
        for row, own in known.items():
            beaten = (o for o in known.values() if o != own and all(map(_at_most, o, own)))
            if not any(beaten):
                front.append(row)
    return tuple(front)


def _at_most(a: float, b: float) -> bool:
    return a <= b


def _largest(study: Study, entries: Sequence[Entry]) -> Iterator[tuple[str, str, str]]:
    for entry in entries:
        name, series = entry.row.name, study.series("share")
        theirs = {one.part: one.values[name] for one in series if name in one.values}
        ours = {part: share for part, share in entry.shares.items() if part in theirs}
        if len(ours) > 1:
            yield name, max(ours, key=ours.__getitem__), max(theirs, key=theirs.__getitem__)
