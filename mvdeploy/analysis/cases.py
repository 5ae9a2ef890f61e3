"""`CaseView`: one case of a run with every number derived."""

from __future__ import annotations

import dataclasses
import itertools
import string
from collections.abc import Mapping, Sequence

from mvdeploy.analysis.breakdown_view import BreakdownView, breakdown_view_of
from mvdeploy.records import Breakdown, Case, Device, Measurement, Plan, Run, Samples, SavedRun
from mvdeploy.stats.interval import Interval, median_interval
from mvdeploy.stats.paired import cpu_times_complete
from mvdeploy.stats.reliability import Verdict, cpu_is_partial, judge, threads_of
from mvdeploy.stats.summary import LatencySummary, summarise
from mvdeploy.text_format import clean, count, elide

_LONGEST = 160
"""Characters of a label in tables and sentences."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """The times and the memory of one case.

    Attributes:
        wall: wall times.
        cpu: CPU times, where they hold all of the work.
        interval: of the wall median, within this run; None with too few samples.
        load_ns: from the file to a session that can run, in a process of its own.
        first_ns: wall time of the first inference in that process.
        peak_memory_bytes: largest resident size of a process that ran this case alone.
        baseline_memory_bytes: resident size of that process before the model was loaded.
        sessions: measured inferences of each session.
        in_turns: whether it has only inferences that took turns with another case's, which are
            slightly slower than they would be alone.
    """

    wall: LatencySummary
    cpu: LatencySummary | None
    interval: Interval | None
    load_ns: int
    first_ns: int | None
    peak_memory_bytes: int
    baseline_memory_bytes: int
    sessions: tuple[Samples, ...]
    in_turns: bool = False

    @property
    def added_memory_bytes(self) -> int:
        """Peak memory above what the process held before the model was loaded."""
        return max(0, self.peak_memory_bytes - self.baseline_memory_bytes)

    @property
    def wall_ns(self) -> tuple[int, ...]:
        """Wall times of all sessions."""
        return tuple(t for s in self.sessions for t in s.wall_ns)


@dataclasses.dataclass(frozen=True)
class CaseView:
    """One case of a run.

    Attributes:
        key: ``A``, ``B`` … in the order of the run; the case's name where space is short.
        name: its label, with as much added as tells it from the others.
        title: label and engine, the precision unless it is fp32, and the device if the run has
            several.
        engine: what it ran on, as reports call it; empty when that is not known.
        case: the record; empty but for the slug when the run ended before the case's turn.
        device: where it ran.
        timing: None without samples.
        verdict: whether the latency can be relied on; None without samples of the case alone.
        breakdown: where the latency goes; None without a profile.
        reason: why there is no latency; empty when there is one.
        remedy: what to do about that.
    """

    key: str
    name: str
    title: str
    engine: str
    case: Case
    device: Device
    timing: Timing | None
    verdict: Verdict | None
    breakdown: BreakdownView | None
    reason: str
    remedy: str

    @property
    def slug(self) -> str:
        """The case's folder in the run."""
        return self.case.slug

    @property
    def format(self) -> str:
        """The format it was measured in; empty when that is not known."""
        return _format(self.case)

    @property
    def label(self) -> str:
        """What was measured, without engine and precision, on one line."""
        return clean(_label(self.case))

    @property
    def precision(self) -> str:
        """The precision it computed in; empty when that is not known."""
        return _precision(self.case)

    @property
    def batch(self) -> int:
        """Images, or whatever it takes, in one inference."""
        artifact = self.case.artifact
        return artifact.spec.batch if artifact else self.case.batch or 1

    @property
    def per_image_ns(self) -> float | None:
        """The median divided by the batch; None without samples."""
        return self.timing.wall.p50 / self.batch if self.timing else None


def case_views(
    saved: SavedRun,
    breakdowns: Mapping[str, Breakdown],
    categories: Mapping[str, str],
    engine_titles: Mapping[str, str] | None = None,
) -> tuple[CaseView, ...]:
    """Derive every case, also those that the run did not come to.

    Args:
        saved: the run.
        breakdowns: where the latency goes, by slug of the case.
        categories: of the run with their titles, in the order of reports.
        engine_titles: what engines are called, by name; others go by their names.
    """
    known = {case.slug: case for case in saved.cases}
    slugs = dict.fromkeys((*saved.run.cases, *known))
    cases = [known.get(slug) or Case(slug, label=slug, engine="") for slug in slugs]
    titles = engine_titles or {}
    called = [clean(titles.get(case.engine, case.engine)) for case in cases]
    engines = _engines(cases, called)
    places = [f"on {saved.device_of(case).profile.title}" for case in cases]
    divided = {
        slug: breakdown_view_of(breakdown, categories) for slug, breakdown in breakdowns.items()
    }
    return tuple(
        _case_view(case, names, saved, divided.get(case.slug))
        for case, *names in zip(
            cases,
            _keys(),
            told_apart(cases, engines, places),
            _titles(cases, engines, places),
            called,
            strict=False,
        )
    )


