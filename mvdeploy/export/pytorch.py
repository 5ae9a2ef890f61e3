"""PyTorch's own program format (``.pt2``, torch.export): the host's reference engine runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mvdeploy import export
from mvdeploy.errors import EngineError
from mvdeploy.export import Subject, Written
from mvdeploy.export._tracing import trace
from mvdeploy.quiet import quiet
from mvdeploy.records import Operator

if TYPE_CHECKING:
    from torch import fx

SUFFIX = ".pt2"
PACKAGES = ("torch",)
PRECISIONS = ("fp32",)
DYNAMIC_BATCH = True


def write(subject: Subject, path: Path, options: export.Options) -> Written:
    """Write an exported program.

    Raises:
        EngineError: torch.export could not trace the network.
    """
    import torch

    try:
        with quiet():
            program = trace(subject)
            torch.export.save(program, path, extra_files=subject.facts)
    except Exception as error:
        raise EngineError(
            f"torch.export failed: {error}",
            "Run again with --debug for its traceback; the network may branch on its input.",
        ) from error
    nodes = program.graph.nodes
    return Written(tuple(_operator(node) for node in nodes if node.op == "call_function"))


def _operator(node: fx.Node) -> Operator:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    module = stack[-1][0] if stack else ""
    inputs = tuple(argument.name for argument in node.all_input_nodes)
    return Operator(node.name, str(node.target), module, inputs, (node.name,))
