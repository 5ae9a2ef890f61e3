"""What a history keeps of a run, and what its results say over time."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence

from mvdeploy.analysis.baselines import baseline_case, why_unmeasured
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.view import View
from mvdeploy.errors import UsageError
from mvdeploy.records import UNAVAILABLE, Artifact, ModelSpec, Reading, codec
from mvdeploy.records.history import HistoryEntry
from mvdeploy.stats import changes, unpaired
from mvdeploy.stats.interval import Interval, median_interval
from mvdeploy.stats.summary import LatencySummary, summarise
from mvdeploy.text_format import clean

_ELSEWHERE = ("weights", "batch")
"""Fields of a network's spec that stand elsewhere: the fingerprint, and the conditions."""

_WORDS: dict[str, Callable[[ModelSpec], str]] = {
    "model": lambda spec: spec.model,
    "patches": lambda spec: spec.patches_text,
    "image_size": lambda spec: "x".join(map(str, spec.image_size)),
    "task": lambda spec: spec.task,
}
"""How fields of a spec are said; others are JSON."""


def entries_of(view: View) -> tuple[HistoryEntry, ...]:
    """Return what a history keeps of a run: the cases with a latency of their own that is right.

    Raises:
        UsageError: there is none.
    """
    kept = [_entry(view, case) for case in view.cases]
    entries = tuple(entry for entry in kept if entry is not None)
    if not entries:
        reasons = [why_left(case).rstrip(".") for case in view.cases] or ["it has no cases"]
        raise UsageError(
            f"There is nothing to add of {clean(view.run.name)}: {reasons[0]}.",
            "Give a run of 'mvdeploy bench' with a result.",
        )
    return entries


def why_left(case: CaseView) -> str:
    """Say why a history keeps nothing of a case; empty when it does."""
    parity = case.case.device_parity
    if parity is not None and not parity.passed:
        return "The device computes something else than the network."
    return why_unmeasured(case)


def network_of(artifact: Artifact | None, label: str) -> dict[str, Reading]:
    """Return which network a result is of, by name.

    Where the checkpoint lay does not count, nor how the file came about that it is in: the same
    network that is exported otherwise by a later release is the same series, so that a trend shows
    what that did.

    Args:
        artifact: that was measured; None where it is not known.
        label: of the case, where nothing else is known.
    """
    if artifact is None:
        return {"network": label}
    spec = artifact.spec
    if not spec.model:  # a file of which the network is not known is a network of its own
        return {"network": label, "file_sha256": artifact.sha256}
    usual = codec.encode(ModelSpec("", (), (0, 0)))
    said = {
        name: _WORDS[name](spec) if name in _WORDS else json.dumps(value)
        for name, value in codec.encode(spec).items()
        if name not in _ELSEWHERE and value != usual[name]
    }
    weights = spec.weights.sha256 if spec.weights else UNAVAILABLE
    quantized = artifact.quantized
    return {
        "network": spec.label,
        **{f"network_{name}": value for name, value in said.items()},
        "weights": artifact.weights_fingerprint or weights,
        "code": artifact.code_sha256 or UNAVAILABLE,
        "backend": artifact.backend or UNAVAILABLE,
        "kept_in_float": quantized.kept if quantized else (),
    }


def _entry(view: View, case: CaseView) -> HistoryEntry | None:
    kept = None if why_left(case) else baseline_case(view.run, case)
    if kept is None:
        return None
    artifact = case.case.artifact
    return HistoryEntry(
        run=clean(view.run.name),
        created=clean(view.run.created),
        mvdeploy=view.run.mvdeploy,
        file_sha256=artifact.sha256 if artifact else "",
        network=network_of(artifact, case.case.label),
        case=dataclasses.replace(kept, label=clean(kept.label)),
    )


@dataclasses.dataclass(frozen=True)
class Shift:
    """A change of the level between two runs.

    Attributes:
        change: where, and how likely it is by chance.
        estimate: level after it divided by that before, each that of its runs up to the next
            change, with the interval that the spread between runs gives.
    """

    change: changes.Change
    estimate: unpaired.UnpairedEstimate

    @property
    def share(self) -> float:
        """By how much of the level before: above 0 when it became slower."""
        return self.estimate.ratio - 1


@dataclasses.dataclass(frozen=True)
class Point:
    """One run of a series.

    Attributes:
        entry: the result.
        wall: its wall times.
        interval: of its median, within the run; None with too few samples.
        level_ns: geometric mean of the medians of the runs between two changes that it is one of.
        shift: the change that it is the first run after; None where there is none.
        other: conditions in which it differs from the run before it, with its values: of those
            across which the trend goes.
    """

    entry: HistoryEntry
    wall: LatencySummary
    interval: Interval | None
    level_ns: float
    shift: Shift | None
    other: dict[str, Reading]

    @property
    def median_ns(self) -> float:
        """The median of all its samples."""
        return self.wall.p50


