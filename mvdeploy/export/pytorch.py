"""PyTorch's own program format (``.pt2``, torch.export): the host's reference engine runs it."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, fx, nn
from torch.export import Dim

from mvdeploy.errors import EngineError
from mvdeploy.export import DEFAULTS, DYNAMIC, Options, Written
from mvdeploy.records import Operator

SUFFIX = ".pt2"
PACKAGES = ("torch",)
PRECISIONS = ("fp32",)
TAKES = ("dynamic_batch",)


def write(
    network: nn.Module,
    example: Tensor,
    path: Path,
    facts: dict[str, str],
    options: Options = DEFAULTS,
) -> Written:
    """Write an exported program.

    Raises:
        EngineError: torch.export could not trace the network.
    """
    shapes = ({0: Dim(DYNAMIC)},) if options.dynamic_batch else None
    try:
        with warnings.catch_warnings():
            # torch 2.13 copies its own deprecated tree specifications.
            warnings.filterwarnings("ignore", category=FutureWarning, message=".*LeafSpec.*")
            program = torch.export.export(network, (example,), dynamic_shapes=shapes)
            for node in program.graph.nodes:
                node.meta.pop("stack_trace", None)  # paths of the machine
            torch.export.save(program, path, extra_files=facts)
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
