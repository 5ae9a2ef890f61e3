"""Specs and artifacts → a saved run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mvdeploy import files, links
from mvdeploy.errors import DeviceUnavailable, EngineError, MvdeployError
from mvdeploy.files.writing import NotWritten
from mvdeploy.pipeline import calibration, energy, memory, prepare, rates, sustained, ways
from mvdeploy.pipeline import store as stores
from mvdeploy.pipeline.connect import opened
from mvdeploy.pipeline.export import Builder
from mvdeploy.pipeline.judge import Judge
from mvdeploy.pipeline.kept_exports import Shelf
from mvdeploy.pipeline.prepare import Preparation, Wanted
from mvdeploy.pipeline.profiling import Profiling
from mvdeploy.pipeline.stages import first_run
from mvdeploy.pipeline.stages import measuring as stages
from mvdeploy.pipeline.store import Store
from mvdeploy.pipeline.ways import Choice
from mvdeploy.records import (
    Artifact,
    Case,
    Device,
    DeviceProfile,
    FileInputs,
    Finding,
    JobResult,
    Level,
    Measurement,
    ModelSpec,
    Plan,
)
from mvdeploy.text_format import count
from mvdeploy.timing.case import Entry, by_engine
from mvdeploy.timing.measure import Listener, measure

OnStep = Callable[[str], None]
OnMeasurement = Callable[[str, Measurement], None]


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
    if plan.sustained_s:
        intervals = int(plan.sustained_s / plan.interval_s) * (1 if plan.alternate else cases)
        return len(request.specs) + 2 * exports + 2 * cases + intervals
    profiles = cases if plan.profile_iterations else 0
    if plan.profiler_cost and profiles:
        profiles += len({case.engine for case in request.cases})
    groups = 1 if plan.pairs_only else len({(c.engine, c.threads) for c in request.cases})
    sessions = max(plan.sessions, plan.groups if cases > 1 else 0)
    later = energy.steps(cases) if plan.energy else 0
    later += plan.starts
    if plan.pipeline and request.device.link == "host":
        later += cases * plan.sessions
    return len(request.specs) + 2 * exports + cases + sessions * groups + profiles + later


def run(request: Request, on_step: OnStep = lambda _: None) -> Store:
    """Export, verify, measure and profile every case; return the saved run.

    A case that fails is saved with its reason, and the others go on. When the device is lost, what
    has been measured is kept, and the cases that are not finished fail for that reason.

    Args:
        request: what is to be measured.
        on_step: is told of every step; where it has a method ``measured``, that is told of a case's
            measurement whenever it has new samples.

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
    link.force = request.force
    wanted = prepare.in_settings(request.wanted, link.settings())
    sustained.check(request.plan, [w.case for w in wanted])
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
                title_of([w.source for w in wanted]),
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
            entries = preparation.entries(wanted)
            if plan.sustained_s:
                sustained.measure(preparation, entries, link, plan, on_step)
            else:
                _do(preparation, entries, link, plan, on_step)
    except KeyboardInterrupt:
        if store is not None and request.plan.sustained_s:
            _show_rest(store, on_step)
        raise
    finally:
        # Not before the link is closed: what could not be removed from the device is one of them.
        with contextlib.suppress(NotWritten):  # a full disk has been told of
            for finding in link.findings():
                if store is not None:
                    store.found(finding)
    return store


def _show_rest(store: Store, on_step: OnStep) -> None:
    """Write the report of a run that was interrupted, as what it has is of use."""
    from mvdeploy.pipeline import report

    with contextlib.suppress(MvdeployError):
        report.render(store.folder)
        on_step(f"what was measured until then is shown in {store.folder / 'report.html'}")


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
    """Measure the cases that are on the device: their latency, then what else is asked for."""
    store = preparation.store
    later = ""
    try:
        if plan.energy:
            energy.warn(link, on_step)
        lost = _measure(entries, link, plan, preparation, on_step)
        if lost is not None:
            if plan.energy:
                energy.unmeasured(lost, store)
            _keep_finished(store, entries, plan, lost)
            return
        measured = [entry for entry in entries if _is_measured(store, entry.slug)]
        if plan.profile_iterations:
            later = "the times of operators"
            Profiling(preparation, link, plan, on_step).run(measured)
        if plan.pipeline:
            later = "the whole pipeline"
            stages.measure(measured, link, plan, store, preparation.photograph, on_step)
        if plan.starts:
            later = "the first runs"
            first_run.measure(measured, link, plan, store, plan.starts, on_step)
        if plan.energy:
            later = "the energy"
            energy.measure(measured, link, plan, store, on_step)
    except KeyboardInterrupt:
        left = [case.slug for case in store.cases if not _is_measured(store, case.slug)]
        with contextlib.suppress(NotWritten):
            found = Finding("interrupted", Level.ERROR, {"cases": ", ".join(left) or "none"})
            if later:
                found = Finding("unfinished", Level.ERROR, {"what": later})
            store.found(found)
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
    measured = _heard(store.measured, on_step)

    def probed(slug: str, result: JobResult) -> None:
        _label(store, slug, result)
        judge(slug, result)

    listener = Listener(
        measured, store.failed, on_step, store.compared, probed, ordered=store.ordered
    )
    try:
        groups = by_engine(entries) if plan.anchor else ()
        anchors = [anchor for group in groups if (anchor := preparation.anchor(group))]
        measure(entries, link, plan, listener, anchors)
    except DeviceUnavailable as error:
        return error
    return None


def _label(store: Store, slug: str, result: JobResult) -> None:
    """Label a case as emulated whose runner found that something stands in for the hardware."""
    case = store.case(slug)
    reason = str(result.hello.get("emulates", {}).get(case.engine, ""))
    if reason:
        store.update(slug, emulated=reason)
        values: dict[str, str | int | float] = {"case": case.label, "reason": reason}
        store.found(Finding("software_adapter", Level.WARNING, values))


def _heard(save: OnMeasurement, on_step: OnStep) -> OnMeasurement:
    """Return what saves new samples, and shows them to who hears of steps, if that takes them."""
    show: OnMeasurement | None = getattr(on_step, "measured", None)
    if show is None:
        return save

    def save_and_show(slug: str, measurement: Measurement) -> None:
        save(slug, measurement)
        show(slug, measurement)

    return save_and_show


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
    if not link.call_s or plan.sustained_s:
        return plan
    if plan.iterations is None:
        # So few have a latency of their own even where turns are all that is wanted.
        plan = dataclasses.replace(plan, iterations=_FEW, sessions=_FEW_SESSIONS, pairs_only=False)
    few = min(plan.profile_iterations, _FEW_PROFILED)
    return dataclasses.replace(plan, profile_iterations=few)


def title_of(subjects: Sequence[ModelSpec | Path]) -> str:
    """Return what is measured, as part of the name of a folder."""
    names = dict.fromkeys(s.model if isinstance(s, ModelSpec) else s.stem for s in subjects)
    title = "-".join(names) if len(names) < 4 else f"{len(names)}-models"
    return files.short(re.sub(r"[^A-Za-z0-9._]+", "-", title))


def _is_measured(store: Store, slug: str) -> bool:
    measurement = store.case(slug).measurement
    if measurement is None:
        return False
    if store.case(slug).sustained is not None:
        return True
    compared = any(slug in (c.a, c.b) for c in store.comparisons)
    return compared or len(measurement.steady) > 0
