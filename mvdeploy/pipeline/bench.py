"""Specs and artifacts → a saved run."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from mvdeploy import export, runtimes, transports
from mvdeploy.bench.measure import Entry, Listener, by_engine, measure
from mvdeploy.bench.profile import profile
from mvdeploy.errors import MvdeployError
from mvdeploy.pipeline import store as stores
from mvdeploy.pipeline.export import Builder
from mvdeploy.pipeline.store import Store
from mvdeploy.records import (
    Artifact,
    Case,
    Device,
    DeviceProfile,
    Finding,
    JobModel,
    Level,
    ModelSpec,
    Plan,
    TimeKind,
    Trace,
)

OnStep = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be measured.

    Attributes:
        specs: networks to export and measure, each in all of `formats`.
        artifacts: exported files to measure as they are.
        formats: of the networks.
        device: where.
        plan: how.
        root: folder below which the run gets a folder of its own.
        photograph: what the models are fed; None for a photograph that is always there.
        command: the command line, for the record.
    """

    specs: tuple[ModelSpec, ...]
    artifacts: tuple[Path, ...]
    formats: tuple[str, ...]
    device: DeviceProfile
    plan: Plan
    root: Path
    photograph: Path | None = None
    command: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """A case to come: what it is made of."""

    case: Case
    source: ModelSpec | Path
    format: str


def step_count(request: Request) -> int:
    """Return how many steps `run` will announce, for a progress bar."""
    exports = len(request.specs) * len(request.formats)
    cases = exports + len(request.artifacts)
    profiles = cases if request.plan.profile_iterations else 0
    groups = max(1, len(request.formats))
    return len(request.specs) + 2 * exports + cases + request.plan.sessions * groups + profiles


def run(request: Request, on_step: OnStep = lambda _: None) -> Store:
    """Export, verify, measure and profile every case; return the saved run.

    A case that fails is saved with its reason, and the others go on.

    Raises:
        UsageError: the input cannot be used; nothing has been written then.
        DeviceUnavailable: the device does not answer.
    """
    from mvdeploy.models.preprocess import sample_photograph

    photograph = request.photograph or sample_photograph()
    wanted = _wanted(request)
    # Reads the image for every network now: a wrong file should not cost an export first.
    builders = {spec: Builder(spec, photograph, on_step) for spec in dict.fromkeys(request.specs)}
    with transports.get(request.device) as link:
        store = stores.create(
            request.root,
            _title(wanted),
            [w.case for w in wanted],
            device=Device(request.device, link.identity()),
            plan=request.plan,
            command=request.command,
            image=photograph.name,
        )
        try:
            files = {w.case.slug: f for w in wanted if (f := _file(w, builders, store)) is not None}
            entries = _upload(files, photograph, link, store)
            listener = Listener(store.measured, store.failed, on_step)
            for group in by_engine(entries):
                store.compared(measure(group, link, request.plan, listener))
            for entry in entries:
                if request.plan.profile_iterations and _is_measured(store.case(entry.slug)):
                    _trace(entry, link, request.plan, store, on_step)
        except KeyboardInterrupt:
            done = sum(_is_measured(case) for case in store.cases)
            store.found(Finding("interrupted", Level.ERROR, {"cases": done}))
            raise
    return store


def _wanted(request: Request) -> list[_Wanted]:
    """List the cases, each with a slug of its own and an engine of the device."""
    found: list[_Wanted] = []

    def add(slug: str, label: str, format_name: str, source: ModelSpec | Path) -> None:
        engine = runtimes.for_format(format_name, request.device.engines)
        taken = {w.case.slug for w in found}
        numbered = (f"{slug}-{n}" for n in itertools.count(2))
        slug = slug if slug not in taken else next(n for n in numbered if n not in taken)
        found.append(_Wanted(Case(slug, label, engine), source, format_name))

    for format_name in request.formats:
        for spec in request.specs:
            add(f"{spec.slug}-{format_name}", spec.label, format_name, spec)
    for path in request.artifacts:
        artifact = export.read(path)
        slug = re.sub(r"[^A-Za-z0-9._]+", "-", path.name)
        add(slug, f"{artifact.spec.label} ({path.name})", artifact.format, path)
    return found


def _title(wanted: Sequence[_Wanted]) -> str:
    names = dict.fromkeys(
        w.source.model if isinstance(w.source, ModelSpec) else w.source.stem for w in wanted
    )
    title = "-".join(names) if len(names) < 4 else f"{len(names)}-models"
    return re.sub(r"[^A-Za-z0-9._]+", "-", title)


def _file(wanted: _Wanted, builders: dict[ModelSpec, Builder], store: Store) -> Path | None:
    """Return the artifact of a case, exporting it if need be; None when that failed."""
    slug = wanted.case.slug
    if isinstance(wanted.source, Path):
        store.update(slug, artifact=export.read(wanted.source))
        return wanted.source
    path = store.folder / "artifacts" / f"{slug}{export.suffix(wanted.format)}"
    try:
        exported = builders[wanted.source].export(wanted.format, path)
    except MvdeployError as error:
        store.failed(slug, error)
        return None
    store.update(slug, artifact=exported.artifact, parity=exported.parity)
    return path


def _upload(
    files: dict[str, Path], photograph: Path, link: transports.Link, store: Store
) -> list[Entry]:
    """Bring the artifacts and their inputs to the device."""
    entries = []
    for slug, path in files.items():
        artifact = store.case(slug).artifact
        if artifact is None:
            raise ValueError(f"case {slug} has a file but no manifest")
        image = store.folder / "inputs" / f"{slug}.npy"
        _write_input(image, photograph, artifact)
        places = link.upload((path, image))
        inputs = {artifact.inputs[0].name: places[image]}
        engine = store.case(slug).engine
        entries.append(Entry(slug, JobModel(engine, places[path], artifact.sha256, inputs)))
    return entries


def _write_input(path: Path, photograph: Path, artifact: Artifact) -> None:
    import numpy as np

    from mvdeploy.models.preprocess import load_image

    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, load_image(photograph, artifact.preprocessing, artifact.spec.batch))


def _is_measured(case: Case) -> bool:
    return case.measurement is not None and len(case.measurement.steady) > 0


def _trace(entry: Entry, link: transports.Link, plan: Plan, store: Store, on_step: OnStep) -> None:
    """Profile a case; what goes wrong is a finding, the measurement stands without it."""
    on_step(f"{entry.slug}: profile")
    case = store.case(entry.slug)
    if case.artifact is None or case.measurement is None:
        raise ValueError(f"case {case.slug} has not been measured")
    runtime = runtimes.get(entry.model.engine)
    folder = store.folder / "cases" / entry.slug / "profile"
    try:
        profiled = profile(entry, link, plan)
        if profiled is None:
            return
        remote = Path(profiled.path)
        for name in (remote.name, *runtime.PROFILE_COMPANIONS):
            link.fetch(str(remote.with_name(name)), folder / name)
        events = runtime.read_profile(case.artifact, folder / remote.name, profiled.runs)
    except MvdeployError as error:
        finding = Finding("profile_failed", Level.WARNING, {"reason": error.message})
        findings = (*case.measurement.findings, finding)
        store.measured(entry.slug, dataclasses.replace(case.measurement, findings=findings))
        return
    trace = Trace(
        engine=entry.model.engine,
        time_kind=TimeKind.MEASURED,
        events=events,
        profiled_ns=profiled.profiled_ns,
        plain_ns=profiled.plain_ns,
    )
    store.update(entry.slug, trace=trace)
