"""Several saved runs side by side: the same cases on several devices, or at several times.

Nothing took turns across runs, so ratios here are unpaired; see `mvdeploy.stats.unpaired`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mvdeploy.analysis import in_browsers
from mvdeploy.analysis.breakdown_view import Part
from mvdeploy.analysis.cases import CaseView, Timing, devices_of, told_apart
from mvdeploy.analysis.comparability import MACHINE, conditions_of
from mvdeploy.analysis.in_browsers import Loss
from mvdeploy.analysis.ratios import ComparisonView
from mvdeploy.analysis.trends import network_of, why_left
from mvdeploy.analysis.view import View
from mvdeploy.errors import UsageError
from mvdeploy.records import UNAVAILABLE, Device, Reading, TimeKind
from mvdeploy.stats import unpaired
from mvdeploy.text_format import clean, reading

_OF_DEVICES = ("device", "emulated", *MACHINE, "browser")
"""Conditions that differ because devices do, and are told of each device."""

Key = tuple[Reading, ...]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where and when cases were measured: one device of one run.

    Attributes:
        name: the device; where several have its name, with the day, the time or the name of the
            run.
        device: which.
        view: the run.
    """

    name: str
    device: Device
    view: View

    @property
    def cases(self) -> tuple[CaseView, ...]:
        """The run's cases on the device."""
        return tuple(case for case in self.view.cases if case.device == self.device)


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A latency divided by that of the reference, which was measured at another time.

    Attributes:
        value: below 1 when it is shorter.
        low: lower end of the 95 % interval; None with fewer than two sessions on a side.
        high: upper end.
        verdict: what can be said; empty without an interval.
    """

    value: float
    low: float | None = None
    high: float | None = None
    verdict: str = ""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One case in one place.

    Attributes:
        case: the case.
        ratio: to the row's reference; None for the reference itself, and where there is none.
        problem: why it is not held against others, in a clause; empty when it is.
    """

    case: CaseView
    ratio: Ratio | None = None
    problem: str = ""

    @property
    def doubtful(self) -> bool:
        """Whether its latency cannot be relied on without more."""
        return self.case.verdict is not None and self.case.verdict.grade != "reliable"


@dataclasses.dataclass(frozen=True)
class Row:
    """The same case in several places.

    Attributes:
        name: of the case, with as much as tells it from the others.
        cells: one for each place; None where the case was not asked for.
        reference: index of the place that the others are divided by: the first one that can be;
            None where there is none.
    """

    name: str
    cells: tuple[Cell | None, ...]
    reference: int | None

    @property
    def shared(self) -> bool:
        """Whether it is in more than one place."""
        return sum(cell is not None for cell in self.cells) > 1


@dataclasses.dataclass(frozen=True)
class Divided:
    """Where the latency of one case in one place goes.

    Attributes:
        row: name of the case.
        place: index of the place.
        total_ns: the latency.
        shares: of the latency, by the names of its parts; they add up to one.
        time_kind: whether the times of operators are measured or estimated.
    """

    row: str
    place: int
    total_ns: float
    shares: dict[str, float]
    time_kind: TimeKind


@dataclasses.dataclass(frozen=True)
class InTurns:
    """Two cases that took turns, in each place.

    Attributes:
        a: row of the reference.
        b: row of the other.
        cells: one for each place; None where the two took no turns.
    """

    a: str
    b: str
    cells: tuple[ComparisonView | None, ...]


@dataclasses.dataclass(frozen=True)
class Against:
    """A case in a browser, held against the same case in a program on the same machine.

    Attributes:
        row: name of the case.
        native: index of the place of the program.
        web: index of that of the browser.
        ratio: of the latency in the browser to the other.
        categories: what it takes more, by category; none without both breakdowns.
        kinds: likewise by kind of operator.
    """

    row: str
    native: int
    web: int
    ratio: Ratio
    categories: tuple[Loss, ...] = ()
    kinds: tuple[Loss, ...] = ()


