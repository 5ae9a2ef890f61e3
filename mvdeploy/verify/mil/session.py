"""Running a program."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mvdeploy.errors import EngineError, MvdeployError
from mvdeploy.verify.mil import operators
from mvdeploy.verify.mil import program as programs

if TYPE_CHECKING:
    from mvdeploy.engines import Tensor
    from mvdeploy.verify.mil.program import Program, Value

_TYPES = {
    "bool": torch.bool,
    "fp16": torch.float16,
    "fp32": torch.float32,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint8": torch.uint8,
    "uint16": torch.uint16,
}
_NUMPY = {"fp16": "float16", "fp32": "float32"}


@dataclasses.dataclass(frozen=True)
class _Reference:
    """Stands for the tensor of that name in the arguments of a step."""

    name: str


@dataclasses.dataclass(frozen=True)
class _Step:
    """One operator, ready to run.

    Attributes:
        run: the function that computes it.
        arguments: by parameter: constants, references, or lists of both.
        drop: tensors that no later step takes.
    """

    type: str
    run: operators.Function
    arguments: dict[str, Any]
    outputs: tuple[Value, ...]
    drop: tuple[str, ...]


class MilSession:
    """A program with its inputs in place.

    Attributes:
        infer: runs one inference.
        class_labels: of a classifier, in the order of its probabilities; empty for others.
    """

    infer: Callable[[], object]

    def __init__(
        self, program: Program, inputs: Mapping[str, Tensor], keep: Collection[str] = ()
    ) -> None:
        """Prepare a program.

        Args:
            program: what to run.
            inputs: by name; see `feed`.
            keep: MIL names of tensors that `tensors` is to return beside the outputs.
        """
        self._path = program.path
        self._expected = {value.name: value for value in program.inputs}
        self._images = program.images
        self._output_names = program.outputs
        self._steps = _steps(program, {*program.outputs, *keep})
        self._kept: dict[str, Any] = {}
        self.class_labels: tuple[str | int, ...] = next(
            (tuple(s.arguments["classes"]) for s in self._steps if s.type == "classify"), ()
        )
        self.feed(inputs)
        self.infer = self._infer

    def feed(self, inputs: Mapping[str, Tensor]) -> None:
        """Replace the input tensors.

        An image is fed as uint8, H×W×3 in the order red, green, blue whatever order the program
        takes, or H×W where it takes grey. Where the program takes halves, float32 does too and is
        rounded, as by coremltools' ``predict``.

        Raises:
            EngineError: names, shapes or element types are not the program's.
        """
        if inputs.keys() != self._expected.keys():
            names = ", ".join(inputs) or "none"
            raise _unfit(f"The program takes the inputs {', '.join(self._expected)}, not {names}.")
        self._inputs = {
            name: self._image(value, inputs[name])
            if name in self._images
            else _checked(value, inputs[name])
            for name, value in self._expected.items()
        }

    def _image(self, value: Value, image: Tensor) -> torch.Tensor:
        colours = self._images[value.name]
        size = value.shape[-2:]
        expected = size if colours == "gray" else (*size, 3)
        if image.dtype != np.uint8 or image.shape != expected:
            raise _unfit(
                f"The image '{value.name}' is {image.dtype} {image.shape}, and the program takes "
                f"uint8 {expected}."
            )
        planes = image[None] if colours == "gray" else image.transpose(2, 0, 1)
        ordered = planes[::-1] if colours == "bgr" else planes
        return torch.from_numpy(ordered[None].copy()).to(_TYPES[value.dtype])

    def _infer(self) -> None:
        values: dict[str, Any] = dict(self._inputs)
        with torch.inference_mode():
            for step in self._steps:
                try:
                    values.update(_executed(step, values))
                except (MvdeployError, MemoryError):
                    raise
                except Exception as error:  # whatever PyTorch says of arguments it cannot take
                    raise self._failed(step, error) from error
                for name in step.drop:
                    del values[name]
        self._kept = values

    def _failed(self, step: _Step, error: Exception) -> EngineError:
        cause = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        return EngineError(
            f"{self._path}: the operator {step.type} '{step.outputs[0].name}' cannot be executed "
            f"({cause}).",
            "Export the model again; if it stays so, report the operator and the model.",
        )

    def outputs(self) -> dict[str, Tensor]:
        """Return the outputs of the last inference, by name.

        Of a classifier these are its label, as an array of rank 0, and its probabilities, as a
        vector in the order of `class_labels`.
        """
        return self.tensors(self._output_names)

    def tensors(self, names: Collection[str]) -> dict[str, Tensor]:
        """Return those tensors of the last inference that are outputs or were to be kept."""
        values = {name: self._kept[name] for name in names if name in self._kept}
        return {
            name: value.numpy().copy() if isinstance(value, torch.Tensor) else np.asarray(value)
            for name, value in values.items()
        }

    def end_profile(self) -> Path | None:
        """Return None: the interpreter takes no times."""
        return None


def _checked(value: Value, tensor: Tensor) -> torch.Tensor:
    dtype = _NUMPY.get(value.dtype, value.dtype)
    rounded = dtype == "float16" and tensor.dtype == np.float32
    if tensor.dtype != dtype and not rounded:
        raise _unfit(f"The input '{value.name}' is {tensor.dtype}, and the program takes {dtype}.")
    if not _fits(tensor.shape, value):
        raise _unfit(
            f"The input '{value.name}' is {tensor.shape}, and the program takes {value.shape}."
        )
    return torch.from_numpy(tensor.copy()).to(_TYPES[value.dtype])


def _fits(shape: Sequence[int], value: Value) -> bool:
    return len(shape) == len(value.shape) and all(
        wanted in (None, n) for n, wanted in zip(shape, value.shape, strict=True)
    )


def _unfit(what: str) -> EngineError:
    return EngineError(what, "Give inputs as the program's manifest lists them, or export it anew.")


def _wide(value: Any) -> Any:
    is_half = isinstance(value, torch.Tensor) and value.dtype == torch.float16
    return value.float() if is_half else value


def _resolved(argument: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(argument, _Reference):
        return _wide(values[argument.name])
    if isinstance(argument, list):
        return [_resolved(item, values) for item in argument]
    return argument


def _executed(step: _Step, values: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {name: _resolved(given, values) for name, given in step.arguments.items()}
    results = step.run(**arguments)
    if not isinstance(results, tuple | list):
        results = (results,)
    computed: dict[str, Any] = {}
    for value, result in zip(step.outputs, results, strict=True):
        computed[value.name] = _stored(result, value) if value.dtype in _TYPES else result
    return computed


def _stored(result: Any, value: Value) -> Any:
    """Round a result to the type that the program declares; strings stay as they are."""
    if not isinstance(result, torch.Tensor):
        return result
    if not _fits(result.shape, value):
        raise ValueError(f"its result is {tuple(result.shape)}, and {value.shape} is declared")
    return result.to(_TYPES[value.dtype])


def _steps(program: Program, keep: set[str]) -> tuple[_Step, ...]:
    """Return the steps of a program, each with the tensors that it is the last to take."""
    table = operators.table()
    converted: dict[str, Any] = {}
    steps: list[_Step] = []
    needed = set(keep)
    for described, operator in zip(
        reversed(program.operations()), reversed(program.operators), strict=True
    ):
        names = {value.name for value in (*described.inputs, *described.outputs)}
        run = table[described.type]
        arguments = _arguments(operator, program.constants, converted)
        _check_parameters(program.path, described, run, arguments)
        steps.append(
            _Step(described.type, run, arguments, described.outputs, tuple(names - needed))
        )
        needed |= names
    return tuple(reversed(steps))


def _check_parameters(
    path: Path,
    operation: programs.Operation,
    run: operators.Function,
    arguments: Mapping[str, Any],
) -> None:
    try:
        inspect.signature(run).bind(**arguments)
    except TypeError as error:
        raise EngineError(
            f"{path}: the operator {operation.type} '{operation.name}' has parameters that "
            f"mvdeploy does not know ({error}).",
            "Check this package on a Mac, or report the operator and the model.",
        ) from error


def _arguments(
    operator: Any, known: Mapping[str, Any], converted: dict[str, Any]
) -> dict[str, Any]:
    types = operator.input_spec.input_types

    def argument(parameter: str, variable: Any) -> Any:
        if variable.name not in known:
            return _Reference(variable.name)
        constant = known[variable.name]
        is_attribute = getattr(types[parameter], "const", False) and np.ndim(constant) == 0
        if isinstance(constant, str | list) or is_attribute:
            return constant.item() if isinstance(constant, np.generic) else constant
        if variable.name not in converted:
            converted[variable.name] = _wide(torch.from_numpy(np.array(constant)))
        return converted[variable.name]

    return {
        parameter: [argument(parameter, item) for item in given]
        if isinstance(given, list)
        else argument(parameter, given)
        for parameter, given in programs.variables(operator)
    }
