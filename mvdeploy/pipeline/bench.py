"""Specs and artifacts → a saved run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mvdeploy import engines, files, links
from mvdeploy.errors import DeviceUnavailable, EngineError, MvdeployError
from mvdeploy.files.writing import NotWritten
from mvdeploy.pipeline import calibration, memory, prepare, rates, ways
from mvdeploy.pipeline import store as stores
from mvdeploy.pipeline.connect import opened
from mvdeploy.pipeline.export import Builder
from mvdeploy.pipeline.judge import Judge
from mvdeploy.pipeline.kept_exports import Shelf
from mvdeploy.pipeline.prepare import Preparation, Wanted
from mvdeploy.pipeline.store import Store
from mvdeploy.pipeline.ways import Choice
from mvdeploy.records import (
    Artifact,
    Case,
    Device,
    DeviceProfile,
    FileInputs,
    Finding,
    Level,
    Measurement,
    ModelSpec,
    Plan,
    TimeKind,
    Trace,
)
from mvdeploy.text_format import count
from mvdeploy.timing.case import Entry, by_engine
from mvdeploy.timing.measure import Listener, measure
from mvdeploy.timing.profile import Profile, profile

OnStep = Callable[[str], None]


_FEW, _FEW_SESSIONS, _FEW_PROFILED = 40, 2, 5
"""Inferences of a case, sessions and profiled inferences where each call takes seconds."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be measured.

    Example:
        >>> import mvdeploy
        >>> from pathlib import Path
        >>> from mvdeploy import links
        >>> request = mvdeploy.Request(
        ...     subjects=(mvdeploy.make_spec("yardstick"),),
        ...     formats=("pytorch",),
        ...     device=links.profile("host"),
        ...     plan=mvdeploy.Plan(iterations=8, sessions=2),
        ...     root=Path("reports"),
        ... )
        >>> [case.slug for case in request.cases]
        ['yardstick-56-pytorch']

    Attributes:
        subjects: networks to export and measure, each in all of `formats`, and exported files to
            measure as they are.
        formats: of the networks.
        device: where.
        plan: how.
        root: folder below which the run gets a folder of its own.
        photograph: what the models are fed; None for a photograph that is always there.
        command: the command line, for the record.
        precisions: that networks are exported in; None for each format's usual one.
        engines: that run them; empty for the first of each format, `ways.ALL` for every one.
        force: measure also what the device computes in other numbers than the precision's own.
        engine_options: what the engines' sessions are opened with, beside their defaults.
        link_options: how the device is reached, as `links.get` takes it.
        said: what is said of the inputs of exported files.
        network: the one that files without a manifest came from; None where that is not known.
        left_out: passes that networks do not go through.
        wish: what scales of whole numbers are taken from.
        keep_float: patterns of modules that stay in float, in programs with whole numbers.
        shelf: where exports are kept, and taken from; None to make each.
        portable: networks are exported for any engine, not as the device's runs them fastest.
    """

    subjects: tuple[ModelSpec | Path, ...]
    formats: tuple[str, ...]
    device: DeviceProfile
    plan: Plan
    root: Path
    photograph: Path | None = None
    command: tuple[str, ...] = ()
    precisions: tuple[str | None, ...] = (None,)
    engine_options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    link_options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    said: FileInputs | None = None
    network: ModelSpec | None = None
    left_out: tuple[str, ...] = ()
    wish: calibration.Wish = calibration.DEFAULT
    keep_float: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    force: bool = False
    shelf: Shelf | None = None
    portable: bool = False

    @property
    def choice(self) -> Choice:
        """In which ways is measured."""
        threads = (self.plan.threads, *self.plan.sweep) if self.plan.sweep else ()
        return Choice(self.device, self.formats, self.precisions, self.engines, self.force, threads)

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases to come.

        Raises:
            UsageError: a file is no artifact, or the device has no engine for one of them.
        """
        return tuple(wanted.case for wanted in self.wanted)

    @functools.cached_property
    def wanted(self) -> list[Wanted]:
        """The cases to come, and what is exported for them.

        Raises:
            UsageError: a file is no artifact, or the device has no engine for one of them.
        """
        return prepare.wanted(
            self.subjects,
            self.choice,
            self.said,
            self.network,
            self.keep_float,
            portable=self.portable,
        )

    @property
    def files(self) -> tuple[tuple[Path, Artifact], ...]:
        """The exported files, each with what is known of it."""
        return tuple(
            (wanted.source, wanted.case.artifact)
            for wanted in self.wanted
            if isinstance(wanted.source, Path) and wanted.case.artifact is not None
        )

    @property
    def specs(self) -> tuple[ModelSpec, ...]:
        """The networks, each once."""
        return tuple(dict.fromkeys(s for s in self.subjects if isinstance(s, ModelSpec)))