# Compared by identity, as the views that it is made of.
@dataclasses.dataclass(frozen=True, eq=False)
class SeveralView:
    """Several runs as one page shows them.

    Attributes:
        places: in the order that the runs were given.
        rows: in the order that cases appear.
        parts: names of the parts of latencies, in order.
        divided: the latencies that were divided, row by row.
        by_kind: the parts are kinds of operators, as some network has no categories.
        differing: conditions in which cases of a row differ, beside those of the devices; each
            with its values, one for each place.
        turns: cases that took turns in more than one place.
        against: cases in browsers, held against programs on the same machines.
    """

    places: tuple[Place, ...]
    rows: tuple[Row, ...]
    parts: tuple[str, ...]
    divided: tuple[Divided, ...]
    by_kind: bool
    differing: dict[str, tuple[tuple[str, ...], ...]]
    turns: tuple[InTurns, ...] = ()
    against: tuple[Against, ...] = ()

    @property
    def shared(self) -> tuple[Row, ...]:
        """The rows that are in more than one place."""
        return tuple(row for row in self.rows if row.shared)

    @property
    def views(self) -> tuple[View, ...]:
        """The runs, each once."""
        return tuple({id(place.view): place.view for place in self.places}.values())

    def cells(self) -> Iterator[tuple[Row, Place, Cell]]:
        """Give every case with its row and its place, row by row."""
        for row in self.rows:
            for place, cell in zip(self.places, row.cells, strict=True):
                if cell is not None:
                    yield row, place, cell


def several_view_of(views: Sequence[View]) -> SeveralView:
    """Put runs side by side.

    Args:
        views: two or more runs; the first one is what the others are held against.

    Raises:
        UsageError: a run is among them twice.
    """
    for earlier, later in itertools.combinations([view.run for view in views], 2):
        if earlier == later:
            raise UsageError(
                f"The run {clean(later.name)} was given twice.",
                "Give each run once; 'mvdeploy report RUN' shows one by itself.",
            )
    places = _places(views)
    keyed = [dict(_keyed(place, places)) for place in places]
    keys = list(dict.fromkeys(key for cases in keyed for key in cases))
    found = [[cases.get(key) for cases in keyed] for key in keys]
    names = _row_names(places, found)
    rows = tuple(_row(name, cases, places) for name, cases in zip(names, found, strict=True))
    by_kind = any(case and case.breakdown and case.breakdown.by_kind for c in found for case in c)
    divided = tuple(_divided(rows, by_kind))
    parts = tuple(dict.fromkeys(title for one in divided for title in one.shares))
    return SeveralView(
        places,
        rows,
        parts,
        divided,
        by_kind,
        _differing(places, found),
        tuple(_turns(places, rows)),
        tuple(_against(places, rows)),
    )


def _places(views: Sequence[View]) -> tuple[Place, ...]:
    found = [(view, device) for view in views for device in devices_of(view.run, view.cases)]
    titles = [clean(device.profile.title) for _, device in found]
    full = [
        title if titles.count(title) == 1 else f"{title}, {_told(view, device, found)}"
        for title, (view, device) in zip(titles, found, strict=True)
    ]
    names = [
        name if full.count(name) == 1 else f"{name} #{full[: i + 1].count(name)}"
        for i, name in enumerate(full)
    ]
    return tuple(
        Place(name, device, view) for name, (view, device) in zip(names, found, strict=True)
    )


def _told(view: View, device: Device, found: Sequence[tuple[View, Device]]) -> str:
    """Return what tells a run from others on devices of one name: its day, time, or name."""
    alike = [one.run for one, other in found if other.profile.title == device.profile.title]
    for letters in (len("2026-03-04"), len("2026-03-04T10:00")):
        if len({run.created[:letters] for run in alike}) == len(alike):
            return clean(view.run.created[:letters].replace("T", " "))
    return clean(view.run.name)


def _network(case: CaseView) -> dict[str, Reading]:
    return network_of(case.case.artifact, case.case.label)


