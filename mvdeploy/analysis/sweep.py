"""`SweepView`: how latency grows with the image, and which networks are worth having."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mvdeploy.analysis import pareto, scaling
from mvdeploy.analysis.breakdown_view import OUTSIDE
from mvdeploy.analysis.cases import CaseView
from mvdeploy.analysis.pareto import Placed, Point
from mvdeploy.analysis.scaling import Measured, Scaling
from mvdeploy.analysis.view import View
from mvdeploy.records import Device
from mvdeploy.records.sweep import SweepCase, SweepRun, SweepWay
from mvdeploy.stats.interval import t_quantile
from mvdeploy.stats.paired import Clock
from mvdeploy.stats.percentiles import percentile
from mvdeploy.text_format import count

_LEVEL = 0.95

_LEAST_SHARE = 0.01
"""Of the latency at the largest size: smaller parts are not told by which power they grow."""


@dataclasses.dataclass(frozen=True)
class Level:
    """The latency of a case, brought to the level that all blocks have in common.

    Attributes:
        logs: logarithm of the median of each session, nanoseconds.
        error2: squared standard error that the level of the case's block has.
    """

    logs: tuple[float, ...]
    error2: float = 0.0

    @property
    def ns(self) -> float:
        """Geometric mean of the medians."""
        return math.exp(math.fsum(self.logs) / len(self.logs))

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its 95 % interval, by the spread between sessions; None with a single one."""
        if len(self.logs) < 2:
            return None
        error2 = Measured(1, self.logs).error2 + self.error2
        half = t_quantile((1 + _LEVEL) / 2, len(self.logs) - 1) * math.sqrt(error2)
        return self.ns * math.exp(-half), self.ns * math.exp(half)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A case of the sweep.

    Attributes:
        planned: what was asked for.
        name: network, size and batch; the way where there are several.
        case: what was measured; None when its turn has not come.
        level: its latency; None without.
        cpu: its CPU time; None where that does not hold all of the work.
        reason: why there is no latency; empty where there is one.
        wrong: whether the device computes something else than the network.
    """

    planned: SweepCase
    name: str
    case: CaseView | None
    level: Level | None
    cpu: Level | None
    reason: str
    wrong: bool

    def by(self, clock: Clock) -> Level | None:
        """Return its time by a clock."""
        return self.cpu if clock == "cpu" else self.level

    @property
    def ns(self) -> float | None:
        """The latency."""
        return self.level.ns if self.level else None

    @property
    def per_image_ns(self) -> float | None:
        """The latency divided by the batch."""
        return None if self.ns is None else self.ns / self.planned.batch

    @property
    def parameters(self) -> int:
        """Of the network; 0 where it is not known."""
        return self._known("parameters")

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image; 0 where it is not known."""
        return self._known("macs") // self.planned.batch

    def _known(self, what: str) -> int:
        artifact = self.case.case.artifact if self.case else None
        found: int | None = getattr(artifact, what, None)
        return found or 0


@dataclasses.dataclass(frozen=True)
class PartGrowth:
    """How a part of the latency grows with the pixels.

    Attributes:
        title: of the part.
        exponent: of its time.
        smallest: share of the latency at the smallest size.
        largest: share at the largest.
    """

    title: str
    exponent: float
    smallest: float
    largest: float


@dataclasses.dataclass(frozen=True)
class Series:
    """A network in several sizes, measured in one way.

    Attributes:
        name: of it; the way where there are several.
        network: its label.
        batch: images in one inference.
        way: in which it is measured.
        clock: by which times grow: CPU time where it holds all of the work of all of the way's
            cases, as it does not know of other programs.
        entries: that have a latency, from small to large.
        pixels: how time grows with the pixels; None with fewer than two sizes.
        tokens: how it grows with the tokens that attend to one another; None where these are not
            known, or the same in all sizes.
        macs: exponent by which MACs grow with the pixels; None where they are not known.
        macs_of_tokens: the same with the tokens.
        parts: of the latency, where there is a breakdown of all sizes.
    """

    name: str
    network: str
    batch: int
    way: SweepWay
    clock: Clock
    entries: tuple[Entry, ...]
    pixels: Scaling | None
    tokens: Scaling | None
    macs: float | None
    macs_of_tokens: float | None
    parts: tuple[PartGrowth, ...]


@dataclasses.dataclass(frozen=True)
class Front:
    """Latency against something else, in one way.

    Attributes:
        key: ``parameters``, ``macs`` or ``accuracy``.
        noun: what is held against the latency.
        title: the same with its unit.
        way: in which all was measured.
        batch: images in one inference.
        where: way and batch as a title, where there are several.
        placed: every case that has both, from fast to slow; its time is nanoseconds of one image.
        lacking: names of cases with a latency that lack the other.
    """

    key: str
    noun: str
    title: str
    way: SweepWay
    batch: int
    where: str
    placed: tuple[Placed, ...]
    lacking: tuple[str, ...]


