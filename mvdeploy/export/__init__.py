"""nn.Module → Artifact: a file in an inference format, and its manifest beside it.

A format is one file (or folder) in this folder. It is light to import (what makes the files is
imported when one is made) and has:

``SUFFIX``
    of the files it writes.
``PACKAGES``
    the distributions that make them; their versions go into the manifest.
``PRECISIONS``
    what it can be written in of itself, the usual one first; a precision that rewrites graphs says
    so of its formats.
``write(subject, path, options)``
    writes the program of a `Subject` to `path`, a file or a folder, and returns what was `Written`.
    It calls ``subject.rewrite`` on what it traced, before that is lowered or saved.

and what of the following it has a use for:

``Options``
    a frozen dataclass: what can be chosen about its files beyond precision and formulation. Each
    field is made by `option`, which says how it is asked for on the command line.
``DYNAMIC_BATCH``
    true when its programs can take any number of images.
``check(options)``
    raises `UsageError` for values of its options that cannot be.
``formulation(options)``
    one of `mvdeploy.passes.FORMULATIONS`: how the network is best written for the format. A format
    without it takes the network as its class is written.
``marks(options)``
    words for the name of a file that is made with these options; without it the precision alone.
``twin(options)``
    for a program that cannot be measured as it is, its own options of the same program that can;
    None for one that can.
``annotate(artifact, path)``
    the manifest of a file that was written, with what only the finished file tells.
``options_of(artifact)``
    its own options as a manifest tells them, to make a file like it again.
``VERIFIER``
    name of what runs its files for the comparison with PyTorch: an engine, or an interpreter in
    ``mvdeploy.verify``. A format without it is run by the first engine that has it.
``READS``
    endings of the files that `read_file` reads; without it that is its own.
``read_file(path)``
    the `FileFacts` of a file that has no manifest, read from the file alone. A format without it
    takes no files of others. It raises a `UsageError` for what is no such file.
``self_contained(path, copy)``
    writes a file whose data are in other files beside it as one file; for formats that have such.
``probe(subject, path, options, choose)``
    writes the same program with tensors between modules as further outputs and returns it as a
    `Probe`; ``choose(operators)`` names them. With it, ``unknown_weights(network, path)`` and
    ``differing_weights(network, path, other)`` say what weights a file holds. For a format whose
    inner tensors no engine shows.
``MUTANTS``
    dotted path of the module whose ``mutants`` breaks copies of its files, see
    ``mvdeploy.verify.mutations``. A format without it is made anew from broken programs.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import importlib.metadata
import platform
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import mvdeploy
from mvdeploy import files, plugins, precisions, tasks
from mvdeploy.errors import UsageError
from mvdeploy.export import _reading
from mvdeploy.export._reading import FileFacts
from mvdeploy.plugins import Option
from mvdeploy.records import (
    Artifact,
    Category,
    Delegation,
    FileInputs,
    ModelSpec,
    ModuleInfo,
    Operator,
    PassReport,
    Preprocessing,
    TensorInfo,
    codec,
)
from mvdeploy.verify import mutations, verifiers
from mvdeploy.verify.probes import Choose, Probe, Probing

if TYPE_CHECKING:
    from torch import Tensor, nn

REQUIRED = ("SUFFIX", "PACKAGES", "PRECISIONS", "write")
"""What every format's file has."""

DYNAMIC = "batch"
"""Stands in a shape where any number will do."""

_OPTION = "option"


