"""Core ML (``.mlpackage``): an ML program, made by coremltools from torch.export on any machine.

A package is a folder. It runs on Apple devices only; elsewhere it is verified by an interpreter.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvdeploy import formats, plugins, precisions
from mvdeploy.errors import MvdeployError, UsageError
from mvdeploy.files import writing
from mvdeploy.formats import Subject, Written, option
from mvdeploy.formats._failures import failed
from mvdeploy.formats._reading import FileFacts
from mvdeploy.formats.coreml import labels as names
from mvdeploy.quantization import Target
from mvdeploy.quiet import quiet
from mvdeploy.records import Artifact
from mvdeploy.verify.coremltools_alone import import_coremltools

SUFFIX = ".mlpackage"
PACKAGES = ("torch", "coremltools")
PRECISIONS = ("fp16", "fp32")
VERIFIER = "mil"
MUTANTS = "mvdeploy.verify.mutations.coreml"

TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")
"""Systems that a program can be made for; before iOS15 there are no ML programs."""

TARGET = "iOS17"
"""What a program is made for when nothing is asked for: the oldest whose phones can be measured."""

_FUSED = ("silu", "gelu", "sigmoid", "tanh", "elu", "leaky_relu", "hardswish", "hardsigmoid")
"""Activations that coremltools' quantizer takes together with the operator before."""

_TARGETS = {
    # As coremltools' own tools write them for the Neural Engine: without zero points, and an
    # activation together with the operator before it.
    "int8-fast": Target(
        others=("add",), fused=_FUSED, symmetric=True, float_outputs=True, half=True
    ),
}
"""What is computed in whole numbers; in other precisions these are in weights alone."""

_OLDEST_WHOLE = "iOS17"
"""The first that has operators for it."""

_LACKING = r"Unsupported fx node \w+, kind ([\w.:]+)"

_FORMULATION, _OLD = "channels_first", "plain"
_OLDEST = "iOS15"
"""It lacks an operator of the channels-first formulation, pixel_unshuffle."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen about a Core ML program.

    Attributes:
        deployment_target: oldest system that it is made for, such as ``iOS17``; None for `TARGET`.
        image_input: it takes images, as an app has them, instead of a tensor.
        labels: names of the classes, for a program that returns them.
        author: of the network, to be stored in the file.
        license: of the network, to be stored in the file.
    """

    deployment_target: str | None = option(
        None,
        "--deployment-target",
        "Oldest system that the program runs on, from iOS15. [default: iOS17]",
        metavar="iOSNN",
    )
    image_input: bool = option(
        False,
        "--image-input",
        "Make a program that takes images, ready for an app, and beside it the same with a tensor "
        "as its input, for measuring.",
    )
    labels: tuple[str, ...] = option(
        (),
        "--labels",
        "Names of the classes, one on each line, for a program that returns them; or the "
        "config.json of a folder of transformers or timm that has them.",
        metavar="FILE",
        read=names.read,
    )
    author: str = option("", "--author", "Stored in the program.", metavar="TEXT")
    license: str = option("", "--license", "Stored in the program.", metavar="TEXT")


def marks(options: formats.Options) -> tuple[str, ...]:
    """Return the precision for the file's name, and whether it takes images."""
    image = ("image",) if options.own.image_input else ()
    return (str(options.precision), *image, *formats.kept(options))


def twin(options: formats.Options) -> Options | None:
    """Return the options of the program with a tensor as its input, for one that takes images."""
    own: Options = options.own
    return dataclasses.replace(own, image_input=False, labels=()) if own.image_input else None


def annotate(artifact: Artifact, path: Path) -> Artifact:
    """Add to a manifest what may keep operators off the Neural Engine."""
    from mvdeploy.verify import mil, neural_engine_lint

    risks = neural_engine_lint.lint(mil.operations(path), artifact)
    return dataclasses.replace(artifact, placement=risks)