# Compared by identity, as the views that it is made of.
@dataclasses.dataclass(frozen=True, eq=False)
class SweepView:
    """A sweep as reports show it.

    Attributes:
        saved: what was asked, and which runs there are.
        entries: all cases, in the order that was asked for.
        series: networks over sizes.
        fronts: what is worth having.
        device: where; None when nothing was measured.
        runs: views of the runs.
        apart: blocks in which the reference has no latency, so that they are on no common level.
    """

    saved: SweepRun
    entries: tuple[Entry, ...]
    series: tuple[Series, ...]
    fronts: tuple[Front, ...]
    device: Device | None
    runs: tuple[View, ...]
    apart: tuple[str, ...]

    @property
    def ways(self) -> tuple[SweepWay, ...]:
        """The ways in which is measured."""
        return tuple(dict.fromkeys(case.way for case in self.saved.cases))

    @property
    def batches(self) -> tuple[int, ...]:
        """The numbers of images in one inference."""
        return tuple(dict.fromkeys(case.batch for case in self.saved.cases))


def sweep_view_of(saved: SweepRun, runs: Sequence[View]) -> SweepView:
    """Derive everything that is shown of a sweep.

    Args:
        saved: the sweep.
        runs: views of its runs.
    """
    levels, apart = _levels(saved, runs, "wall")
    cpu, _ = _levels(saved, runs, "cpu")
    entries = tuple(_entry(saved, case, runs, levels, cpu) for case in saved.cases)
    return SweepView(
        saved,
        entries,
        tuple(_all_series(saved, entries)),
        tuple(_fronts(saved, entries)),
        runs[0].devices[0] if runs else None,
        tuple(runs),
        apart,
    )


def size_of(case: SweepCase) -> str:
    """Return the size of the image: ``160 px``."""
    height, width = case.image_size
    return f"{height} px" if height == width else f"{height}x{width} px"


def title_of(saved: SweepRun, way: SweepWay) -> str:
    """Return a way in as many words as tell it from the others of a sweep; at least the engine."""
    ways = {case.way for case in saved.cases}
    precision = way.precision if len({w.precision for w in ways}) > 1 else ""
    threads = count(way.threads, "thread") if len({w.threads for w in ways}) > 1 else ""
    return " ".join(filter(None, (f"{way.format}/{way.engine}", precision, threads)))


def _levels(
    saved: SweepRun, runs: Sequence[View], clock: Clock
) -> tuple[dict[str, Level], tuple[str, ...]]:
    """Return the level of each case that has a latency, and the blocks without a reference.

    The machine is not as fast in every block. By how much it differs is seen at the reference,
    which is in all of them: its mean over the blocks is the common level.
    """
    reference = {case.way: case.slug for case in saved.cases if case.slug in saved.reference}
    logs = [{c.slug: found for c in run.cases if (found := _logs(c, clock))} for run in runs]
    levels: dict[str, Level] = {}
    apart: list[str] = []
    for way, slug in reference.items():
        own = [case.slug for case in saved.cases if case.way == way]
        means = [_mean(block[slug]) if slug in block else None for block in logs]
        known = [mean for mean in means if mean is not None]
        common = math.fsum(known) / len(known) if known else 0.0
        for name, block, mean in zip(saved.runs, logs, means, strict=True):
            shift = 0.0 if mean is None else mean - common
            if mean is None and any(other in block for other in own) and len(known) > 0:
                apart.append(name)
            # With one block there is nothing that its level could be off from.
            several = len(known) > 1 and len(block.get(slug, ())) > 1
            error2 = Measured(1, block[slug]).error2 if several else 0.0
            for other in own:
                if other not in block:
                    continue
                moved = tuple(x - shift for x in block[other])
                if other == slug and slug in levels:  # it is in all blocks: all of it counts
                    levels[slug] = Level((*levels[slug].logs, *moved))
                elif other not in levels:
                    levels[other] = Level(moved, 0.0 if other == slug else error2)
    return levels, tuple(dict.fromkeys(apart))


def _logs(case: CaseView, clock: Clock) -> tuple[float, ...]:
    if case.timing is None or (clock == "cpu" and case.timing.cpu is None):
        return ()
    times = [s.cpu_ns if clock == "cpu" else s.wall_ns for s in case.timing.sessions]
    medians = [percentile(own, 50) for own in times if own]
    return tuple(math.log(max(1.0, median)) for median in medians)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _entry(
    saved: SweepRun,
    planned: SweepCase,
    runs: Sequence[View],
    levels: Mapping[str, Level],
    cpu: Mapping[str, Level],
) -> Entry:
    found = [case for run in runs for case in run.cases if case.slug == planned.slug]
    case = next((one for one in found if one.timing), found[0] if found else None)
    parity = case.case.device_parity if case else None
    return Entry(
        planned,
        _name(saved, planned),
        case,
        levels.get(planned.slug),
        cpu.get(planned.slug),
        case.reason if case else "It has not been measured yet.",
        parity is not None and not parity.passed,
    )