def devices_of(run: Run, cases: Sequence[CaseView]) -> tuple[Device, ...]:
    """Return the devices that cases ran on, in order; that of the run when it has no case."""
    devices: list[Device] = []
    for device in [case.device for case in cases] or [run.device]:
        if device not in devices:  # its identity makes it unfit for a set
            devices.append(device)
    return tuple(devices)


def cpu_complete(case: Case) -> bool:
    """Say whether the CPU times of a case hold all of the work."""
    if case.measurement is None:
        return False
    return not cpu_is_partial(case.measurement) and cpu_times_complete(case.measurement.steady)


def _case_view(
    case: Case, names: Sequence[str], saved: SavedRun, breakdown: BreakdownView | None
) -> CaseView:
    key, name, title, engine = names
    measurement, plan = case.measurement, saved.run.plan
    timing = _timing(case, measurement, saved.turns_of(case.slug), plan) if measurement else None
    reason, remedy = ("", "") if timing else _no_latency(case, reached=case in saved.cases)
    return CaseView(
        key=key,
        name=name,
        title=title,
        engine=engine,
        case=case,
        device=saved.device_of(case),
        timing=timing,
        verdict=judge(measurement, plan)
        if measurement and timing and not timing.in_turns
        else None,
        breakdown=breakdown,
        reason=reason,
        remedy=remedy,
    )


def _no_latency(case: Case, *, reached: bool) -> tuple[str, str]:
    if case.failure:
        return clean(case.failure.message), clean(case.failure.remedy)
    if not reached:
        return "The run ended before this case's turn.", "Run the same command again."
    if case.sustained:
        return "It ran without a pause: its latency stands under sustained load.", ""
    if case.measurement:
        return "No inference was measured.", "Raise --max-time or --iterations."
    return "It was not measured.", "Run the same command again."


def _timing(
    case: Case, measurement: Measurement, turns: tuple[Samples, ...], plan: Plan
) -> Timing | None:
    sessions = tuple(s.steady for s in measurement.sessions)
    in_turns = not any(map(len, sessions))
    if in_turns:
        sessions = turns
    if not any(map(len, sessions)):
        return None
    samples = sum(sessions, Samples())
    cpu = threads_of(measurement, plan) == 1 and cpu_complete(case) and cpu_times_complete(samples)
    first = measurement.first.wall_ns
    return Timing(
        wall=summarise(samples.wall_ns),
        cpu=summarise(samples.cpu_ns) if cpu else None,
        interval=median_interval([s.wall_ns for s in sessions]),
        load_ns=measurement.load_ns,
        first_ns=first[0] if first else None,
        peak_memory_bytes=measurement.peak_memory_bytes,
        baseline_memory_bytes=measurement.baseline_memory_bytes,
        sessions=sessions,
        in_turns=in_turns,
    )


def _keys() -> itertools.chain[str]:
    letters = string.ascii_uppercase
    return itertools.chain(letters, map("".join, itertools.product(letters, repeat=2)))


def _format(case: Case) -> str:
    return case.format or (case.artifact.format if case.artifact else "")


def _precision(case: Case) -> str:
    return case.precision or (case.artifact.precision if case.artifact else "")


def _engines(cases: Sequence[Case], called: Sequence[str]) -> list[str]:
    """Return the engines as labels have them: with the format where one engine has several."""
    formats: dict[str, set[str]] = {}
    for case in cases:
        formats.setdefault(case.engine, set()).add(_format(case))
    return [
        " ".join(filter(None, (name, f"({_format(case)})" if _format(case) else "")))
        if not name or len(formats[case.engine]) > 1
        else name
        for case, name in zip(cases, called, strict=True)
    ]


def _label(case: Case) -> str:
    """Return a label at a length that sentences bear; all of it stands in the saved case.

    A case that is not computed in its precision's own numbers is never named without that.
    """
    return elide(case.label, _LONGEST) + (" (emulated)" if case.emulated else "")


def told_apart(cases: Sequence[Case], engines: Sequence[str], places: Sequence[str]) -> list[str]:
    """Return the labels, with as little added as tells most cases apart; the same are numbered.

    Args:
        cases: that are told apart.
        engines: what that of each is called.
        places: where each ran.
    """
    added = (
        engines,
        [_precision(case) for case in cases],
        [_threads(case) for case in cases],
        [case.size for case in cases],
        places,
    )
    kinds = [
        [clean(" ".join(parts)) for parts in zip(map(_label, cases), *chosen, strict=True)]
        for count in range(len(added) + 1)
        for chosen in itertools.combinations(added, count)
    ]
    names = max(kinds, key=lambda kind: len(set(kind)))
    return [
        f"{name} #{names[: i + 1].count(name)}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def _titles(cases: Sequence[Case], engines: Sequence[str], places: Sequence[str]) -> list[str]:
    several = len(set(places)) > 1
    return [
        clean(
            " ".join(
                (
                    _label(case),
                    case.size,
                    engine,
                    _unusual(case),
                    _threads(case),
                    place if several else "",
                )
            )
        )
        for case, engine, place in zip(cases, engines, places, strict=True)
    ]


def _threads(case: Case) -> str:
    """Return the threads of a case in a run whose cases differ in them."""
    return "" if case.threads is None else count(case.threads, "thread")


def _unusual(case: Case) -> str:
    precision = _precision(case)
    return "" if precision == "fp32" else precision