def step_count(request: Request) -> int:
    """Return how many steps `run` will announce at least, for a progress bar."""
    plan = request.plan
    cases = len(request.cases)
    networks = [w for w in request.wanted if isinstance(w.source, ModelSpec)]
    exports = len({(w.source, w.case.format, w.options) for w in networks})
    profiles = cases if plan.profile_iterations else 0
    groups = 1 if plan.pairs_only else len({(c.engine, c.threads) for c in request.cases})
    sessions = max(plan.sessions, plan.groups if cases > 1 else 0)
    return len(request.specs) + 2 * exports + cases + sessions * groups + profiles


def run(request: Request, on_step: OnStep = lambda _: None) -> Store:
    """Export, verify, measure and profile every case; return the saved run.

    A case that fails is saved with its reason, and the others go on. When the device is lost, what
    has been measured is kept, and the cases that are not finished fail for that reason.

    Raises:
        UsageError: the input cannot be used, or there is not enough memory for so many iterations;
            nothing has been written then.
        NotWritten: the disk is full; what was measured before is saved.
        DeviceUnavailable: the device does not answer, and nothing has been measured.

    Example:
        >>> import mvdeploy
        >>> from pathlib import Path
        >>> from mvdeploy import links
        >>> store = mvdeploy.run(
        ...     mvdeploy.Request(
        ...         subjects=(mvdeploy.make_spec("yardstick"),),
        ...         formats=("pytorch",),
        ...         device=links.profile("host"),
        ...         plan=mvdeploy.Plan(iterations=8, sessions=2, profile_iterations=0),
        ...         root=Path("reports"),
        ...     )
        ... )
        >>> len(store.cases[0].measurement.steady)
        8
    """
    from mvdeploy.models.preprocess import sample_photograph

    photograph = request.photograph or sample_photograph()
    link = links.get(request.device, request.link_options)
    wanted = prepare.in_settings(request.wanted, link.settings())
    memory.check(request.plan, len(wanted))
    # Reads the image for every network now: a wrong file should not cost an export first.
    builders = {
        spec: Builder(spec, photograph, on_step, request.left_out, request.wish, request.shelf)
        for spec in request.specs
    }
    if request.device.link == "host" and ways.several(request.engines):
        # What engines reach is held against it; a run stands without.
        with contextlib.suppress(EngineError, NotWritten):
            rates.of_host(again=False, on_step=on_step)
    store: Store | None = None
    try:
        needs = [w.case.engine for w in wanted]
        with _saying_what_is_kept(lambda: store), opened(link, on_step, needs):
            plan = _affordable(request.plan, link)
            device = Device(link.profile, link.identity(), emulated=link.emulated)
            store = stores.create(
                request.root,
                _title(wanted),
                [dataclasses.replace(w.case, device=_set(device, w.setting)) for w in wanted],
                device=device,
                plan=plan,
                command=request.command,
                image=photograph.name,
            )
            for finding in (finding for w in wanted for finding in w.findings):
                store.found(finding)
            preparation = Preparation(
                builders, photograph, link, store, request.engine_options, request.shelf
            )
            _do(preparation, preparation.entries(wanted), link, plan, on_step)
    finally:
        # Not before the link is closed: what could not be removed from the device is one of them.
        with contextlib.suppress(NotWritten):  # a full disk has been told of
            for finding in link.findings():
                if store is not None:
                    store.found(finding)
    return store


def _set(device: Device, setting: links.Setting | None) -> Device:
    """Return a device as it is set for a case: its name says how."""
    if setting is None:
        return device
    title = f"{device.profile.title} ({setting.title})"
    return dataclasses.replace(device, profile=dataclasses.replace(device.profile, title=title))


@contextlib.contextmanager
def _saying_what_is_kept(store: Callable[[], Store | None]) -> Iterator[None]:
    """Add to what ends a run early where it is saved: a full disk, or an interrupt."""
    try:
        yield
    except KeyboardInterrupt as error:
        if run := store():
            error.add_note(f"What was measured until then is saved in {run.folder}.")
        raise
    except NotWritten as error:
        run = store()
        if run is None:
            raise
        measured = sum(_is_measured(run, case.slug) for case in run.cases)
        kept = (
            f"What was measured of {measured} of {count(len(run.cases), 'case')} is saved in "
            f"{run.folder}, which 'mvdeploy report' reads."
            if measured
            else "Nothing had been measured."
        )
        raise NotWritten(error.message, f"{error.remedy} {kept}") from error


def _do(
    preparation: Preparation,
    entries: Sequence[Entry],
    link: links.Link,
    plan: Plan,
    on_step: OnStep,
) -> None:
    """Measure and profile the cases that are on the device."""
    store = preparation.store
    try:
        lost = _measure(entries, link, plan, preparation, on_step)
        if lost is not None:
            _keep_finished(store, entries, plan, lost)
        elif plan.profile_iterations:
            measured = [entry for entry in entries if _is_measured(store, entry.slug)]
            _trace(measured, link, plan, store, on_step)
    except KeyboardInterrupt:
        left = [case.slug for case in store.cases if not _is_measured(store, case.slug)]
        with contextlib.suppress(NotWritten):
            values: dict[str, str | int | float] = {"cases": ", ".join(left) or "none"}
            store.found(Finding("interrupted", Level.ERROR, values))
        raise


