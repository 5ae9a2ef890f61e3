"""ExecuTorch (``.pte``): torch.export, then lowered to a backend that takes the operators it can.

What a backend takes runs inside one delegate, without a call for each operator and without a copy
between them. A network written for it (`formulation`) fits into one delegate as a whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from mvdeploy import formats, plugins, precisions
from mvdeploy.errors import MvdeployError, UsageError
from mvdeploy.files import writing
from mvdeploy.formats import Subject, Written, option
from mvdeploy.formats import _delegations as delegations
from mvdeploy.formats._failures import failed
from mvdeploy.formats._reading import FileFacts
from mvdeploy.formats._tracing import trace
from mvdeploy.formats.executorch import saving
from mvdeploy.quantization import Target
from mvdeploy.quiet import quiet
from mvdeploy.records import Artifact
from mvdeploy.verify.probes import Choose, Probe

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from mvdeploy.formats.executorch.lowering import Lowered

SUFFIX = ".pte"
PACKAGES = ("torch", "executorch")
PRECISIONS = ("fp32",)
_BACKENDS = "mvdeploy.formats.executorch.backends"
BACKEND = "xnnpack"
"""What a program is lowered to when nothing is asked for."""

_LACKING = r"Missing out variants: \{'([\w:]+)'"


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen about an ExecuTorch program.

    Attributes:
        backend: what it is lowered to; None for `BACKEND`.
        full_delegation: it is an error if one delegate does not hold the whole program.
    """

    backend: str | None = option(
        None,
        "--backend",
        "What the program is lowered to: xnnpack, coreml, vulkan or portable. [default: xnnpack]",
        metavar="NAME",
    )
    full_delegation: bool = delegations.required()


def options_of(artifact: Artifact) -> Options:
    """Return the options that make a file like one that there is."""
    return Options(backend=artifact.backend or None)


def marks(options: formats.Options) -> tuple[str, ...]:
    """Return the backend for the file's name, if one was asked for, and the precision."""
    return tuple(filter(None, (options.own.backend, options.precision, *formats.kept(options))))


def check(options: formats.Options) -> None:
    """Refuse a backend that does not exist; nothing heavy is imported.

    Raises:
        UsageError: see above, and for a backend that is given no programs of the precision.
    """
    backend = _backend(options)
    if precisions.get(str(options.precision)).halves and not hasattr(backend, "HALF"):
        raise _not_given(options)


def formulation(options: formats.Options) -> str:
    """Return how the network is written for the backend."""
    name: str = _backend(options).FORMULATION
    return name


def quantised(options: formats.Options) -> Target:
    """Return what is computed in whole numbers.

    Raises:
        UsageError: the backend has no programs of this precision.
    """
    targets: dict[str, Target] = getattr(_backend(options), "TARGETS", {})
    name = str(options.precision)
    if name not in targets:
        raise _not_given(options)
    return targets[name]


def _not_given(options: formats.Options) -> UsageError:
    return UsageError(
        f"The backend {options.own.backend or BACKEND} is given no programs in "
        f"{options.precision}.",
        f"Leave out --backend, or give --precision {PRECISIONS[0]}.",
    )


def emulate(subject: Subject, options: formats.Options) -> None:
    """Have the program in whole numbers kept for the comparison with PyTorch."""
    with _engine_errors(subject):
        _program(subject, options)


def write(subject: Subject, path: Path, options: formats.Options) -> Written:
    """Write a ``.pte`` file.

    Raises:
        UsageError: see `check`.
        CheckFailed: full delegation is required, but not reached.
        EngineError: torch.export or the lowering failed.
    """
    check(options)
    backend = _backend(options)
    with _engine_errors(subject):
        program = _program(subject, options)
        lowered = _lowered(subject, program, backend)
    if options.own.full_delegation:
        delegations.demand(lowered.delegation)
    writing.fill(path, lowered.data)
    return Written(
        operators=lowered.operators,
        backend=options.own.backend or BACKEND,
        runs_on=backend.RUNS_ON,
        delegation=lowered.delegation,
        packages=backend.PACKAGES,
    )


def read_file(path: Path) -> FileFacts:
    """Read a file that others exported."""
    from mvdeploy.formats.executorch import reading

    return reading.read(path)


