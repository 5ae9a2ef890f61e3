"""Build, rewrite, export, verify; only then does the file appear under its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import files, formats, models, passes
from mvdeploy.errors import EngineError, MvdeployError, UsageError, reason
from mvdeploy.files import writing
from mvdeploy.pipeline import calibration, identity, origin
from mvdeploy.pipeline.kept_exports import Content, Damaged, Shelf, copy
from mvdeploy.records import Artifact, ModelSpec, ModuleInfo, Parity, PassReport, Sensitivity
from mvdeploy.verify import threads

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mvdeploy.quantization.emulation import Emulation
    from mvdeploy.verify.known_reference import KnownReference
    from mvdeploy.verify.reference import Yardstick

OnStep = Callable[[str], None]

SENSITIVITY_IMAGES = 2
"""On which it is looked at what each module costs."""

_BATCH_REMEDY = "Have it take any (x.shape[0] says how many), or export it for one image."


@dataclasses.dataclass(frozen=True)
class Exported:
    """An export.

    Attributes:
        path: the file; its manifest lies beside it.
        artifact: the manifest.
        parity: the check it passed; None when nothing of this machine can run the file.
        changes: what differs from the file that was there before; empty when it is the same byte
            for byte, None when there was none.
        twin: of a program that takes images, the same program with a tensor as its input.
        emulation: what PyTorch runs of a program in whole numbers; None where there are none, and
            where the export was kept.
        reference: what the network returns for the photograph; None when nothing of this machine
            can run the file.
        kept: it was made and verified earlier.
    """

    path: Path
    artifact: Artifact
    parity: Parity | None
    changes: tuple[str, ...] | None = None
    twin: Exported | None = None
    emulation: Emulation | None = None
    reference: KnownReference | None = None
    kept: bool = False

    @property
    def content(self) -> Content:
        """What is kept of it."""
        twin = self.twin.content if self.twin is not None else None
        return Content(self.path, self.artifact, self.parity, self.reference, twin)


def twin_path(path: Path) -> Path:
    """Return where the twin of a program that takes images goes: ``a.x`` → ``a-tensor.x``."""
    return path.with_name(f"{path.stem}-tensor{path.suffix}")


class Builder:
    """Exports one network to any number of formats.

    It is built once, and rewritten once for each formulation that the formats ask for.

    Args:
        spec: the network.
        photograph: an image that parity is checked on, among other inputs; None for one that is
            always there.
        on_step: is told what happens.
        left_out: names of passes that are not run.
        wish: what scales of whole numbers are taken from.
        shelf: where exports are kept, and taken from; None to make each.

    Example:
        >>> import mvdeploy
        >>> from pathlib import Path
        >>> builder = mvdeploy.Builder(mvdeploy.make_spec("yardstick"))
        >>> exported = builder.export("pytorch", Path("net.pt2"))
        >>> exported.parity.passed, exported.artifact.outputs[0].shape
        (True, (1, 10))
    """

    def __init__(
        self,
        spec: ModelSpec,
        photograph: Path | None = None,
        on_step: OnStep = lambda _: None,
        left_out: tuple[str, ...] = (),
        wish: calibration.Wish = calibration.DEFAULT,
        shelf: Shelf | None = None,
    ) -> None:
        from mvdeploy.models.preprocess import load_images, sample_photograph
        from mvdeploy.verify import inputs

        self._spec = spec
        self._left_out = passes.known(left_out)
        self._step = on_step
        self._rule = models.preprocessing(spec)
        self._photograph = photograph or sample_photograph()
        images = load_images(self._photograph, spec.inputs, self._rule)
        self._feeds = inputs.feeds(spec.inputs, self._rule, images)
        self._wish, self._shelf = wish, shelf
        self._built: _Built | None = None
        self._sources: dict[str, formats.Source] = {}

    def export(
        self, format_name: str, path: Path, options: formats.Options | None = None
    ) -> Exported:
        """Export to `path`, verified if an engine of this machine runs the file.

        If anything fails, what was there before stays, and nothing new does. The same export that
        was kept is taken.

        Raises:
            CheckFailed: the export does not compute what the network does, or is not delegated as
                a whole though it has to be.
            EngineError: the exporter or the engine failed.
            UsageError: the format does not have these options, or the file cannot be written.
        """
        options = options or formats.DEFAULTS
        formats.check_options(format_name, options)
        passes.check(formats.formulation(format_name, options) or passes.PLAIN)
        formats.verifier(format_name, formats.precision(format_name, options))
        key = self._key(format_name, options)
        taken = self._taken(key, path) if key is not None else None
        if taken is not None:
            return taken
        exported = self._made(format_name, path, options)
        if key is not None:
            self._keep(key, exported)
        return exported

    def _key(self, format_name: str, options: formats.Options) -> str | None:
        """Return under what an export is kept; None to keep nothing."""
        if self._shelf is None or not self._shelf.size:
            return None
        return identity.of_export(
            self._spec,
            format_name,
            options,
            self._photograph,
            self._left_out,
            self._wish,
            lambda: (self.network, self._examples),
        )

    def _taken(self, key: str, path: Path) -> Exported | None:
        """Take an export that is kept; None where it is not, or no longer as it was."""
        if self._shelf is None:
            return None
        try:
            with self._shelf.taken(key) as content:
                if content is None:
                    return None
                self._step(f"{self._spec.label}: {content.artifact.format} is kept, and is taken")
                return self._placed(content, path)
        except Damaged as error:
            self._step(f"{self._spec.label}: what is kept is damaged ({error}), and is made again")
        except OSError as error:
            self._say_why(error, "what is kept cannot be read")
        return None

    def _placed(self, content: Content, path: Path) -> Exported:
        """Put what is kept where it is to be."""
        with ExitStack() as stages:
            twin = None
            if content.twin is not None:
                twin = self._copied(content.twin, twin_path(path), stages)
            return self._copied(content, path, stages, twin)

    def _copied(
        self, content: Content, path: Path, stages: ExitStack, twin: Exported | None = None
    ) -> Exported:
        part = stages.enter_context(staged(path))
        copy(content.path, part)
        artifact = dataclasses.replace(
            content.artifact,
            path=path.name,
            twin=twin.path.name if twin is not None else "",
            sources=origin.sources(self._spec, path),
        )
        formats.save_manifest(artifact, part)
        return Exported(
            path,
            artifact,
            content.parity,
            _changes(path, artifact),
            twin,
            reference=content.reference,
            kept=True,
        )

    def _keep(self, key: str, exported: Exported) -> None:
        """Keep an export for the next who asks for it."""
        if self._shelf is None:
            return
        try:
            self._shelf.keep(key, exported.content, identity.program())
        except (OSError, MvdeployError) as error:
            self._say_why(error, "the export cannot be kept")

    def _say_why(self, error: Exception, what: str) -> None:
        why = reason(error)
        if isinstance(error, OSError) and error.strerror:
            why = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        self._step(f"{self._spec.label}: {what} ({why})")

    def _made(self, format_name: str, path: Path, options: formats.Options) -> Exported:
        """Make an export."""
        with threads.one_thread(), ExitStack() as stages:
            twin = None
            instead = formats.twin(format_name, options)
            if instead is not None:
                place = twin_path(path)
                part = stages.enter_context(staged(place))
                twin = self._make(format_name, place, part, instead)
            part = stages.enter_context(staged(path))
            exported = self._make(format_name, path, part, options, twin)
        return exported

    def sensitivity(self, exported: Exported, wanted_db: float) -> Sensitivity | None:
        """Return which modules of an export in whole numbers cost how much; None for others.

        Args:
            exported: by this builder.
            wanted_db: SNR of the outputs that is to be reached with some modules in float.
        """
        import torch

        from mvdeploy.quantization import sensitivity

        if exported.artifact.quantized is None:
            return None
        emulation = exported.emulation or origin.emulation(exported.artifact, self.network)
        if emulation is None:
            return None
        label = f"{self._spec.label}: sensitivity"
        some = calibration.others(SENSITIVITY_IMAGES, self._spec, self._rule)
        feeds = [tuple(map(torch.from_numpy, feed.values())) for feed in some]
        with threads.one_thread():
            return sensitivity.rank(
                emulation,
                feeds,
                wanted_db,
                lambda module: self._step(f"{label} of {module or 'the network itself'}"),
            )

    def _make(
        self,
        format_name: str,
        path: Path,
        part: Path,
        options: formats.Options,
        twin: Exported | None = None,
    ) -> Exported:
        """Write and verify what will be `path`."""
        if options.dynamic_batch:
            self._demand_batches(self.network, 2)
        built, source = self._source(formats.formulation(format_name, options) or passes.PLAIN)
        kind = format_name if twin is None else f"{format_name} with images"
        self._step(f"{self._spec.label}: export to {kind}")
        try:
            written = formats.write(source, format_name, part, options)
        except EngineError as error:
            raise self._free(error, built.network) if options.dynamic_batch else error from None
        artifact = dataclasses.replace(
            written,
            twin=twin.path.name if twin is not None else "",
            weights_fingerprint=built.fingerprint,
            sources=origin.sources(self._spec, path),
            code_sha256=origin.code_sha256(self._spec),
        )
        formats.save_manifest(artifact, part)
        result = None
        known = dataclasses.replace(source, quantized=artifact.quantized)
        emulation = formats.emulation(known, format_name, options)
        reference = None
        if not artifact.runs_on:
            from mvdeploy.verify.known_reference import known_of

            self._step(f"{self._spec.label}: verify {kind} against PyTorch")
            yardstick = self._yardstick(artifact, known, emulation)
            result = self._verify(yardstick, part, known, options, emulation)
            artifact = dataclasses.replace(artifact, verified=result.summary)
            formats.save_manifest(artifact, part)
            reference = known_of(yardstick)
        return Exported(
            path, artifact, result, _changes(path, artifact), twin, emulation, reference
        )

    def _yardstick(
        self, artifact: Artifact, source: formats.Source, emulation: Emulation | None
    ) -> Yardstick:
        from mvdeploy.verify import inputs
        from mvdeploy.verify.reference import Yardstick

        feeds = inputs.with_batches(self._feeds, artifact.inputs)
        return Yardstick(artifact, self.network, feeds, source.network, emulation)

    def _verify(
        self,
        yardstick: Yardstick,
        path: Path,
        source: formats.Source,
        options: formats.Options,
        emulation: Emulation | None,
    ) -> Parity:
        from mvdeploy.verify import parity

        artifact = yardstick.artifact
        engine = formats.verifier(artifact.format, artifact.precision)
        result = parity.check(
            yardstick,
            path,
            engine,
            probing=formats.probing(source, path, artifact.format, options, emulation=emulation),
        )
        parity.demand(result, f"{self._spec.label} in {artifact.format}")
        if artifact.quantized is None or options.dynamic_batch:
            return result
        others = calibration.others(calibration.ANSWERS, self._spec, self._rule)
        said = parity.answers(artifact, self.network, path, engine, others)
        return dataclasses.replace(result, answers=said)

    def _demand_batches(self, network: nn.Module, count: int) -> None:
        """Refuse a network that does not take so many images at once.

        Raises:
            UsageError: names the module in whose forward their number is fixed.
        """
        from mvdeploy.models import batching

        found = batching.fixed_in(network, self._images(1), self._images(count))
        if found is not None:
            module, outcome = found
            raise UsageError(
                f"{self._spec.label} fixes the number of images in the forward of {module}: with "
                f"{count} images it {outcome.rstrip('.')}.",
                _BATCH_REMEDY,
            )

    def _images(self, count: int) -> tuple[Tensor, ...]:
        """Return what the network is fed for a number of images, all different."""
        import torch

        from mvdeploy.verify import inputs

        several = inputs.several(self._feeds, count, self._spec.inputs)
        return tuple(map(torch.from_numpy, several.values()))

    def _free(self, error: EngineError, network: nn.Module) -> MvdeployError:
        """Return why the number of images cannot be free, if that is why an export failed."""
        from mvdeploy.models import batching

        module = batching.decided_in(network, self._images(2))
        if module is None:
            return error
        return UsageError(
            f"{self._spec.label} decides by the number of images in the forward of {module}, so "
            "that it cannot be left free.",
            _BATCH_REMEDY,
        )

    @property
    def _examples(self) -> tuple[Tensor, ...]:
        """The inputs of one inference."""
        import torch

        return tuple(map(torch.from_numpy, next(iter(self._feeds.values())).values()))

    @property
    def network(self) -> nn.Module:
        """The network as it was built and prepared, before any other pass."""
        return self._build().network

    def _source(self, formulation: str) -> tuple[_Built, formats.Source]:
        """Build the network, and rewrite it, where that was not done before."""
        built = self._build()
        if formulation not in self._sources:
            formulated = passes.FORMULATIONS[formulation]
            names = tuple(name for name in formulated if name not in self._left_out)
            network, reports = passes.apply(built.network, self._examples, names)
            self._sources[formulation] = formats.Source(
                spec=self._spec,
                network=network,
                modules=models.with_added(built.modules, network),
                parameters=models.parameter_count(built.network),
                passes=built.passes + reports,
                preprocessing=self._rule,
                macs=built.macs,
                calibration=calibration.calibration(self._wish, self._spec, self._rule),
            )
        return built, self._sources[formulation]

    def _build(self) -> _Built:
        from mvdeploy.models import randomness

        if self._built is None:
            self._step(f"{self._spec.label}: build")
            network = models.build(self._spec)
            fingerprint = models.fingerprint(network)
            if self._spec.batch > 1:
                self._demand_batches(network, self._spec.batch)
            randomness.check(network, self._examples)
            network, reports = passes.prepare(network, self._examples, self._left_out)
            macs = _macs(network, self._examples)
            table = models.module_table(network)
            self._built = _Built(network, table, macs, fingerprint, reports)
        return self._built


@dataclasses.dataclass(frozen=True)
class _Built:
    """A network, prepared, before any other pass, and what was found of it.

    Attributes:
        network: in eval mode.
        modules: its module table.
        macs: its multiply-accumulates; None when they cannot be counted.
        fingerprint: of its weights as they were before it was prepared.
        passes: what prepared it.
    """

    network: nn.Module
    modules: dict[str, ModuleInfo]
    macs: int | None
    fingerprint: str
    passes: tuple[PassReport, ...]


def _macs(network: nn.Module, examples: tuple[Tensor, ...]) -> int | None:
    from mvdeploy.models import macs

    forward = macs.observe(network, *examples)
    return None if forward.uncounted else forward.total


def _changes(path: Path, artifact: Artifact) -> tuple[str, ...] | None:
    """Return in what an artifact differs from the file that it will replace."""
    if not path.exists():
        return None
    try:
        old = formats.read(path)
    except UsageError:
        return ("the file before had no manifest of its own",)
    if old.sha256 == artifact.sha256:
        return ()
    pairs = [(name, old.versions.get(name), artifact.versions.get(name)) for name in old.versions]
    changes = [f"{name} {before} → {now}" for name, before, now in pairs if before != now]
    fields = ("spec", "format", "precision", "inputs", "outputs", "preprocessing", "backend")
    changes += [name for name in fields if getattr(old, name) != getattr(artifact, name)]
    if _passes(old) != _passes(artifact):
        changes.append("passes")
    return tuple(changes) or ("the bytes, though spec and versions are the same",)


def _passes(artifact: Artifact) -> list[tuple[str, tuple[str, ...]]]:
    return [(report.name, report.changed) for report in artifact.passes]


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Give a place to write an artifact and its manifest, and move both to `path` on success.

    Raises:
        NotWritten: the place cannot be written to, or is full.
    """
    name, remedy = f".{files.short(path.name)}", "Give another place with -o, or make room there."
    with writing.worded(path, remedy), writing.folder(path.parent, name) as folder:
        part = folder / path.name
        yield part
        # The manifest goes last: until it is there, the sha256 in the old one refuses the new file.
        files.move(part, path, folder / ".replaced")
        formats.manifest_path(part).replace(formats.manifest_path(path))
