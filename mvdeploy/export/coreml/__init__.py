"""Core ML (``.mlpackage``): an ML program, made by coremltools from torch.export on any machine.

A package is a folder. It runs on Apple devices only; elsewhere it is verified by an interpreter.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import plugins
from mvdeploy.errors import EngineError, MvdeployError, UsageError
from mvdeploy.export import DEFAULTS, Options, Written
from mvdeploy.export._quiet import quiet

if TYPE_CHECKING:
    from torch import Tensor, nn

SUFFIX = ".mlpackage"
PACKAGES = ("torch", "coremltools")
PRECISIONS = ("fp16", "fp32")
TAKES = ("deployment_target", "image", "labels", "author", "license")

TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")
"""Systems that a program can be made for; before iOS15 there are no ML programs."""

TARGET = "iOS17"
"""What a program is made for when nothing is asked for: the oldest whose phones can be measured."""

_FORMULATION, _OLD = "channels_first", "plain"
_OLDEST = "iOS15"
"""It lacks an operator of the channels-first formulation, pixel_unshuffle."""


def check(options: Options) -> None:
    """Refuse a system without ML programs or without what the formulation needs; and labels alone.

    Raises:
        UsageError: see above.
    """
    target = options.deployment_target
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
    if options.labels and options.image is None:
        raise UsageError(
            "Labels are for a program that takes images and returns their class.",
            "Add --image-input, or leave --labels out.",
        )


def formulation(options: Options) -> str:
    """Return how the network is written: for the Neural Engine, as far as the system has it."""
    return _OLD if options.deployment_target == _OLDEST else _FORMULATION


def write(
    network: nn.Module,
    example: Tensor,
    path: Path,
    facts: dict[str, str],
    options: Options = DEFAULTS,
) -> Written:
    """Write a ``.mlpackage`` folder.

    Raises:
        UsageError: see `check`; or the labels are not as many as the network's classes.
        EngineError: torch.export or coremltools failed, or an operator cannot be placed.
    """
    check(options)
    try:
        with quiet():
            from mvdeploy.export.coreml import conversion, package

            converted = conversion.convert(
                network,
                example,
                target=options.deployment_target or TARGET,
                precision=options.precision or PRECISIONS[0],
                image=options.image,
                labels=options.labels,
            )
            package.describe(converted.model, facts, options)
            package.save(converted.model, path)
    except MvdeployError:
        raise
    except Exception as error:
        raise EngineError(
            f"coremltools failed to convert the network ({str(error).partition(chr(10))[0]}).",
            "Run again with --debug; the network may use an operator that coremltools lacks.",
        ) from error
    return Written(converted.operators, inputs=converted.inputs, outputs=converted.outputs)
