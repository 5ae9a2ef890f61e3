"""What a run measures: cases made of networks and files, exported, verified, on the device."""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import engines, files, formats, models
from mvdeploy.errors import MvdeployError, UsageError
from mvdeploy.files import sha256 as sha256_of
from mvdeploy.files import writing
from mvdeploy.links import Link, Setting
from mvdeploy.pipeline import identity, origin, ways
from mvdeploy.pipeline.export import Builder, Exported
from mvdeploy.pipeline.files import Opened, demand_inputs, measurable
from mvdeploy.pipeline.store import Store
from mvdeploy.pipeline.ways import Choice, Way
from mvdeploy.records import (
    Artifact,
    Case,
    FileInputs,
    Finding,
    JobModel,
    Level,
    ModelSpec,
    TensorInfo,
)
from mvdeploy.records.spec import ImageChanges
from mvdeploy.records.tensor import ANY_SHAPE
from mvdeploy.timing.case import Entry

if TYPE_CHECKING:
    from torch import nn

    from mvdeploy.pipeline.kept_exports import Shelf
    from mvdeploy.quantization.emulation import Emulation
    from mvdeploy.verify.known_reference import KnownReference


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A case to come.

    Attributes:
        case: nothing is known of it yet but, of an exported file, its manifest.
        source: a network, or an exported file.
        options: how a network is exported.
        findings: what is to be known of an exported file.
        setting: of the device; see `mvdeploy.links.Setting`.
    """

    case: Case
    source: ModelSpec | Path
    options: formats.Options = formats.DEFAULTS
    findings: tuple[Finding, ...] = ()
    setting: Setting | None = None


def wanted(
    subjects: Sequence[ModelSpec | Path],
    choice: Choice,
    said: FileInputs | None = None,
    network: ModelSpec | None = None,
    keep_float: tuple[str, ...] = (),
    *,
    portable: bool = False,
) -> list[Wanted]:
    """List the cases, each with a slug of its own and an engine of the device.

    Args:
        subjects: networks, and exported files to take as they are.
        choice: where, and in which formats, precisions and engines.
        said: what is said of the inputs of files.
        network: the one that files without a manifest came from; None where that is not known.
        keep_float: patterns of modules of the networks that stay in float.
        portable: export networks for any engine, not as the device's runs them fastest.

    Raises:
        UsageError: a file is damaged, nothing here runs it, or a format is not written in a
            precision.
    """
    cases: list[Wanted] = []
    taken: set[str] = set()

    def add(
        case: Case,
        source: ModelSpec | Path,
        way: Way,
        options: formats.Options = formats.DEFAULTS,
        findings: tuple[Finding, ...] = (),
    ) -> None:
        own = f"{case.slug}-{way.engine}" if way.marked else case.slug
        own = f"{own}-{way.threads}t" if way.threads else own
        numbered = (f"{own}-{n}" for n in itertools.count(2))
        slug = next(name for name in itertools.chain((own,), numbered) if name not in taken)
        taken.add(slug)
        case = dataclasses.replace(
            case, slug=slug, engine=way.engine, emulated=way.emulated, threads=way.threads
        )
        cases.append(Wanted(case, source, options, findings))

    files = _files([s for s in subjects if isinstance(s, Path)], said, network)
    if not any(file.artifact.read_from for file in files.values()):
        _demand_files_of_others(subjects, said, network)
    networks = [s for s in subjects if isinstance(s, ModelSpec)]
    sized = len({spec.image_size for spec in networks}) > 1
    counted = len({spec.batch for spec in networks}) > 1
    found, left_out = ways.of_networks(choice) if networks or not files else ((), ())
    for number, way in enumerate(found or (None,)):
        options = _options(way, keep_float, portable=portable) if way else formats.DEFAULTS
        if way:
            formats.check_options(way.format, options)
        for subject in subjects:
            if isinstance(subject, ModelSpec) and way:
                case = _case_of(subject, way.format, options, sized=sized, counted=counted)
                add(case, subject, way, options, _emulated(case, way))
            elif number == 0 and isinstance(subject, Path):
                file = files[subject]
                case = _case_of_file(file.path, file.artifact)
                for own in ways.of_file(choice, file.path, case.format, case.precision):
                    add(case, file.path, own, findings=(*file.findings, *_emulated(case, own)))
    if cases:
        cases[0] = dataclasses.replace(cases[0], findings=(*cases[0].findings, *left_out))
    return cases


def _emulated(case: Case, way: Way) -> tuple[Finding, ...]:
    """Return what is to be known of a case that is not computed in its precision's numbers."""
    if not way.emulated:
        return ()
    values: dict[str, str | int | float] = {
        "case": case.label,
        "engine": way.engine,
        "precision": case.precision,
        "reason": way.emulated,
    }
    return (Finding("emulated_precision", Level.WARNING, values),)


