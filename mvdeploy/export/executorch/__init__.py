"""ExecuTorch (``.pte``): torch.export, then lowered to a backend that takes the operators it can.

What a backend takes runs inside one delegate, without a call for each operator and without a copy
between them. A network written for it (`formulation`) fits into one delegate as a whole.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from mvdeploy import plugins
from mvdeploy.errors import CheckFailed, EngineError, MvdeployError
from mvdeploy.export import DEFAULTS, Options, Written
from mvdeploy.export._quiet import quiet
from mvdeploy.records import Delegation

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

SUFFIX = ".pte"
PACKAGES = ("torch", "executorch")
PRECISIONS = ("fp32",)
TAKES = ("backend", "full_delegation")

_BACKENDS = "mvdeploy.export.executorch.backends"
BACKEND = "xnnpack"
"""What a program is lowered to when nothing is asked for."""

NAMED = 3
"""Undelegated operators that an error names."""


def check(options: Options) -> None:
    """Refuse a backend that does not exist; nothing heavy is imported.

    Raises:
        UsageError: see above.
    """
    _backend(options)


def formulation(options: Options) -> str:
    """Return how the network is written for the backend."""
    found: str = _backend(options).FORMULATION
    return found


def write(
    network: nn.Module,
    example: Tensor,
    path: Path,
    facts: dict[str, str],
    options: Options = DEFAULTS,
) -> Written:
    """Write a ``.pte`` file.

    Raises:
        UsageError: see `check`.
        CheckFailed: full delegation is required, but not reached.
        EngineError: torch.export or the lowering failed.
    """
    check(options)
    backend = _backend(options)
    try:
        with quiet():
            from mvdeploy.export.executorch import lowering, pooling

            program = _program(network, example)
            pooling.keep_axes(program)
            methods = {name.replace(".", "_"): fact for name, fact in facts.items()}
            lowered = lowering.lower(program, backend, methods)
    except MvdeployError:
        raise
    except Exception as error:
        raise EngineError(
            f"ExecuTorch failed to lower the network ({str(error).partition(chr(10))[0]}).",
            "Run again with --debug; the network may use an operator that ExecuTorch lacks.",
        ) from error
    if options.full_delegation:
        _demand(lowered.delegation)
    path.write_bytes(lowered.data)
    return Written(
        operators=lowered.operators,
        backend=options.backend or BACKEND,
        runs_on=backend.RUNS_ON,
        delegation=lowered.delegation,
        packages=backend.PACKAGES,
    )


def _backend(options: Options) -> ModuleType:
    return plugins.load(_BACKENDS, options.backend or BACKEND, "backend")


def _program(network: nn.Module, example: Tensor) -> ExportedProgram:
    import torch

    program = torch.export.export(network, (example,))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of the machine
    return program


def _demand(delegation: Delegation) -> None:
    """Raise if more or less than one delegate holds the program."""
    if delegation.full:
        return
    left = [f"{u.operator} in '{u.module}'" for u in delegation.undelegated]
    named = "; ".join(left[:NAMED])
    more = f"; and {len(left) - NAMED} more" if len(left) > NAMED else ""
    raise CheckFailed(
        f"The program is not delegated as a whole: {delegation.delegates} delegates, "
        f"{sum(u.count for u in delegation.undelegated)} operators outside of them"
        + (f" ({named}{more})." if named else "."),
        "Leave out --require-full-delegation, or use another --formulation or --backend.",
    )
