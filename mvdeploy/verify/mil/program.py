"""Reading a saved Core ML package, without Apple's native module.

coremltools reads the package (its model specification, its weight file) and builds its own form of
the program. What it prints meanwhile is about the missing native module, and is kept back.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mvdeploy.errors import EngineError, MvdeployError, UsageError
from mvdeploy.files import reading
from mvdeploy.quiet import quiet
from mvdeploy.verify.coremltools_alone import import_coremltools
from mvdeploy.verify.mil import constants, operators

_EXPORT_AGAIN = "Export the model again; the package is damaged or incomplete."

_COLOURS = {10: "gray", 20: "rgb", 30: "bgr", 40: "gray"}
"""Orders of channels by the numbers of Core ML's ``ImageFeatureType.ColorSpace``."""


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor of a program.

    Attributes:
        name: its MIL name.
        shape: its dimensions; None for one that is not fixed.
        dtype: element type as MIL writes it: "fp16", "fp32", "int32", "bool", …; for what is no
            tensor its type ("str", "dict[…]").
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operator of a program.

    Attributes:
        type: its MIL type, such as "conv".
        outputs: what it computes; the name of the first one stands for the operator.
        inputs: what it takes from other operators or from outside, in the order of its parameters.
        weights: arrays of constants that it takes (decompressed), by parameter.
        attributes: its other constants, by parameter: numbers, flags, strings and lists of them.
    """

    type: str
    outputs: tuple[Value, ...]
    inputs: tuple[Value, ...]
    weights: Mapping[str, Value]
    attributes: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the first output."""
        return self.outputs[0].name


@dataclasses.dataclass(frozen=True)
class Program:
    """A package that was read.

    Attributes:
        path: the package.
        inputs: what it takes.
        images: order of the channels ("rgb", "bgr" or "gray") of those inputs that are images.
        outputs: MIL names of what it gives.
        operators: its operators as coremltools builds them, without constants, in order.
        constants: values of its constants by name: arrays, scalars, strings and lists.
    """

    path: Path
    inputs: tuple[Value, ...]
    images: Mapping[str, str]
    outputs: tuple[str, ...]
    operators: tuple[Any, ...]
    constants: Mapping[str, Any]

    def operations(self) -> tuple[Operation, ...]:
        """Return the operators, without constants, in the order in which they run."""
        return tuple(_described(operator, self.constants) for operator in self.operators)


def load(path: Path) -> Program:
    """Read a package.

    Args:
        path: an ``.mlpackage`` with an ML program.

    Raises:
        UsageError: there is no such package, or it is none with an ML program.
        EngineError: it is damaged, or has operators that cannot be executed here.
    """
    if not path.exists():
        raise UsageError(f"{path} is not there.", "Check the path.")
    if not path.is_dir():
        raise UsageError(
            f"{path} is no Core ML package.",
            "Give an .mlpackage folder; 'mvdeploy export --format coreml' makes one.",
        )
    try:
        with quiet(errors=True):
            return _load(path, _state(path))
    except (MvdeployError, MemoryError):
        raise
    except Exception as error:  # coremltools, its C++ parts and protobuf raise all kinds
        cause = (str(error) or type(error).__name__).splitlines()[0][:300].rstrip(".")
        raise EngineError(f"{path} cannot be read ({cause}).", _EXPORT_AGAIN) from error