def _options(way: Way, keep_float: tuple[str, ...], *, portable: bool) -> formats.Options:
    """Return how a network is exported; only what has whole numbers keeps some of it in float.

    Args:
        way: how it is measured.
        keep_float: patterns of modules.
        portable: for any engine, and not as the way's runs it fastest.
    """
    precision = way.precision or formats.precisions_of(way.format)[0]
    preferred = {} if portable else engines.preferred(way.engine, way.format, precision)
    plain = formats.options(way.format, preferred, precision=way.precision)
    if not keep_float or formats.target(way.format, plain) is None:
        return plain
    return dataclasses.replace(plain, keep_float=keep_float)


def _files(
    paths: Sequence[Path], said: FileInputs | None, network: ModelSpec | None
) -> dict[Path, Opened]:
    """Read files; what is said of inputs is said of those files that have them.

    Of a file alone it is not known how its images are fed: as those of another file of the run that
    takes the same, if that is known.
    """
    files: dict[Path, Opened] = {}
    for path in paths:
        files[path] = measurable(path, said, network)
    demand_inputs(said, list(files.values()))
    known = [file.artifact for file in files.values() if file.artifact.spec.model]
    for path, file in files.items():
        shapes = _shapes(file.artifact)
        alike = next((other for other in known if _shapes(other) == shapes), None)
        own = said is not None and said.images != ImageChanges()
        if not file.artifact.spec.model and alike is not None and not own:
            artifact = dataclasses.replace(
                file.artifact, preprocessing=alike.preprocessing, fed_as=alike.path
            )
            files[path] = dataclasses.replace(file, artifact=artifact)
    return files


def _demand_files_of_others(
    subjects: Sequence[ModelSpec | Path], said: FileInputs | None, network: ModelSpec | None
) -> None:
    """Refuse what is said of files without a manifest, where there is none.

    Raises:
        UsageError: names it.
    """
    images = said is not None and said.images != ImageChanges()
    what = "The network" if network is not None else "How images are fed"
    if network is not None or (images and all(isinstance(s, Path) for s in subjects)):
        raise UsageError(
            f"{what} is said of files without a manifest, and none is given.",
            "Leave it out, or give such a file.",
        )


def _shapes(artifact: Artifact) -> list[tuple[int | str, ...]]:
    return [tensor.shape for tensor in artifact.spec.inputs]


def _case_of(
    spec: ModelSpec, format_name: str, options: formats.Options, *, sized: bool, counted: bool
) -> Case:
    """Return a case of a network.

    Args:
        spec: the network.
        format_name: that it is exported to.
        options: how.
        sized: networks of the run differ in the size of the image, so that it has to be said.
        counted: likewise in the number of images.
    """
    precision = formats.precision(format_name, options)
    usual = precision == formats.precisions_of(format_name)[0]
    batch = f"-b{spec.batch}" if spec.batch > 1 else ""
    slug = f"{spec.slug}{batch}-{format_name}{'' if usual else f'-{precision}'}"
    images = any(tensor.is_image for tensor in spec.inputs)
    return Case(
        slug,
        spec.label,
        "",
        format=format_name,
        precision=precision,
        image_size=spec.image_size if sized and images else None,
        batch=spec.batch if counted or spec.batch > 1 else None,
    )


def _case_of_file(path: Path, artifact: Artifact) -> Case:
    slug = files.short(re.sub(r"[^A-Za-z0-9._]+", "-", path.name))
    label = f"{artifact.spec.label} ({path.name})" if artifact.spec.model else path.name
    return Case(slug, label, "", artifact, format=artifact.format, precision=artifact.precision)


def in_settings(cases: Sequence[Wanted], settings: Sequence[Setting]) -> list[Wanted]:
    """Return the cases, each in every setting of the device; as they are without any."""
    return [
        dataclasses.replace(
            wanted,
            case=dataclasses.replace(wanted.case, slug=f"{wanted.case.slug}-{setting.name}"),
            setting=setting,
        )
        for wanted in cases
        for setting in settings
    ] or [*cases]