@dataclasses.dataclass(frozen=True)
class Trend:
    """A series over time.

    Attributes:
        key: of the series; of the one that was measured last where there are several.
        points: its runs in the order of time.
        across: conditions in which they may differ.
        spread: standard deviation between runs at one level, relative; None for too few.
    """

    key: str
    points: tuple[Point, ...]
    across: tuple[str, ...]
    spread: float | None

    @property
    def label(self) -> str:
        """Name of the last case."""
        return self.points[-1].entry.case.label

    @property
    def shifts(self) -> tuple[Shift, ...]:
        """All changes in order."""
        return tuple(point.shift for point in self.points if point.shift)

    def slower_within(self, runs: int) -> bool:
        """Whether the level rose within the last so many runs."""
        return any(point.shift and point.shift.share > 0 for point in self.points[-runs:])

    @property
    def enough(self) -> bool:
        """Whether there are runs enough to find changes."""
        return len(self.points) >= changes.LEAST_RUNS


def trend_of(
    key: str,
    entries: Sequence[HistoryEntry],
    across: Sequence[str] = (),
    least_shift: float = changes.LEAST_SHIFT,
) -> Trend:
    """Derive the trend of results that may be compared.

    Args:
        key: of their series.
        entries: in the order of time, one at least.
        across: conditions in which they may differ.
        least_shift: relative change of the level that counts at least.

    Raises:
        UsageError: a result has a time of zero.
    """
    summaries = [_summary(entry) for entry in entries]
    medians = [wall.p50 for wall in summaries]
    if min(medians) <= 0:
        raise UsageError(
            "A result has a median of zero, so there is no trend.",
            "The clock of that device is too coarse: measure more images at once with --batch.",
        )
    found = changes.find(medians, least_shift=least_shift)
    edges = [0, *(change.at for change in found), len(medians)]
    parts = [medians[a:b] for a, b in itertools.pairwise(edges)]
    shifts = {
        change.at: Shift(change, unpaired.ratio_of_values(before, after))
        for change, before, after in zip(found, parts, parts[1:], strict=False)
    }
    levels = [_level(part) for part in parts for _ in part]
    points = [
        Point(
            entry,
            wall,
            median_interval(entry.case.sessions),
            level,
            shifts.get(i),
            _others(entries, i, across),
        )
        for i, (entry, wall, level) in enumerate(zip(entries, summaries, levels, strict=True))
    ]
    return Trend(key, tuple(points), tuple(across), _spread(medians, levels, len(parts)))


@dataclasses.dataclass(frozen=True)
class SeriesComparison:
    """Two series held against each other.

    Attributes:
        a: the reference.
        b: the other.
        differing: conditions in which they differ, with the two values.
        estimate: time of B divided by that of A, by the medians of the runs at the last level of
            each.
    """

    a: Trend
    b: Trend
    differing: dict[str, tuple[Reading, Reading]]
    estimate: unpaired.UnpairedEstimate


def compare(a: Trend, b: Trend) -> SeriesComparison:
    """Compare the last levels of two series.

    Raises:
        UsageError: one of them has fewer than two runs there.
    """
    for trend in (a, b):
        if len(_last_level(trend)) < 2:
            raise UsageError(
                f"The series {trend.key[:8]} has one run, and the spread between runs takes two "
                "or more.",
                "Measure again and add that run.",
            )
    estimate = unpaired.ratio_of_values(_last_level(a), _last_level(b))
    differing = differences(a.points[-1].entry.alike, b.points[-1].entry.alike)
    return SeriesComparison(a, b, differing, estimate)


def differences(
    a: Mapping[str, Reading], b: Mapping[str, Reading]
) -> dict[str, tuple[Reading, Reading]]:
    """Return everything in which two results differ, with the two values."""
    pairs = {name: (a.get(name, UNAVAILABLE), b.get(name, UNAVAILABLE)) for name in {**a, **b}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _last_level(trend: Trend) -> list[float]:
    """Return the medians of the runs since the last change."""
    since = max((i for i, point in enumerate(trend.points) if point.shift), default=0)
    return [point.median_ns for point in trend.points[since:]]


def _summary(entry: HistoryEntry) -> LatencySummary:
    return summarise([time for session in entry.case.sessions for time in session])


def _level(medians: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, medians)) / len(medians))


def _spread(medians: Sequence[float], levels: Sequence[float], parts: int) -> float | None:
    """Return the standard deviation of the logarithms from their levels."""
    free = len(medians) - parts
    if free < 1:
        return None
    squares = (math.log(m / level) ** 2 for m, level in zip(medians, levels, strict=True))
    return math.sqrt(math.fsum(squares) / free)


def _others(
    entries: Sequence[HistoryEntry], index: int, across: Sequence[str]
) -> dict[str, Reading]:
    own = entries[index].alike
    before = entries[index - 1].alike if index else {}
    values = {name: own.get(name, UNAVAILABLE) for name in across}
    return {name: value for name, value in values.items() if value != before.get(name, UNAVAILABLE)}