def check(options: formats.Options) -> None:
    """Refuse a system without ML programs or what formulation and precision need; labels alone.

    Raises:
        UsageError: see above.
    """
    own = options.own
    target = own.deployment_target
    if target is not None and target not in TARGETS:
        if target.startswith("iOS") and target[3:].isdigit() and int(target[3:]) < 15:
            raise UsageError(
                f"{target} has no ML programs, and coremltools would silently write the older "
                "neural-network format.",
                f"Give --deployment-target {TARGETS[0]} or newer.",
            )
        raise plugins.unknown("deployment target", target, TARGETS)
    if target == _OLDEST and options.formulation == _FORMULATION:
        raise UsageError(
            f"{target} cannot run the {_FORMULATION} formulation: it lacks an operator of it.",
            "Leave --formulation out, or give --deployment-target iOS16 or newer.",
        )
    precision = precisions.get(options.precision or PRECISIONS[0])
    if target == _OLDEST and precision.compresses:
        raise UsageError(
            f"{target} cannot read weights in {precision.name}, and coremltools would silently "
            "write a program for iOS16.",
            "Give --deployment-target iOS16 or newer, or --precision fp16.",
        )
    whole = quantised(options) is not None
    if target is not None and whole and TARGETS.index(target) < TARGETS.index(_OLDEST_WHOLE):
        raise UsageError(
            f"{target} has no programs in {precision.name}: whole numbers between operators came "
            f"with {_OLDEST_WHOLE}.",
            f"Give --deployment-target {_OLDEST_WHOLE} or newer, or --precision int8.",
        )
    if own.labels and not own.image_input:
        raise UsageError(
            "Labels are for a program that takes images and returns their class.",
            "Add --image-input, or leave --labels out.",
        )


def quantised(options: formats.Options) -> Target | None:
    """Return what is computed in whole numbers; None where these are in weights alone."""
    return _TARGETS.get(str(options.precision))


def emulate(subject: Subject, options: formats.Options) -> None:
    """Have the program in whole numbers kept for the comparison with PyTorch.

    Raises:
        EngineError: torch.export failed.
    """
    with _engine_errors(subject):
        from mvdeploy.formats.coreml import conversion

        conversion.whole(subject)


def formulation(options: formats.Options) -> str:
    """Return how the network is written: for the Neural Engine, as far as the system has it."""
    return _OLD if options.own.deployment_target == _OLDEST else _FORMULATION


_NOT_WRITTEN = "[MIL FileWriter]"
"""How coremltools begins when the disk refuses the weights."""


def write(subject: Subject, path: Path, options: formats.Options) -> Written:
    """Write a ``.mlpackage`` folder.

    Raises:
        UsageError: see `check`; or the labels are not as many as the network's classes.
        EngineError: torch.export or coremltools failed, or an operator cannot be placed.
    """
    check(options)
    own: Options = options.own
    if own.labels:
        names.check(own.labels, subject.outputs)
    with _engine_errors(subject):
        from mvdeploy.formats.coreml import conversion, package

        precision = precisions.get(options.precision or PRECISIONS[0])
        converted = conversion.convert(
            subject,
            target=own.deployment_target or TARGET,
            precision="fp32" if precision.name == "fp32" else "fp16",
            image=subject.preprocessing if own.image_input else None,
            labels=own.labels,
        )
        model = converted.model
        if subject.quantiser is None and precision.compresses:
            from mvdeploy.formats.coreml import compression

            model = compression.compressed(model, precision)
        package.describe(model, subject.facts, own.author, own.license)
        package.save(model, path)
    return Written(converted.operators, inputs=converted.inputs, outputs=converted.outputs)


@contextmanager
def _engine_errors(subject: Subject) -> Iterator[None]:
    """Turn whatever torch and coremltools raise into an `EngineError`."""
    try:
        with quiet(errors=True):
            import_coremltools()
            yield
    except MvdeployError:
        raise
    except Exception as error:
        if _NOT_WRITTEN in str(error):  # it does not say which file, but it is a temporary one
            refusal = OSError(None, "coremltools could not write", tempfile.gettempdir())
            raise writing.refused(refusal, remedy=writing.TEMPORARY) from error
        raise failed("coremltools", error, subject, _LACKING) from error


def read_file(path: Path) -> FileFacts:
    """Read a file that others exported."""
    from mvdeploy.formats.coreml import reading

    return reading.read(path)


def held_weights(path: Path) -> frozenset[str]:
    """Return the sha256 of every constant tensor that a package holds."""
    from mvdeploy.formats.coreml import reading

    return reading.held_weights(path)
