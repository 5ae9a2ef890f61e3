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
    It calls ``subject.alter.traced`` on what it traced, and ``subject.rewrite`` on what it is about
    to lower or save.

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
``quantised(options)``
    the `Target` of `mvdeploy.quantization`: what is computed in whole numbers, for a format that
    has precisions with a scheme; it calls ``subject.quantise`` before it lowers or saves. None for
    programs that have whole numbers in their weights alone.
``emulate(subject, options)``
    has ``subject.quantiser.emulate`` keep the program in whole numbers, as ``write`` does too.
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
    `Probe`; ``choose(operators)`` names them. For a format whose inner tensors no engine shows.
``held_weights(path)``
    the sha256 of every constant tensor that a file holds, for a format in which the network's
    weights are found again; needed with ``probe``.
``FOLDS``
    true when what a program returns besides changes the constants that it holds, as for converters
    that fold them into one another: weights are compared with those of the same file made again,
    not with a probe's.
``holds(options)``
    whether they are looked for in files that are made with these options; without it in all.
``MUTANTS``
    dotted path of the module whose ``mutants`` breaks copies of its files, see
    ``mvdeploy.verify.mutations``. A format without it is made anew from broken programs.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import mvdeploy
from mvdeploy import files, precisions
from mvdeploy.files import writing
from mvdeploy.formats import _held_weights
from mvdeploy.formats._choices import (
    DEFAULTS,
    DYNAMIC,
    Declared,
    Options,
    check,
    check_options,
    complete,
    declared,
    formulation,
    get,
    kept,
    marks,
    names,
    option,
    options,
    options_of,
    precision,
    precisions_of,
    target,
    twin,
)
from mvdeploy.formats._manifests import (
    belongs,
    data_files,
    has_manifest,
    manifest,
    manifest_path,
    read,
    save_manifest,
)
from mvdeploy.formats._reading import FileFacts, read_file, readers, with_inputs
from mvdeploy.formats._serving import placed
from mvdeploy.formats._subjects import Source, Subject, subject_of
from mvdeploy.records import (
    Artifact,
    Category,
    Delegation,
    ModuleInfo,
    Operator,
    TensorInfo,
)
from mvdeploy.verify import mutations, verifiers
from mvdeploy.verify.mutations import Alter
from mvdeploy.verify.probes import Choose, Probe, Probing

if TYPE_CHECKING:
    from mvdeploy.quantization.emulation import Emulation

__all__ = [
    "DEFAULTS",
    "DYNAMIC",
    "REQUIRED",
    "Alter",
    "Declared",
    "FileFacts",
    "Options",
    "Source",
    "Subject",
    "Written",
    "belongs",
    "categories",
    "check",
    "check_options",
    "complete",
    "data_files",
    "declared",
    "emulation",
    "formulation",
    "get",
    "has_manifest",
    "kept",
    "manifest",
    "manifest_path",
    "marks",
    "mutants",
    "names",
    "option",
    "options",
    "options_of",
    "placed",
    "precision",
    "precisions_of",
    "probing",
    "read",
    "read_file",
    "readers",
    "save_manifest",
    "suffix",
    "target",
    "twin",
    "verifier",
    "with_inputs",
    "write",
]

REQUIRED = ("SUFFIX", "PACKAGES", "PRECISIONS", "write")
"""What every format's file has."""


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


def verifier(format_name: str, precision_name: str | None = None) -> str:
    """Return what a format's files are run by for the comparison with PyTorch.

    Args:
        format_name: of the format.
        precision_name: of the files; None for one that they say themselves.

    Raises:
        UsageError: there is no such format or precision, or nothing here runs it.
    """
    declared = getattr(get(format_name), "VERIFIER", None)
    return verifiers.choose(format_name, declared, precision_name)


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


def probing(
    source: Source,
    path: Path,
    format_name: str,
    options: Options,
    *,
    always: bool = False,
    alter: Alter | None = None,
    emulation: Emulation | None = None,
) -> Probing | None:
    """Return how to look into a file: at its weights, and inside where no engine shows that.

    Args:
        source: what the file was made of.
        path: the file.
        format_name: its format.
        options: that it was made with.
        always: see `Probing`.
        alter: see `write`.
        emulation: of its program; None where nothing in it is a whole number.

    Returns:
        None for a format whose tensors are read, and whose weights are not told.
    """
    exporter = get(format_name)
    options = complete(format_name, options)
    if not hasattr(exporter, "held_weights"):
        return None
    if hasattr(exporter, "holds") and not exporter.holds(options):
        return None
    held = exporter.held_weights(path)

    def differing(other: Path) -> tuple[str, ...]:
        others = exporter.held_weights(other)
        return _held_weights.differing(source.network, held, others, stored, whole)

    @contextmanager
    def probe(choose: Choose) -> Iterator[Probe]:
        with writing.temporary() as folder:
            place = folder / path.name
            subject = subject_of(source, format_name, options, alter)
            made: Probe = exporter.probe(subject, place, options, choose)
            folds = getattr(exporter, "FOLDS", False)
            yield dataclasses.replace(made, differing=again() if folds else differing(place))

    def again() -> tuple[str, ...]:
        with writing.temporary() as folder:
            place = folder / path.name
            write(source, format_name, place, options, alter=alter)
            return differing(place)

    own = precisions.get(precision(format_name, options)).stored
    stored = own if emulation is None else emulation.stored
    whole = emulation.constants() if emulation is not None else {}
    unknown = _held_weights.missing(source.network, held, stored, whole)
    return Probing(probe if hasattr(exporter, "probe") else None, again, unknown, always)


def emulation(source: Source, format_name: str, options: Options) -> Emulation | None:
    """Return what PyTorch runs of a program in whole numbers; None where there are none.

    Args:
        source: with the scales that the program has.
        format_name: of the format.
        options: that it was made with.
    """
    options = complete(format_name, options)
    written = source.emulations.pop((format_name, options), None)
    if written is not None:
        return written
    subject = subject_of(source, format_name, options)
    if subject.quantiser is None:
        return None
    get(format_name).emulate(subject, options)
    return subject.quantiser.emulation


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
        alter: changes what the format traced, and what is quantised of it.

    Raises:
        UsageError: there is no such format, or it does not have these options.
    """
    options = options or DEFAULTS
    check_options(format_name, options)
    options = complete(format_name, options)
    exporter = get(format_name)
    subject = subject_of(source, format_name, options, alter)
    written: Written = exporter.write(subject, path, options)
    quantiser = subject.quantiser
    if alter is None and quantiser is not None and quantiser.emulation is not None:
        source.emulations[format_name, options] = quantiser.emulation
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
        operators=placed(written.operators, source.modules),
        modules=source.modules,
        parameters=source.parameters,
        macs=source.macs,
        backend=written.backend,
        runs_on=written.runs_on,
        delegation=written.delegation,
        categories=categories(source.modules),
        quantized=quantiser.quantized if quantiser is not None else None,
    )
    if hasattr(exporter, "annotate"):
        artifact = exporter.annotate(artifact, path)
    save_manifest(artifact, path)
    return artifact


def categories(modules: Mapping[str, ModuleInfo]) -> dict[str, str]:
    """Return the categories of modules with their titles, in the order of reports."""
    present = [info.category for info in modules.values() if info.category is not None]
    return {str(category): category.heading for category in Category.ordered(present)}


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "mvdeploy": mvdeploy.__version__,
        "python": platform.python_version(),
        **versions,
    }
