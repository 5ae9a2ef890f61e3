"""A traced program, run operator by operator as PyTorch computes it, each by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

See = Callable[[fx.Node, Any], Any]
"""Is shown what a node computed, and returns what is taken for it."""


def run(
    program: ExportedProgram, inputs: tuple[Tensor, ...], see: See = lambda _, value: value
) -> tuple[Tensor, ...]:
    """Run a program.

    Args:
        program: traced; one that changes its inputs or its weights is not taken.
        inputs: of the network, in order.
        see: see above.
    """

    class Watching(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            return see(n, super().run_node(n))

    interpreter = Watching(program.graph_module)
    interpreter.extra_traceback = False  # its lines would be added to what is said of an error
    with torch.inference_mode():
        outputs = interpreter.run(*arguments(program, inputs))
    return tuple(outputs)


def arguments(program: ExportedProgram, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Return what a program is run with: what it holds, and its inputs."""
    held: Mapping[str, Any] = {**program.constants, **program.state_dict}
    given = iter(inputs)
    return [
        next(given) if spec.kind is InputKind.USER_INPUT else held[str(spec.target)]
        for spec in program.graph_signature.input_specs
    ]
