"""PyTorch's own program format (``.pt2``, torch.export): the host's reference engine runs it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdeploy import formats
from mvdeploy.engines import _exported_program
from mvdeploy.errors import UsageError
from mvdeploy.files import writing
from mvdeploy.formats import Subject, Written
from mvdeploy.formats._failures import failed
from mvdeploy.formats._reading import FileFacts
from mvdeploy.formats._tracing import trace
from mvdeploy.quiet import quiet
from mvdeploy.records import ModuleInfo, Operator, TensorInfo

if TYPE_CHECKING:
    from torch import fx, nn

SUFFIX = ".pt2"
PACKAGES = ("torch",)
PRECISIONS = ("fp32",)
DYNAMIC_BATCH = True


def write(subject: Subject, path: Path, options: formats.Options) -> Written:
    """Write an exported program.

    Raises:
        EngineError: torch.export could not trace the network.
    """
    import torch

    try:
        with quiet(errors=True):
            program = trace(subject)
            # Not straight into the file: on a full disk torch's own writer ends the process.
            written = io.BytesIO()
            torch.export.save(program, written, extra_files=subject.facts)
    except Exception as error:
        raise failed("torch.export", error, subject, r"(?!)") from error
    writing.fill(path, written.getbuffer())
    nodes = program.graph.nodes
    return Written(tuple(_operator(node) for node in nodes if node.op == "call_function"))


def _operator(node: fx.Node) -> Operator:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    module = stack[-1][0] if stack else ""
    inputs = tuple(argument.name for argument in node.all_input_nodes)
    return Operator(node.name, str(node.target), module, inputs, (node.name,))


def read_file(path: Path) -> FileFacts:
    """Read an exported program of others.

    Raises:
        UsageError: it is none, is damaged, or takes or gives what is no tensor.
    """
    program = _exported_program.load(path)
    nodes = {node.name: node for node in program.graph.nodes}
    signature = program.graph_signature
    inputs = [_tensor(nodes, name, "input", path) for name in signature.user_inputs]
    outputs = [
        _tensor(nodes, name, "output", path, shown=f"output_{i}")
        for i, name in enumerate(signature.user_outputs)
    ]
    called = [node for node in program.graph.nodes if node.op == "call_function"]
    weights = (*program.state_dict.values(), *program.constants.values())
    return FileFacts(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        operators=tuple(map(_operator, called)),
        modules={path: ModuleInfo(kind, None) for node in called for path, kind in _stack(node)},
        read_from="the program's own record of modules",
        precision=_precision(weights),
        parameters=sum(weight.numel() for weight in program.parameters()),
    )


def network_of(path: Path) -> nn.Module:
    """Return a program as a network that PyTorch runs."""
    from torch import nn
    from torch.utils import _pytree

    exported = _exported_program.load(path)
    program, takes = _exported_program.graph_of(exported), exported.call_spec.in_spec

    class Program(nn.Module):
        def forward(self, *inputs: Any) -> Any:
            arguments, named = _pytree.tree_unflatten(inputs, takes)
            return program(*arguments, **named)

    return Program().eval()  # the program itself cannot be asked for that


def _tensor(nodes: dict[str, Any], name: Any, what: str, path: Path, shown: str = "") -> TensorInfo:
    import torch

    value = nodes[name].meta.get("val") if isinstance(name, str) and name in nodes else None
    if not isinstance(value, torch.Tensor):
        raise UsageError(
            f"The {what} '{name}' of {path} is no tensor.",
            "Export a program that takes and returns tensors alone.",
        )
    shape = tuple(n if isinstance(n, int) else str(n) for n in value.shape)
    return TensorInfo(shown or name, shape, str(value.dtype).removeprefix("torch."))


def _stack(node: fx.Node) -> list[tuple[str, str]]:
    """Return the modules around an operator: paths, and classes."""
    entries = node.meta.get("nn_module_stack", {}).values()
    return [(path, str(kind).rpartition(".")[2]) for path, kind in entries] or [("", "")]


def _precision(weights: Any) -> str:
    half = single = 0
    for weight in weights:
        kind = str(getattr(weight, "dtype", ""))
        if kind in ("torch.int8", "torch.uint8"):
            return "int8"
        half += weight.numel() if kind == "torch.float16" else 0
        single += weight.numel() if kind == "torch.float32" else 0
    return "fp16" if half > single else "fp32"