def _state(path: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Return what is other where a package is another one: files, sizes and when they changed.

    coremltools writes the list of its parts, Manifest.json, whenever it reads a package.
    """
    found = ((str(part), part.lstat()) for part in sorted(path.rglob("*")))
    return tuple(
        (name, stat.st_ino, stat.st_size, 0 if name.endswith("Manifest.json") else stat.st_mtime_ns)
        for name, stat in found
    )


@functools.lru_cache(maxsize=1)  # an export is read four times
def _load(path: Path, _: object) -> Program:
    import_coremltools()
    import coremltools
    from coremltools.converters.mil.frontend.milproto import load as milproto

    for part in path.rglob("*"):
        if not part.is_dir():
            reading.demand_regular(part, reading.WEIGHTS, "part of a package")
    package = coremltools.models.MLModel(str(path), skip_model_load=True)
    spec = package.get_spec()
    if spec.WhichOneof("Type") != "mlProgram":
        raise UsageError(
            f"{path} holds no ML program (but {spec.WhichOneof('Type') or 'nothing'}).",
            "Export it for iOS15 or later; 'mvdeploy export --format coreml' does.",
        )
    name = spec.description.defaultFunctionName or "main"
    _check_operators(path, spec.mlProgram.functions)
    loaded = milproto.load(
        spec,
        specification_version=spec.specificationVersion,
        file_weights_dir=package.weights_dir or "",
    )
    function = loaded.functions[name]
    known: dict[str, Any] = {}
    running = []
    for operator in function.operations:
        if operator.op_type not in constants.TYPES:
            running.append(operator)
            continue
        _tell_apart(operator, known)
        values = constants.values_of(operator, known)
        known.update(zip((out.name for out in operator.outputs), values, strict=True))
    return Program(
        path,
        tuple(_value(variable) for variable in function.inputs.values()),
        _images(spec.description, name),
        tuple(variable.name for variable in function.outputs),
        tuple(running),
        known,
    )


def _tell_apart(operator: Any, known: Mapping[str, Any]) -> None:
    """Rename constants that have the name of another one.

    A value that a file writes into an operator, such as the labels of a classifier, is a constant
    for coremltools, which names it ``const_1``, whether or not the file has one of that name.
    """
    for variable in operator.outputs:
        name, number = variable.name, 1
        while variable.name in known:
            variable.name = f"{name}_again_{number}"
            number += 1


def _images(description: Any, function: str) -> dict[str, str]:
    for described in description.functions:  # of a package with several functions
        if described.name == function:
            description = described
    return {
        feature.name: _COLOURS[feature.type.imageType.colorSpace]
        for feature in description.input
        if feature.type.WhichOneof("Type") == "imageType"
    }


def _check_operators(path: Path, functions: Mapping[str, Any]) -> None:
    known = constants.TYPES | operators.table().keys()
    unknown: dict[str, str] = {}
    for function in functions.values():
        for block in function.block_specializations.values():
            for operator in block.operations:
                if operator.type not in known:
                    output = operator.outputs[0].name if operator.outputs else "no output"
                    unknown.setdefault(operator.type, output)
    if unknown:
        described = ", ".join(f"{name} ('{output}')" for name, output in sorted(unknown.items()))
        raise EngineError(
            f"{path} has operators that mvdeploy cannot execute: {described}.",
            "Check this package on a Mac, or report the operators and the model they come from.",
        )


def _value(variable: Any) -> Value:
    from coremltools.converters.mil.mil import types

    kind = variable.sym_type
    if not types.is_tensor(kind):
        return Value(variable.name, (), types.builtin_to_string(kind))
    shape = tuple(int(n) if isinstance(n, int) else None for n in kind.get_shape())
    return Value(variable.name, shape, types.builtin_to_string(kind.get_primitive()))


def variables(operator: Any) -> Iterator[tuple[str, Any]]:
    """Return an operator's parameters with their variables: one, or several in a list."""
    for name, given in operator.inputs.items():
        if given is not None:
            yield name, list(given) if isinstance(given, tuple | list) else given


def _described(operator: Any, known: Mapping[str, Any]) -> Operation:
    import numpy as np

    inputs: list[Value] = []
    weights: dict[str, Value] = {}
    attributes: dict[str, Any] = {}
    for parameter, given in variables(operator):
        for variable in given if isinstance(given, list) else [given]:
            if variable.name not in known:
                inputs.append(_value(variable))
                continue
            constant = known[variable.name]
            if np.ndim(constant) > 0 and np.asarray(constant).dtype.kind == "f":
                weights[parameter] = _value(variable)
            else:
                attributes[parameter] = _plain(constant)
    return Operation(
        operator.op_type,
        tuple(_value(out) for out in operator.outputs),
        tuple(inputs),
        weights,
        attributes,
    )


def _plain(constant: Any) -> Any:
    return constant.tolist() if hasattr(constant, "tolist") else constant