def option(
    default: Any,
    flag: str,
    help: str,
    *,
    metavar: str = "",
    choices: tuple[str, ...] = (),
    read: Callable[[str], Any] = str,
) -> Any:
    """Declare a field of a format's ``Options``; see `mvdeploy.plugins.Option`."""
    declared = Option("", flag, help, metavar, choices, read=read)
    return dataclasses.field(default=default, metadata={_OPTION: declared})


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen about a file beyond its format.

    Attributes:
        precision: one of `mvdeploy.precisions`; None for the format's usual one.
        formulation: one of `mvdeploy.passes.FORMULATIONS`; None for the one that suits the format.
        dynamic_batch: any number of images can be fed, instead of as many as the spec says.
        own: the format's own ``Options``; None for its defaults.
    """

    precision: str | None = None
    formulation: str | None = None
    dynamic_batch: bool = False
    own: Any = None


DEFAULTS = Options()


@dataclasses.dataclass(frozen=True)
class Written:
    """What a format says of the file that it wrote.

    Attributes:
        operators: of the program, each with the module it came from.
        backend: what it was lowered to; empty for formats without a choice.
        runs_on: what it takes to run it; empty where an engine of the format is enough.
        delegation: how much of it runs in delegates; None for formats without them.
        packages: distributions that made it, besides those of the format.
        inputs: in order; None for those of the subject.
        outputs: in order; None for those of the subject.
    """

    operators: tuple[Operator, ...]
    backend: str = ""
    runs_on: str = ""
    delegation: Delegation | None = None
    packages: tuple[str, ...] = ()
    inputs: tuple[TensorInfo, ...] | None = None
    outputs: tuple[TensorInfo, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """What is exported, and what its manifest says of it.

    Attributes:
        spec: the network.
        network: after all passes, in eval mode.
        modules: classes and categories of the network as it was built, and of those modules that
            the passes added.
        parameters: of the network as it was built.
        passes: what was done to it.
        preprocessing: how it is fed.
        macs: of one inference of the network as it was built; None when an operator of it has no
            counting rule.
        calibration: feeds by a name of each, for precisions that choose their scales by what the
            network is fed.
    """

    spec: ModelSpec
    network: nn.Module
    modules: dict[str, ModuleInfo]
    parameters: int
    passes: tuple[PassReport, ...]
    preprocessing: Preprocessing
    macs: int | None = None
    calibration: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a format is given to write.

    Attributes:
        network: in eval mode; takes the inputs in order and returns the outputs in order.
        examples: a tensor for each input.
        inputs: name, shape and element type of each.
        outputs: the same of the outputs.
        facts: strings to store in the file where the format can hold them.
        preprocessing: how images become the first input; None for what takes none.
        rewrite: the precision's stage: what the format traced → the same, rewritten.
    """

    network: nn.Module
    examples: tuple[Tensor, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    facts: dict[str, str]
    preprocessing: Preprocessing | None = None
    rewrite: Callable[[Any], Any] = lambda graph: graph

    @property
    def dynamic(self) -> bool:
        """Whether the first dimension of the inputs is free."""
        return any(DYNAMIC in tensor.shape for tensor in self.inputs)


def names() -> tuple[str, ...]:
    """Return the names of all formats."""
    return plugins.names(__name__)


def get(format_name: str) -> ModuleType:
    """Return the file of a format.

    Raises:
        UsageError: there is no such format.
    """
    return plugins.load(__name__, format_name, "format")


def check(format_name: str, precision: str | None = None) -> None:
    """Refuse a format or precision that does not exist.

    Raises:
        UsageError: there is no such format or precision.
    """
    if format_name not in names():
        raise plugins.unknown("format", format_name, names())
    if precision is not None:
        precisions.get(precision)


@dataclasses.dataclass(frozen=True)
class Declared:
    """An option and the formats that have it."""

    option: Option
    formats: tuple[str, ...]


def declared() -> tuple[Declared, ...]:
    """Return the options of all formats, each flag once, in the order of the formats."""
    by_flag: dict[str, Declared] = {}
    for name in names():
        for own_option in _own(get(name)).values():
            before = by_flag.get(own_option.flag)
            formats = (*before.formats, name) if before else (name,)
            by_flag[own_option.flag] = Declared(before.option if before else own_option, formats)
    return tuple(by_flag.values())


def options(
    format_name: str,
    given: Mapping[str, Any] | None = None,
    *,
    precision: str | None = None,
    formulation: str | None = None,
    dynamic_batch: bool = False,
) -> Options:
    """Return the options of a format from values by name.

    Args:
        format_name: of the format.
        given: values of its own options, and of other formats': those that are None, False or
            empty were not asked for.
        precision: see `Options`, as are the others.
        formulation: see above.
        dynamic_batch: see above.

    Raises:
        UsageError: the format lacks one that is asked for.
    """
    exporter = get(format_name)
    asked = {name: value for name, value in (given or {}).items() if value}
    own = _own(exporter)
    for declaration in declared():
        if declaration.option.name in asked and declaration.option.name not in own:
            raise _lacking(format_name, declaration.option.flag, declaration.formats)
    chosen = exporter.Options(**asked) if own else None
    return Options(precision, formulation, dynamic_batch, chosen)


def check_options(format_name: str, options: Options) -> None:
    """Refuse options that a format does not have, or that cannot be.

    Raises:
        UsageError: names the option.
    """
    exporter = get(format_name)
    if options.own is not None and not isinstance(options.own, _own_type(exporter) or ()):
        raise UsageError(
            f"The options {options.own!r} are not those of the format {format_name}.",
            f"Give those that mvdeploy.export.{format_name} has.",
        )
    if options.dynamic_batch and not getattr(exporter, "DYNAMIC_BATCH", False):
        having = [name for name in names() if getattr(get(name), "DYNAMIC_BATCH", False)]
        raise _lacking(format_name, "--batch dynamic", having)
    possible = precisions_of(format_name)
    if precision(format_name, options) not in possible:
        raise UsageError(
            f"The format {format_name} is not written in {options.precision}.",
            f"Give --precision {' or '.join(possible)}.",
        )
    if hasattr(exporter, "check"):
        exporter.check(complete(format_name, options))


def complete(format_name: str, options: Options) -> Options:
    """Return options with the format's own and its usual precision where none are given."""
    own_type = _own_type(get(format_name))
    return dataclasses.replace(
        options,
        precision=precision(format_name, options),
        own=options.own if options.own is not None or own_type is None else own_type(),
    )


def _own_type(exporter: ModuleType) -> type[Any] | None:
    own_type: type[Any] | None = getattr(exporter, "Options", None)
    # The name may also be the one that is imported from here.
    return None if own_type is Options else own_type


def _own(exporter: ModuleType) -> dict[str, Option]:
    """Return the declared options of a format by the names of their fields."""
    own_type = _own_type(exporter)
    fields = dataclasses.fields(own_type) if own_type is not None else ()
    return {f.name: f.metadata[_OPTION]._replace(name=f.name) for f in fields}


def _lacking(format_name: str, flag: str, having: Sequence[str]) -> UsageError:
    return UsageError(
        f"The format {format_name} has no {flag}.",
        f"Leave it out, or use --format {' or '.join(having)}.",
    )


def precisions_of(format_name: str) -> tuple[str, ...]:
    """Return the precisions that a format can be written in, the usual one first."""
    own: tuple[str, ...] = get(format_name).PRECISIONS
    others = (n for n in precisions.names() if format_name in precisions.get(n).formats)
    return tuple(dict.fromkeys((*own, *others)))


def precision(format_name: str, options: Options) -> str:
    """Return what a format is written in: as is asked for, or as is usual."""
    return options.precision or precisions_of(format_name)[0]


def formulation(format_name: str, options: Options) -> str | None:
    """Return how the network is to be written: as is asked for, or as suits the format best.

    Returns:
        One of `mvdeploy.passes.FORMULATIONS`; None if the format takes the network as it is.
    """
    if options.formulation is not None:
        return options.formulation
    best = getattr(get(format_name), "formulation", None)
    preferred: str | None = best(complete(format_name, options)) if best is not None else None
    return preferred


def marks(format_name: str, options: Options) -> tuple[str, ...]:
    """Return what a file's name says of the options that it is made with."""
    own: Callable[[Options], tuple[str, ...]] | None = getattr(get(format_name), "marks", None)
    whole = complete(format_name, options)
    return own(whole) if own is not None else (str(whole.precision),)


def twin(format_name: str, options: Options) -> Options | None:
    """Return how the program is made that is measured instead; None when it is measured itself."""
    own = getattr(get(format_name), "twin", None)
    instead = own(complete(format_name, options)) if own is not None else None
    return None if instead is None else dataclasses.replace(options, own=instead)


def options_of(artifact: Artifact) -> Options:
    """Return the options that make a file like one that there is."""
    own = getattr(get(artifact.format), "options_of", None)
    return Options(
        artifact.precision,
        dynamic_batch=any(DYNAMIC in tensor.shape for tensor in artifact.inputs),
        own=own(artifact) if own is not None else None,
    )


def verifier(format_name: str) -> str:
    """Return what a format's files are run by for the comparison with PyTorch.

    Raises:
        UsageError: there is no such format, or nothing here runs it.
    """
    return verifiers.choose(format_name, getattr(get(format_name), "VERIFIER", None))


def mutants(format_name: str) -> Callable[[mutations.Subject], Iterator[mutations.Mutant]]:
    """Return what breaks copies of a format's files, see `mvdeploy.verify.mutations`."""
    driver = getattr(get(format_name), "MUTANTS", "mvdeploy.verify.mutations.program")
    breaks: Callable[[mutations.Subject], Iterator[mutations.Mutant]]
    breaks = importlib.import_module(driver).mutants
    return breaks


def suffix(format_name: str) -> str:
    """Return the file name ending of a format, with its dot."""
    ending: str = get(format_name).SUFFIX
    return ending


def manifest_path(artifact: Path) -> Path:
    """Return where the manifest of an artifact lies: ``model.onnx`` → ``model.onnx.json``."""
    return artifact.with_name(artifact.name + ".json")


Alter = Callable[[Any], Any]
"""What a format traced → the same, changed; see `mvdeploy.verify.mutations.program`."""


def probing(
    source: Source,
    path: Path,
    format_name: str,
    options: Options,
    *,
    always: bool = False,
    alter: Alter | None = None,
) -> Probing | None:
    """Return how to look into a file of a format whose inner tensors cannot be read.

    Args:
        source: what the file was made of.
        path: the file.
        format_name: its format.
        options: that it was made with.
        always: see `Probing`.
        alter: see `write`.

    Returns:
        None for a format whose files are read themselves.
    """
    exporter = get(format_name)
    if not hasattr(exporter, "probe"):
        return None
    options = complete(format_name, options)

    @contextmanager
    def make(choose: Choose) -> Iterator[Probe]:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / path.name
            subject = _subject(source, format_name, options, alter)
            made: Probe = exporter.probe(subject, place, options, choose)
            differing = exporter.differing_weights(source.network, path, place)
            yield dataclasses.replace(made, differing=differing)

    return Probing(make, exporter.unknown_weights(source.network, path), always)


def write(
    source: Source,
    format_name: str,
    path: Path,
    options: Options | None = None,
    *,
    alter: Alter | None = None,
) -> Artifact:
    """Export a network to `path` and its manifest beside it.

    Neither is checked yet: write to a place of your own, verify, then move both.

    Args:
        source: the network.
        format_name: of the format.
        path: of the file.
        options: None for the format's defaults.
        alter: changes what the format traced, before the precision does.

    Raises:
        UsageError: there is no such format, or it does not have these options.
    """
    options = options or DEFAULTS
    check_options(format_name, options)
    options = complete(format_name, options)
    exporter = get(format_name)
    subject = _subject(source, format_name, options, alter)
    written: Written = exporter.write(subject, path, options)
    artifact = Artifact(
        path=path.name,
        sha256=files.sha256(path),
        size_bytes=files.size(path),
        format=format_name,
        precision=precision(format_name, options),
        spec=source.spec,
        passes=source.passes,
        inputs=written.inputs or subject.inputs,
        outputs=written.outputs or subject.outputs,
        preprocessing=source.preprocessing,
        versions=_versions(exporter.PACKAGES + written.packages),
        operators=written.operators,
        modules=source.modules,
        parameters=source.parameters,
        macs=source.macs,
        backend=written.backend,
        runs_on=written.runs_on,
        delegation=written.delegation,
        categories=categories(source.modules),
    )
    if hasattr(exporter, "annotate"):
        artifact = exporter.annotate(artifact, path)
    save_manifest(artifact, path)
    return artifact


def categories(modules: Mapping[str, ModuleInfo]) -> dict[str, str]:
    """Return the categories of modules with their titles, in the order of reports."""
    present = [info.category for info in modules.values() if info.category is not None]
    return {str(category): category.heading for category in Category.ordered(present)}


def _subject(
    source: Source, format_name: str, options: Options, alter: Alter | None = None
) -> Subject:
    spec = source.spec
    size = DYNAMIC if options.dynamic_batch else spec.batch
    # A batch of one would be taken for a constant.
    batch = max(2, spec.batch) if options.dynamic_batch else spec.batch
    task = tasks.get(spec.task)
    outputs = tuple(output.with_batch(spec.batch, size) for output in task.outputs(spec))
    return Subject(
        network=_in_order(source.network, task, tuple(output.name for output in outputs)),
        examples=tuple(map(_example, spec.with_batch(batch).inputs)),
        inputs=tuple(tensor.with_batch(spec.batch, size) for tensor in spec.inputs),
        outputs=outputs,
        facts={
            "mvdeploy.version": mvdeploy.__version__,
            "mvdeploy.model": spec.label,
            "mvdeploy.weights": _weights(spec),
            "mvdeploy.passes": ", ".join(report.name for report in source.passes),
        },
        preprocessing=source.preprocessing,
        rewrite=_stage(source, format_name, precision(format_name, options), alter),
    )


def _example(tensor: TensorInfo) -> Tensor:
    import torch

    return torch.zeros(*map(int, tensor.shape), dtype=getattr(torch, tensor.dtype))


def _in_order(network: nn.Module, task: tasks.Task, names: tuple[str, ...]) -> nn.Module:
    """Return a network that returns its outputs in the task's order; its modules keep their paths.

    One output needs no order, whatever holds it.
    """
    if len(names) == 1:
        return network
    plain = type(network)

    @functools.wraps(plain.forward)
    def forward(self: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = task.named(plain.forward(self, *inputs))
        return tuple(outputs[name] for name in names)

    ordered = copy.copy(network)
    ordered.__class__ = type(plain.__name__, (plain,), {"forward": forward})
    return ordered


def _stage(
    source: Source, format_name: str, precision_name: str, alter: Alter | None
) -> Callable[[Any], Any]:
    """Return the precision's rewriting of what a format traced."""
    rewrite = precisions.get(precision_name).rewrite

    def stage(graph: Any) -> Any:
        if alter is not None:
            graph = alter(graph)
        if rewrite is not None:
            graph = rewrite(graph, format_name=format_name, calibration=source.calibration)
        return graph

    return stage


def _weights(spec: ModelSpec) -> str:
    if spec.weights is not None:
        return spec.weights.sha256
    return "its own" if spec.seed is None else f"seed {spec.seed}"


def save_manifest(artifact: Artifact, path: Path) -> None:
    """Write the manifest beside the artifact at `path`."""
    codec.save(artifact, manifest_path(path))


def readers() -> dict[str, str]:
    """Return the formats that files without a manifest are read as, by their endings."""
    formats = [(name, get(name)) for name in names()]
    return {
        ending: name
        for name, exporter in formats
        if hasattr(exporter, "read_file")
        for ending in getattr(exporter, "READS", (exporter.SUFFIX,))
    }


def read_file(path: Path, said: FileInputs | None = None) -> Artifact:
    """Read what a file says of itself, whoever made it; a manifest is not looked for.

    Args:
        path: of a format that is read by its ending.
        said: what is said of its inputs.

    Raises:
        UsageError: it is not there, is not what its ending says, or is damaged; or a free dimension
            of an input has no size.
    """
    if not path.exists():
        raise UsageError(f"There is no file {path}.", "Check the path, or export the model first.")
    by_ending = readers()
    ending = path.suffix.lower()
    if ending not in by_ending:
        raise UsageError(
            f"{path} is of no kind that is read ({', '.join(by_ending)}).",
            "Give a file with one of these endings, or one that 'mvdeploy export' wrote.",
        )
    format_name = by_ending[ending]
    facts: FileFacts = get(format_name).read_file(path)
    _reading.demand_tensors(facts, path)
    fed = _reading.fed(facts.inputs, said or FileInputs(), path)
    counted = facts.count(fed) if facts.count is not None else None
    size = _reading.image_size(fed)
    return Artifact(
        path=path.name,
        sha256=files.sha256(path, facts.data),
        size_bytes=sum(map(files.size, (path, *facts.data))),
        format=format_name,
        precision=facts.precision,
        spec=ModelSpec(
            model="",
            patches=(),
            image_size=size,
            task="tensors",
            batch=_reading.batch(fed),
            seed=None,
            own_inputs=tuple(map(_reading.as_network, fed)),
            own_outputs=facts.outputs,
        ),
        passes=(),
        inputs=tuple(
            dataclasses.replace(tensor, layout=now.layout)
            for tensor, now in zip(facts.inputs, fed, strict=True)
        ),
        outputs=facts.outputs,
        preprocessing=Preprocessing(size, size),
        versions=dict(facts.versions),
        operators=facts.operators,
        modules=dict(facts.modules),
        parameters=facts.parameters,
        macs=counted.macs if counted else None,
        runs_on=facts.runs_on,
        delegation=facts.delegation,
        read_from=facts.read_from,
        data=tuple(file.relative_to(path.parent).as_posix() for file in facts.data),
        uncounted=counted.uncounted if counted else (),
    )


def data_files(path: Path, artifact: Artifact) -> tuple[Path, ...]:
    """Return the files beside a file that hold a part of it."""
    return tuple(path.parent / name for name in artifact.data)


def read(path: Path) -> Artifact:
    """Read the manifest of an artifact and check that it belongs to the file.

    Raises:
        UsageError: the artifact or its manifest is missing, or the file has another sha256.
    """
    if not path.exists():
        raise UsageError(f"There is no file {path}.", "Check the path, or export the model first.")
    if not has_manifest(path):
        raise UsageError(
            f"{path} has no manifest ({manifest_path(path).name}), so the network that it came "
            "from is not known.",
            "Say what to compare with: 'mvdeploy verify FILE --against OTHER'.",
        )
    artifact = manifest(path)
    if not belongs(artifact, path):
        raise UsageError(
            f"{path} is not the file that {manifest_path(path).name} describes (its sha256 "
            "differs).",
            "Export the model again.",
        )
    return artifact


def has_manifest(path: Path) -> bool:
    """Say whether a manifest lies beside a file: ours, not something of another tool."""
    try:
        text = manifest_path(path).read_bytes()
    except OSError:
        return False  # none, or a folder
    return re.search(rb'"record"\s*:\s*"Artifact"', text) is not None


def manifest(path: Path) -> Artifact:
    """Read the manifest beside a file, whether it describes the file or another.

    Raises:
        UsageError: it cannot be read.
    """
    return codec.load(Artifact, manifest_path(path))


def belongs(artifact: Artifact, path: Path) -> bool:
    """Say whether a manifest describes a file."""
    data = data_files(path, artifact)
    there = all(file.is_file() for file in data)
    return there and files.sha256(path, data) == artifact.sha256


def with_inputs(artifact: Artifact, said: FileInputs, path: Path) -> Artifact:
    """Return a manifest whose free dimensions have the sizes that are asked for.

    Raises:
        UsageError: see `read_file`.
    """
    spec = artifact.spec
    fed = _reading.fed(artifact.inputs, said, path)
    own = tuple(map(_reading.as_network, fed)) if spec.own_inputs else ()
    image_size = _reading.image_size(fed)
    changed = dataclasses.replace(
        spec, own_inputs=own, batch=_reading.batch(fed), image_size=image_size
    )
    if changed == spec:
        return artifact
    rule = artifact.preprocessing
    if rule.crop != image_size:
        rule = dataclasses.replace(rule, resize=image_size, crop=image_size)
    return dataclasses.replace(artifact, spec=changed, preprocessing=rule, macs=None)


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "mvdeploy": mvdeploy.__version__,
        "python": platform.python_version(),
        **versions,
    }