def probe(subject: Subject, path: Path, options: formats.Options, choose: Choose) -> Probe:
    """Write the same program with tensors from inside as further outputs.

    Raises:
        EngineError: torch.export or the lowering failed.
    """
    with _engine_errors(subject):
        from mvdeploy.formats.executorch import probing

        program = _program(subject, options)
        operators = probing.operators(program)
        names = probing.return_also(program, choose(operators))
        path.write_bytes(_lowered(subject, program, _backend(options)).data)
    return Probe(path, operators, names)


def held_weights(path: Path) -> frozenset[str]:
    """Return the sha256 of every constant tensor that a program holds."""
    from mvdeploy.formats.executorch import probing

    return probing.weights(path)


def _program(subject: Subject, options: formats.Options) -> ExportedProgram:
    """Return what is lowered."""
    import copy

    traced = _traced(subject, options)
    if subject.quantiser is None:
        return traced
    program = subject.quantise(traced)
    # Lowering takes its program to pieces.
    subject.quantiser.emulate(traced, copy.deepcopy(program))
    return program


def _traced(subject: Subject, options: formats.Options) -> ExportedProgram:
    """Trace a network, and write its operators as the backend takes them.

    In another formulation than the backend's own they stay as they are, but for those that it would
    compute wrongly.
    """
    from executorch.exir.passes.constant_prop_pass import constant_prop_pass

    from mvdeploy import rewritings

    backend = _backend(options)
    asked = options.formulation in (None, backend.FORMULATION)
    chosen = backend.REWRITINGS if asked else backend.NEEDED
    traced = trace(subject)
    if subject.halves:
        from mvdeploy.formats import _halving

        _halving.prepare(traced, backend.HALF.float32)
        chosen = (*chosen, *backend.HALF.rewritings)
    program = rewritings.apply(traced, chosen)
    # What weights alone decide is computed here, once.
    program = constant_prop_pass(_with_reshapes(program), custom_skip_targets=set())
    return _owning(_halving.halve(program) if subject.halves else program)


def _with_reshapes(program: ExportedProgram) -> ExportedProgram:
    """Write a copy and its view as the reshape that they were.

    ExecuTorch's constant folding leaves copies, which have a memory format; lowering makes them of
    reshapes again.
    """
    import torch

    aten = torch.ops.aten
    for node in program.graph.nodes:
        copy = node.args[0] if node.target is aten._unsafe_view.default else None
        if copy is not None and copy.target is aten.clone.default:
            node.target, node.args = aten.reshape.default, (copy.args[0], node.args[1])
    program.graph.eliminate_dead_code()
    return program


def _owning(program: ExportedProgram) -> ExportedProgram:
    """Give every weight that is a part of another tensor memory of its own.

    ExecuTorch's XNNPACK serializer writes a weight from the first byte of its memory on (1.5.1,
    node_visitor.py), which for the second half of a tensor are the numbers of the first.
    """
    import torch

    for table in (program.state_dict, program.constants):
        for name, value in table.items():
            if isinstance(value, torch.Tensor) and value.untyped_storage().nbytes() != value.nbytes:
                own = value.detach().clone(memory_format=torch.contiguous_format)
                is_parameter = isinstance(value, torch.nn.Parameter)
                table[name] = torch.nn.Parameter(own, False) if is_parameter else own
    return program


def _lowered(subject: Subject, program: ExportedProgram, backend: ModuleType) -> Lowered:
    from mvdeploy.formats.executorch import lowering

    methods = {name.replace(".", "_"): fact for name, fact in subject.facts.items()}
    return lowering.lower(program, backend, methods)


@contextmanager
def _engine_errors(subject: Subject) -> Iterator[None]:
    """Turn whatever torch and ExecuTorch raise into an `EngineError`."""
    try:
        with quiet(errors=True):
            saving.import_quickly()
            yield
    except MvdeployError:
        raise
    except Exception as error:
        raise failed("ExecuTorch", error, subject, _LACKING) from error


def _backend(options: formats.Options) -> ModuleType:
    return plugins.load(_BACKENDS, options.own.backend or BACKEND, "backend")
