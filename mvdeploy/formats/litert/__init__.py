"""LiteRT (``.tflite``): torch.export, then converted by litert-torch.

LiteRT runs what XNNPACK takes inside of delegates, without a call for each operator. A network that
is written for it (`formulation`) is one delegate as a whole.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import engines, formats
from mvdeploy.errors import MvdeployError, UsageError
from mvdeploy.files import writing
from mvdeploy.formats import Subject, Written
from mvdeploy.formats import _delegations as delegations
from mvdeploy.formats._failures import failed
from mvdeploy.formats._reading import FileFacts
from mvdeploy.formats._tracing import trace
from mvdeploy.quantization import Target
from mvdeploy.quiet import quiet
from mvdeploy.records import Operator, TensorInfo
from mvdeploy.verify.probes import Choose, Probe

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from mvdeploy.formats.litert.naming import Named

SUFFIX = ".tflite"
PACKAGES = ("torch", "litert-torch", "litert-converter", "ai-edge-litert")
FOLDS = True
PRECISIONS = ("fp32", "fp16", "int8-dynamic", "int8", "int8-fast")

_TARGETS = {
    "int8": Target(one_scale=True),
    "int8-dynamic": Target(by_row=True),
    "int8-fast": Target(others=("add", "mul", "cat", "silu"), one_scale=True),
}

_LACKING = r"Lowering not found: ([\w:.]+)"


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen about a LiteRT program.

    Attributes:
        full_delegation: it is an error if one delegate does not hold the whole program.
    """

    full_delegation: bool = delegations.required()


def formulation(options: formats.Options) -> str:
    """Return how the network is written: with nothing but what XNNPACK takes, and little of it."""
    return "folded"


def check(options: formats.Options) -> None:
    """Refuse to write files where nothing converts to them; nothing heavy is imported.

    Raises:
        UsageError: see above.
    """
    if all(map(importlib.util.find_spec, ("litert_torch", "litert_converter"))):
        return
    machine = platform.machine()
    if machine in ("aarch64", "arm64") and platform.system() == "Linux":
        raise UsageError(
            f"There is no converter to LiteRT for this machine ({machine}).",
            "Export on a machine with x86-64, or on a Mac, and bring the file and its manifest.",
        )
    raise _not_installed("The converter to LiteRT")


def _not_installed(what: str) -> UsageError:
    needed = engines.requirements(("litert-torch",))
    return UsageError(f"{what} is not installed.", f"Install it: pip install {needed}.")


def write(subject: Subject, path: Path, options: formats.Options) -> Written:
    """Write a ``.tflite`` file.

    Raises:
        CheckFailed: full delegation is required, but not reached.
        EngineError: torch.export or the converter failed, or an operator cannot be placed.
    """
    with _engine_errors(subject):
        from mvdeploy.formats.litert import delegation

        named = _file(subject, _program(subject), subject.outputs)
        operators, delegates = delegation.found(named.data, named.operators)
    if options.own.full_delegation:
        delegations.demand(delegates)
    writing.fill(path, named.data)
    return Written(operators=operators, backend="xnnpack", delegation=delegates)


def read_file(path: Path) -> FileFacts:
    """Read a file that others exported."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise _not_installed("What reads LiteRT programs")
    from mvdeploy.formats.litert import reading

    return reading.read(path)


def probe(subject: Subject, path: Path, options: formats.Options, choose: Choose) -> Probe:
    """Write the same program with tensors from inside as further outputs.

    Raises:
        EngineError: torch.export or the converter failed.
    """
    with _engine_errors(subject):
        from mvdeploy.formats.executorch import probing

        program = _program(subject)
        operators = probing.operators(program)
        moving = _moving(operators, program.graph_signature.user_inputs)
        names = probing.return_also(program, choose(moving))
        given = program.graph.output_node().args[0]
        outputs = [
            TensorInfo(name, tuple(node.meta["val"].shape), "float32")
            for name, node in zip(names, given, strict=True)
        ]
        writing.fill(path, _file(subject, program, outputs).data)
    return Probe(path, operators, names)


def _moving(operators: Sequence[Operator], inputs: Iterable[str]) -> tuple[Operator, ...]:
    """Leave out what is computed of constants alone, such as a class token in whole numbers.

    XNNPACK unpacks such tensors when it compiles, and writes nothing where they are returned.
    """
    known, found = set(inputs), []
    for operator in operators:
        if known.intersection(operator.inputs):
            known.update(operator.outputs)
            found.append(operator)
    return tuple(found)


def held_weights(path: Path) -> frozenset[str]:
    """Return the sha256 of every constant tensor that a program holds.

    Raises:
        UsageError: it is damaged.
    """
    from mvdeploy.formats.litert import reading, schema

    try:
        return schema.held(path.read_bytes())
    except Exception as error:  # see `reading.read`
        raise reading.damaged(path) from error


def quantised(options: formats.Options) -> Target:
    """Return what is computed in whole numbers."""
    return _TARGETS[str(options.precision)]


def emulate(subject: Subject, options: formats.Options) -> None:
    """Have the program in whole numbers kept for the comparison with PyTorch."""
    with _engine_errors(subject):
        _program(subject)


def _program(subject: Subject) -> ExportedProgram:
    """Return what is converted."""
    # Without operators that change what they are given.
    traced: ExportedProgram = trace(subject)
    if subject.quantiser is None:
        return traced
    program = subject.quantise(traced)
    # What is returned is changed for a probe.
    subject.quantiser.emulate(traced, copy.deepcopy(program))
    return program


def _file(subject: Subject, program: ExportedProgram, outputs: Sequence[TensorInfo]) -> Named:
    """Return the file of a program that has some outputs."""
    from mvdeploy.formats.litert import conversion, naming, whole_numbers

    weights = whole_numbers.found_weights(program)
    converted = conversion.convert(program, subject.inputs, outputs)
    return naming.named(converted, subject, outputs, weights)


@contextmanager
def _engine_errors(subject: Subject) -> Iterator[None]:
    """Turn whatever torch and litert-torch raise into an `EngineError`."""
    try:
        with quiet(errors=True):
            yield
    except MvdeployError:
        raise
    except Exception as error:
        raise failed("LiteRT", error, subject, _LACKING) from error