def _name(saved: SweepRun, case: SweepCase) -> str:
    several = len({one.way for one in saved.cases}) > 1
    batch = f"batch {case.batch}" if len({one.batch for one in saved.cases}) > 1 else ""
    way = title_of(saved, case.way) if several else ""
    return " ".join(filter(None, (case.network, size_of(case), batch, way)))


def _all_series(saved: SweepRun, entries: Sequence[Entry]) -> Iterator[Series]:
    groups: dict[tuple[str, int, SweepWay], list[Entry]] = {}
    partial: set[SweepWay] = set()
    for entry in entries:
        if entry.level and not entry.wrong:
            case = entry.planned
            groups.setdefault((case.network, case.batch, case.way), []).append(entry)
            partial |= set() if entry.cpu else {case.way}
    for (network, batch, way), own in groups.items():
        clock: Clock = "wall" if way in partial else "cpu"
        yield _series(saved, (network, batch, way), clock, own)


def _series(
    saved: SweepRun, key: tuple[str, int, SweepWay], clock: Clock, entries: Iterable[Entry]
) -> Series:
    network, batch, way = key
    ordered = tuple(sorted(entries, key=lambda e: e.planned.pixels))
    pixels = [float(e.planned.pixels) for e in ordered]
    tokens = [float(e.planned.tokens) for e in ordered]
    macs = [float(e.macs) for e in ordered]
    several = len({one.way for one in saved.cases}) > 1
    batches = len({one.batch for one in saved.cases}) > 1
    words = (
        *(network, f"batch {batch}" if batches else ""),
        title_of(saved, way) if several else "",
    )
    return Series(
        " ".join(filter(None, words)),
        network,
        batch,
        way,
        clock,
        ordered,
        _fit(ordered, pixels, clock),
        _fit(ordered, tokens, clock),
        scaling.exponent_of(pixels, macs),
        scaling.exponent_of(tokens, macs),
        tuple(_parts(ordered, pixels)),
    )


def _fit(entries: Sequence[Entry], sizes: Sequence[float], clock: Clock) -> Scaling | None:
    if len({*sizes}) < 2 or min(sizes) <= 0:
        return None
    return scaling.fit(
        [
            Measured(size, level.logs)
            for entry, size in zip(entries, sizes, strict=True)
            if (level := entry.by(clock))
        ]
    )


def _parts(entries: Sequence[Entry], pixels: Sequence[float]) -> Iterator[PartGrowth]:
    views = [entry.case.breakdown for entry in entries if entry.case and entry.case.breakdown]
    if len(views) < max(2, len(entries)) or any(view.by_kind for view in views):
        return
    for part in views[-1].parts:
        own = [next((p for p in view.parts if p.key == part.key), None) for view in views]
        if part.key == OUTSIDE or part.share < _LEAST_SHARE or None in own:
            continue
        known = [one for one in own if one is not None]
        exponent = scaling.exponent_of(pixels, [one.ns for one in known])
        if exponent is not None:
            yield PartGrowth(part.title, exponent, known[0].share, known[-1].share)


def _fronts(saved: SweepRun, entries: Sequence[Entry]) -> Iterator[Front]:
    usable = [entry for entry in entries if entry.level and not entry.wrong]
    kinds = [
        ("parameters", "parameters", "parameters, M"),
        ("macs", "MACs", "MACs of one image, M"),
    ]
    kinds += [("accuracy", saved.accuracy, saved.accuracy)] if saved.accuracy else []
    groups: dict[tuple[SweepWay, int], list[Entry]] = {}
    for entry in usable:
        groups.setdefault((entry.planned.way, entry.planned.batch), []).append(entry)
    for (way, batch), own in groups.items():
        where = f"{title_of(saved, way)}, batch {batch}" if len(groups) > 1 else ""
        for key, noun, title in kinds:
            known = [(entry, _other(entry, key)) for entry in own]
            points = [_point(entry, other) for entry, other in known if other is not None]
            if len({point.other for point in points}) < 2:
                continue  # the fastest is all that there is to say
            placed = pareto.front(points, more_is_better=key == "accuracy")
            yield Front(
                key,
                noun,
                title,
                way,
                batch,
                where,
                tuple(sorted(placed, key=lambda one: one.point.time)),
                tuple(entry.name for entry, other in known if other is None),
            )


def _other(entry: Entry, key: str) -> float | None:
    if key == "accuracy":
        return entry.planned.accuracy
    amount: int = getattr(entry, key)
    return amount / 1e6 if amount else None


def _point(entry: Entry, other: float) -> Point:
    if entry.level is None:
        raise ValueError(f"{entry.name} has no latency")
    batch = entry.planned.batch
    # What is known of one session alone may be off by anything.
    low, high = entry.level.interval or (0.0, math.inf)
    return Point(entry.name, entry.level.ns / batch, low / batch, high / batch, other)