def _measure(
    entries: Sequence[Entry],
    link: links.Link,
    plan: Plan,
    preparation: Preparation,
    on_step: OnStep,
) -> DeviceUnavailable | None:
    """Measure the cases, engines in turns; return how the device went, if it did."""
    store = preparation.store
    judge = Judge(store, link, preparation.network, preparation.emulation, preparation.reference)
    listener = Listener(
        store.measured, store.failed, on_step, store.compared, judge, ordered=store.ordered
    )
    try:
        groups = by_engine(entries) if plan.anchor else ()
        anchors = [anchor for group in groups if (anchor := preparation.anchor(group))]
        measure(entries, link, plan, listener, anchors)
    except DeviceUnavailable as error:
        return error
    return None


def _keep_finished(
    store: Store, entries: Sequence[Entry], plan: Plan, lost: DeviceUnavailable
) -> None:
    """Save why there is no more of the cases that are not finished.

    Raises:
        DeviceUnavailable: there is nothing to keep.
    """
    for entry in entries:
        case = store.case(entry.slug)
        done = len(case.measurement.steady) if case.measurement else 0
        if case.failure is None and (plan.iterations is None or done < plan.iterations):
            store.failed(entry.slug, lost)
    if not any(_is_measured(store, case.slug) for case in store.cases):
        raise lost


def _affordable(plan: Plan, link: links.Link) -> Plan:
    """Return a plan for a link on which an inference takes much longer than its own time."""
    if not link.call_s:
        return plan
    if plan.iterations is None:
        # So few have a latency of their own even where turns are all that is wanted.
        plan = dataclasses.replace(plan, iterations=_FEW, sessions=_FEW_SESSIONS, pairs_only=False)
    few = min(plan.profile_iterations, _FEW_PROFILED)
    return dataclasses.replace(plan, profile_iterations=few)


def _title(wanted: Sequence[Wanted]) -> str:
    names = dict.fromkeys(
        w.source.model if isinstance(w.source, ModelSpec) else w.source.stem for w in wanted
    )
    title = "-".join(names) if len(names) < 4 else f"{len(names)}-models"
    return files.short(re.sub(r"[^A-Za-z0-9._]+", "-", title))


def _is_measured(store: Store, slug: str) -> bool:
    measurement = store.case(slug).measurement
    if measurement is None:
        return False
    compared = any(slug in (c.a, c.b) for c in store.comparisons)
    return compared or len(measurement.steady) > 0


def _trace(
    entries: Sequence[Entry], link: links.Link, plan: Plan, store: Store, on_step: OnStep
) -> None:
    """Profile cases: those that are only compared in one job, others each in their own.

    What goes wrong is a finding; the measurement stands without it.
    """
    if plan.pairs_only and len(entries) > 1:
        on_step("profile in turns")
        with contextlib.suppress(EngineError):  # alone, the case that failed says so itself
            profiles = profile(entries, link, plan)
            for entry in entries:
                _keep_trace(entry, profiles, link, store)
            return
    for entry in entries:
        on_step(f"{entry.slug}: profile")
        try:
            _keep_trace(entry, profile([entry], link, plan), link, store)
        except MvdeployError as error:
            finding = Finding("profile_failed", Level.WARNING, {"reason": error.message})
            measurement = _measurement(store, entry.slug)
            findings = (*measurement.findings, finding)
            store.measured(entry.slug, dataclasses.replace(measurement, findings=findings))


def _keep_trace(
    entry: Entry, profiles: Mapping[str, Profile], link: links.Link, store: Store
) -> None:
    """Fetch a profile, read it, and save it as a trace."""
    artifact = store.case(entry.slug).artifact
    if entry.slug not in profiles or artifact is None:
        return
    profiled = profiles[entry.slug]
    engine = engines.get(entry.model.engine)
    folder = store.folder / "cases" / entry.slug / "profile"
    remote = Path(profiled.path)
    for name in (remote.name, *engine.PROFILE_COMPANIONS):
        link.fetch(str(remote.with_name(name)), folder / name)
    times = engine.read_profile(artifact, folder / remote.name, profiled.runs)
    kind = getattr(engine, "TIME_KIND", TimeKind.MEASURED)
    # Estimates are shares of the profiled inferences themselves: no profiler slows them.
    estimated = kind is TimeKind.ESTIMATED
    trace = Trace(
        engine=entry.model.engine,
        time_kind=kind,
        events=times.events,
        profiled_ns=profiled.profiled_ns,
        plain_ns=profiled.profiled_ns if estimated else profiled.plain_ns,
        findings=times.findings,
    )
    store.update(entry.slug, trace=trace)


def _measurement(store: Store, slug: str) -> Measurement:
    measurement = store.case(slug).measurement
    if measurement is None:
        raise ValueError(f"case {slug} has not been measured")
    return measurement
