"""A planted format: the exported program of torch, with another ending."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mvdeploy import formats
from mvdeploy.formats import Subject, Written, option
from mvdeploy.formats._tracing import trace
from mvdeploy.records import Operator

SUFFIX = ".tape"
PACKAGES = ("torch",)
PRECISIONS = ("fp32",)


@dataclasses.dataclass(frozen=True)
class Options:
    """One option of its own."""

    side: str = option("a", "--tape-side", "Which side is recorded. [default: a]", metavar="SIDE")


def marks(options: formats.Options) -> tuple[str, ...]:
    """Say the side in the file's name."""
    return (f"side-{options.own.side}", str(options.precision))


def write(subject: Subject, path: Path, options: formats.Options) -> Written:
    """Write a program, each operator with its module."""
    import torch

    program = trace(subject)
    with path.open("wb") as file:
        torch.export.save(program, file)
    operators = []
    for node in program.graph.nodes:
        if node.op == "call_function":
            stack = list(node.meta.get("nn_module_stack", {}).values())
            reads = tuple(argument.name for argument in node.all_input_nodes)
            module = stack[-1][0] if stack else ""
            operators.append(Operator(node.name, str(node.target), module, reads, (node.name,)))
    return Written(tuple(operators))