class Preparation:
    """Exports every network to every format once, however many cases it is in.

    Args:
        builders: of the networks.
        photograph: what the models are fed.
        link: to the device.
        store: the run; artifacts and inputs go into its folder.
        engine_options: what the engines' sessions are opened with, by name.
        shelf: where exports are kept; None for nowhere.
    """

    def __init__(
        self,
        builders: Mapping[ModelSpec, Builder],
        photograph: Path,
        link: Link,
        store: Store,
        engine_options: Mapping[str, str] | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self._engine_options = dict(engine_options or {})
        self._builders, self.photograph = builders, photograph
        self._link, self.store = link, store
        self._given: dict[str, Path] = {}
        self._exported: dict[tuple[ModelSpec, str, formats.Options], Exported] = {}
        self._emulations: dict[str, Emulation | None] = {}
        self._references: dict[str, KnownReference] = {}
        self._shelf = shelf

    def entries(self, wanted: Sequence[Wanted]) -> list[Entry]:
        """Bring the cases to the device; those whose export fails are saved with the reason."""
        files = [(w, self._file(w)) for w in wanted]
        return [self._entry(w, path) for w, path in files if path is not None]

    def _file(self, wanted: Wanted) -> Path | None:
        slug, source = wanted.case.slug, wanted.source
        if isinstance(source, Path):
            self._given[slug] = source
            self.store.update(slug, artifact=wanted.case.artifact)
            return source
        try:
            exported = self._export(source, wanted.case.format, slug, wanted.options)
        except MvdeployError as error:
            self.store.failed(slug, error)
            return None
        self.store.update(slug, artifact=exported.artifact, parity=exported.parity)
        if not exported.kept:
            self._emulations[slug] = exported.emulation
        if exported.reference is not None:
            self._references[slug] = exported.reference
        return exported.path

    def _export(
        self, spec: ModelSpec, format_name: str, name: str, options: formats.Options
    ) -> Exported:
        key = (spec, format_name, options)
        if key not in self._exported:
            builder = self._builders.get(spec) or Builder(spec, self.photograph, shelf=self._shelf)
            path = self.store.folder / "artifacts" / f"{name}{formats.suffix(format_name)}"
            self._exported[key] = builder.export(format_name, path, options)
        return self._exported[key]

    def network(self, case: Case, artifact: Artifact) -> nn.Module:
        """Return the network of a case as it was built, for comparing with it.

        Raises:
            UsageError: it cannot be built again, such as when its checkpoint is gone, or it has
                other weights than the one that was exported.
        """
        given, builder = self._given.get(case.slug), self._builders.get(artifact.spec)
        if given is None and builder is not None:
            return builder.network
        if given is None:
            return models.build(artifact.spec)
        spec = origin.spec_of(artifact, given)
        network = origin.network(artifact, spec)
        if code := origin.changed_code(artifact, spec):
            values: dict[str, str | int | float] = {"file": given.name, "code": code}
            self.store.found(Finding("changed_code", Level.WARNING, values))
        return network

    def reference(self, case: Case, artifact: Artifact) -> KnownReference | None:
        """Return what the network of a case returns, where that is known without building it.

        Raises:
            UsageError: the file that its weights are from is gone.
        """
        given = self._given.get(case.slug)
        if given is None or self._shelf is None:
            return self._references.get(case.slug)
        spec = origin.spec_of(artifact, given)
        if models.code_of(spec) is not None or not origin.has_same_files(artifact, spec):
            return None
        return self._shelf.reference(artifact, identity.program())

    def emulation(self, case: Case, artifact: Artifact, network: nn.Module) -> Emulation | None:
        """Return what PyTorch runs of a case in whole numbers; None for others.

        Raises:
            UsageError: its scales are not those of the network as it is traced here.
        """
        if case.slug not in self._emulations:
            self._emulations[case.slug] = origin.emulation(artifact, network)
        return self._emulations[case.slug]

    def anchor(self, cases: Sequence[Entry]) -> Entry | None:
        """Return the yardstick for cases of one engine; None, with a finding, when it fails."""
        artifact = self.store.case(cases[0].slug).artifact
        try:
            precision = _written(artifact) if artifact else None
            return self.beside("yardstick", cases[0].slug, precision)[0]
        except MvdeployError as error:
            values: dict[str, str | int | float] = {"reason": error.message}
            self.store.found(Finding("anchor_failed", Level.WARNING, values))
            return None

    def beside(
        self, model: str, slug: str, precision: str | None = None, setting: str = ""
    ) -> tuple[Entry, Artifact]:
        """Bring a small network to the device that runs as a case does, but is no case.

        Args:
            model: its name.
            slug: of the case, whose format and engine it has.
            precision: that it is exported in; None for the format's usual one.
            setting: of the device, that it runs in.

        Raises:
            MvdeployError: it cannot be exported or sent.
        """
        case = self.store.case(slug)
        if case.artifact is None:
            raise ValueError(f"case {case.slug} is on the device but has no manifest")
        name = f"{model}-{case.artifact.format}"
        options = formats.options(case.artifact.format, precision=precision)
        exported = self._export(models.make_spec(model), case.artifact.format, name, options)
        entry = self._upload(name, exported.path, exported.artifact, case.engine)
        entry = dataclasses.replace(entry, setting=setting, threads=case.threads)
        return entry, exported.artifact

    def _entry(self, wanted: Wanted, path: Path) -> Entry:
        case = self.store.case(wanted.case.slug)
        if case.artifact is None:
            raise ValueError(f"case {case.slug} has a file but no manifest")
        entry = self._upload(case.slug, path, case.artifact, case.engine)
        setting = wanted.setting.name if wanted.setting is not None else ""
        return dataclasses.replace(
            entry, setting=setting, threads=case.threads, group=case.precision
        )

    def _upload(self, slug: str, path: Path, artifact: Artifact, engine: str) -> Entry:
        files = write_inputs(self.store.folder, slug, self.photograph, artifact)
        whole = self.store.folder / "artifacts" / f"{slug}{path.suffix}"
        path, sha256 = sendable(path, artifact, self._link, whole)
        places = self._link.upload((path, *files.values()))
        inputs = {name: places[file] for name, file in files.items()}
        options = engines.session_options(engine, artifact.precision, self._engine_options)
        names = tuple(output.name for output in artifact.outputs)
        model = JobModel(engine, places[path], sha256, inputs, None, options, names)
        known = bool(artifact.spec.model)
        return Entry(slug, model, demanded(artifact), finite=known)


def sendable(path: Path, artifact: Artifact, link: Link, whole: Path) -> tuple[Path, str]:
    """Return the file that a runner is given, and its sha256: one file, where it is sent.

    Args:
        path: of the artifact, which may have weights in files beside it.
        artifact: its manifest.
        link: to where it is run.
        whole: where a copy with all weights in it may be written.
    """
    if not artifact.data:
        return path, artifact.sha256
    if link.profile.link != "host":
        with writing.whole(whole) as part:
            formats.get(artifact.format).self_contained(path, part)
        path = whole
    return path, sha256_of(path)


def _written(artifact: Artifact) -> str | None:
    """Return the precision of a file, if networks are written in it too."""
    known = artifact.precision in formats.precisions_of(artifact.format)
    return artifact.precision if known else None


def demanded(artifact: Artifact) -> tuple[TensorInfo, ...]:
    """Return the outputs that a case has to have; what a file says of their shapes may be old."""
    if not artifact.read_from:
        return artifact.outputs
    return tuple(dataclasses.replace(output, shape=ANY_SHAPE) for output in artifact.outputs)


def input_files(folder: Path, slug: str, artifact: Artifact) -> dict[str, Path]:
    """Return where a run keeps what a case is fed, by input."""
    names = [tensor.name for tensor in artifact.inputs]
    # No slug has a plus sign: another case may be called as this one, with a number behind.
    files = (slug, *(f"{slug}+{number}" for number in range(2, len(names) + 1)))
    return {n: folder / "inputs" / f"{file}.npy" for n, file in zip(names, files, strict=True)}


def write_inputs(folder: Path, slug: str, photograph: Path, artifact: Artifact) -> dict[str, Path]:
    """Write what a case is fed, and return the files by input; see `input_files`."""
    import numpy as np

    from mvdeploy.models.preprocess import load_images
    from mvdeploy.verify import images, inputs

    taken, rule = artifact.spec.inputs, artifact.preprocessing
    feeds = inputs.feeds(taken, rule, load_images(photograph, taken, rule))
    fed = images.fed(artifact, next(iter(feeds.values())))
    files = input_files(folder, slug, artifact)
    for path, array in zip(files.values(), fed.values(), strict=True):
        content = io.BytesIO()
        np.save(content, array)
        writing.data(path, content.getvalue())
    return files