def _threads(case: CaseView, view: View) -> Reading:
    return conditions_of(case, view.run.plan)["threads"]


def _key(case: CaseView, view: View) -> Key:
    """Return what makes two cases the same, wherever they run."""
    name = _network(case)["network"]
    return name, case.format, in_browsers.made_of(case), case.precision, _threads(case, view)


def _keyed(place: Place, places: Sequence[Place]) -> Iterator[tuple[Key, CaseView]]:
    """Give the cases of a place by what they are known by.

    Cases of one place that would be known by the same are told apart by all that is known of their
    networks, in all places; and by their number where that is the same too.
    """
    crowded = set()
    for other in places:
        keys = [_key(case, other.view) for case in other.cases]
        crowded |= {key for key in keys if keys.count(key) > 1}
    seen: list[Key] = []
    for case in place.cases:
        key = _key(case, place.view)
        if key in crowded:
            key = (*key, *map(str, _network(case).items()))
        seen.append(key)
        again = seen.count(key)
        yield ((*key, again) if again > 1 else key), case


def _row_names(
    places: Sequence[Place], found: Sequence[Sequence[CaseView | None]]
) -> Iterable[str]:
    firsts = [
        next((case, place) for place, case in zip(places, row, strict=True) if case is not None)
        for row in found
    ]
    threads = [_threads(case, place.view) for case, place in firsts]
    several = len(set(threads)) > 1
    cases = [
        dataclasses.replace(
            case.case,
            label=str(_network(case)["network"]),
            threads=number if several and isinstance(number, int) else None,
        )
        for (case, _), number in zip(firsts, threads, strict=True)
    ]
    formats = [
        f"{case.engine} ({case.format})" if case.engine and case.format else case.engine
        for case, _ in firsts
    ]
    plain = [case.engine for case, _ in firsts]
    engines = plain if len(set(plain)) == len(set(formats)) else formats
    return told_apart(cases, engines, [""] * len(cases))


def _row(name: str, cases: Sequence[CaseView | None], places: Sequence[Place]) -> Row:
    fit = [i for i, case in enumerate(cases) if case is not None and not why_left(case)]
    real = [i for i in fit if not places[i].device.emulated]
    reference = next(iter(real or fit), None)
    return Row(
        name,
        tuple(
            None if case is None else _cell(case, i, cases, places, reference)
            for i, case in enumerate(cases)
        ),
        reference,
    )


def _cell(
    case: CaseView,
    index: int,
    cases: Sequence[CaseView | None],
    places: Sequence[Place],
    reference: int | None,
) -> Cell:
    if left := why_left(case):
        return Cell(case, problem=left)
    base = None if reference is None or reference == index else cases[reference]
    if base is None or reference is None:
        return Cell(case)
    if problem := _hindrance(base, case, places[reference], places[index]):
        return Cell(case, problem=problem)
    if base.timing is None or case.timing is None:
        return Cell(case)
    return Cell(case, _ratio(base.timing, case.timing))


def _hindrance(a: CaseView, b: CaseView, place_a: Place, place_b: Place) -> str:
    """Say why two latencies say nothing about each other; empty when they do."""
    if b.device.emulated and a.device != b.device:
        return "The device is emulated, and its times are those of no real one."
    if bool(a.case.emulated) != bool(b.case.emulated):
        return "It is emulated in one of the two only."
    networks = [
        {**_network(case), "batch": conditions_of(case, place.view.run.plan)["batch"]}
        for case, place in ((a, place_a), (b, place_b))
    ]
    for name in dict.fromkeys(itertools.chain(*networks)):
        here, there = (network.get(name, UNAVAILABLE) for network in networks)
        if here != there and (name.startswith("network") or UNAVAILABLE not in (here, there)):
            title = name.removeprefix("network_").replace("_", " ")
            if name in ("weights", "code"):  # their checksums say nothing to a reader
                return f"It has other {title} than in {place_a.name}."
            return f"Its {title} is {_shown(there)}, and {_shown(here)} in {place_a.name}."
    return ""


def _shown(value: Reading) -> str:
    return reading("not told" if value in (UNAVAILABLE, ()) else value)


def _ratio(a: Timing, b: Timing) -> Ratio | None:
    try:
        found = unpaired.ratio(
            [session.wall_ns for session in a.sessions], [session.wall_ns for session in b.sessions]
        )
    except ValueError:
        return Ratio(b.wall.p50 / a.wall.p50) if a.wall.p50 else None
    return Ratio(found.ratio, found.low, found.high, found.verdict)


def _turns(places: Sequence[Place], rows: Sequence[Row]) -> Iterator[InTurns]:
    found: dict[tuple[str, str], dict[int, ComparisonView]] = {}
    for i, place in enumerate(places):
        names = {id(cell.case): row.name for row in rows if (cell := row.cells[i]) is not None}
        for compared in place.view.comparisons:
            pair = names.get(id(compared.a)), names.get(id(compared.b))
            if compared.estimate is not None and pair[0] is not None and pair[1] is not None:
                found.setdefault((pair[0], pair[1]), {})[i] = compared
    for (a, b), at in found.items():
        if len(at) > 1:
            yield InTurns(a, b, tuple(at.get(i) for i in range(len(places))))


def _against(places: Sequence[Place], rows: Sequence[Row]) -> Iterator[Against]:
    """Give the cases of browsers, each with the first place that has it on the same machine."""
    for row in rows:
        for w, web in enumerate(row.cells):
            held = (
                _held_against(row, native.case, web.case, places, (n, w))
                for n, native in enumerate(row.cells)
                if native is not None
                and web is not None
                and in_browsers.on_one_machine(places[n].device, places[w].device)
            )
            if found := next(filter(None, held), None):
                yield found


def _held_against(
    row: Row, native: CaseView, web: CaseView, places: Sequence[Place], at: tuple[int, int]
) -> Against | None:
    n, w = at
    if why_left(native) or why_left(web) or _hindrance(native, web, places[n], places[w]):
        return None
    if native.timing is None or web.timing is None:
        return None
    ratio = _ratio(native.timing, web.timing)
    if ratio is None:
        return None
    parts = in_browsers.categories(native, web), in_browsers.kinds(native, web)
    return Against(row.name, n, w, ratio, *parts)


def _divided(rows: Sequence[Row], by_kind: bool) -> Iterator[Divided]:
    for row in rows:
        for i, cell in enumerate(row.cells):
            one = cell.case.breakdown if cell else None
            if one is not None:
                parts = one.kinds if by_kind else one.parts
                yield Divided(row.name, i, one.total_ns, _shares(parts), one.time_kind)


def _shares(parts: Iterable[Part]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for part in parts:
        shares[part.title] = shares.get(part.title, 0.0) + part.share
    return shares


def _differing(
    places: Sequence[Place], found: Sequence[Sequence[CaseView | None]]
) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Return the conditions in which cases of one row differ, with their values in every place."""
    versions = [place.view.run.mvdeploy for place in places]
    differing: dict[str, tuple[tuple[str, ...], ...]] = {}
    if len(set(versions)) > 1:
        differing["mvdeploy"] = tuple((clean(version),) for version in versions)
    told: dict[str, list[dict[str, None]]] = {}
    for row in found:
        conditions: list[Mapping[str, Reading]] = [
            conditions_of(case, place.view.run.plan) if case and case.timing else {}
            for place, case in zip(places, row, strict=True)
        ]
        for name in dict.fromkeys(itertools.chain(*conditions)):
            values = [reading(one[name]) if name in one else None for one in conditions]
            known = {value for value in values if value not in (None, UNAVAILABLE)}
            if name in _OF_DEVICES or len(known) < 2:
                continue
            columns = told.setdefault(name, [{} for _ in places])
            for column, value in zip(columns, values, strict=True):
                if value is not None:
                    column[value] = None
    for name, columns in told.items():
        differing[name.replace("_", " ")] = tuple(tuple(column) for column in columns)
    return differing
