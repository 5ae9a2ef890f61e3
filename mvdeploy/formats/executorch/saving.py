"""Work of ExecuTorch's lowering that changes nothing, left out. The program stays the same.

Most passes look for some operators, and trace the whole program anew at the end, also where they
have found none. A pass is left out where the program has none of its operators: the passes around
it trace the same. Two of XNNPACK's passes moreover trace example networks to have patterns to
search for, and print the whole graph for a log that nobody keeps. One pattern is a single operator
that the pass then leaves as it is; the other is attention with its mask, which always holds
`_MASKED`.

Every pass copies for every node the history of the copies before it. The histories are never
changed, so that sharing them is enough. Every graph is written as Python code and compiled; that is
put off until one is called. Decompositions trace the whole program anew, too: they are left out
where it has none of the operators that are to be written otherwise.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from mvdeploy.errors import EngineError

if TYPE_CHECKING:
    from torch import fx

_MASKED = "aten.any.dim"
"""Operator of the pattern of masked attention; see the module's docstring."""

Needs = Callable[["fx.Node"], bool]
"""Says whether a pass may have a use for a node."""

_XNNPACK = "executorch.backends.xnnpack._passes"
_EXIR = "executorch.exir.passes"


def _named(*parts: str) -> Needs:
    """Return what looks for operators with one of these in their names."""
    return lambda node: any(part in _name(node) for part in parts)


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))


def _is_view(node: fx.Node) -> bool:
    return bool(getattr(node.target, "is_view", False))


def _is_symbol(node: fx.Node) -> bool:
    import torch

    return isinstance(node.meta.get("val"), torch.SymInt | torch.SymFloat | torch.SymBool)


def _is_line(node: fx.Node) -> bool:
    """Whether it is a convolution of one dimension."""
    found = _name(node) == "aten.convolution.default"
    return found and node.args[1].meta["val"].dim() == 3  # type: ignore[union-attr]


def _is_no_float(node: fx.Node) -> bool:
    """Whether it makes something else than a tensor of single precision."""
    import torch

    made = node.meta.get("val")
    return node.op != "output" and getattr(made, "dtype", None) is not torch.float32


_PASSES: dict[tuple[str, str], Needs] = {
    (f"{_XNNPACK}.convert_to_sdpa", "ConvertToSDPAPass"): lambda node: _name(node) == _MASKED,
    (f"{_XNNPACK}.convert_to_upsample_bilinear2d", "ConvertToUpsampleBilinear2d"): lambda _: False,
    (f"{_XNNPACK}.propagate_custom_meta_pass", "PropagateCustomMetaPass"): _named("quant"),
    (f"{_XNNPACK}.fuse_batch_norm", "FuseBatchNormPass"): _named("batch_norm"),
    (f"{_XNNPACK}.decompose_batch_norm", "DecomposeBatchNorm"): _named("batch_norm"),
    (f"{_XNNPACK}.fuse_activation_pass", "FuseActivationPass"): _named("relu", "hardtanh"),
    (f"{_XNNPACK}.decompose_cat", "DecomposeConcatenate"): _named("cat"),
    (f"{_XNNPACK}.conv1d_unsqueeze_pass", "Conv1dUnsqueezePass"): _is_line,
    (f"{_XNNPACK}.prelu_reshape_pass", "PReLUReshapePass"): _named("prelu"),
    ("executorch.backends.transforms.remove_getitem_op", "RemoveGetItemPass"): _named("max"),
    (f"{_EXIR}.sym_to_tensor_pass", "SymToTensorPass"): _is_symbol,
    (f"{_EXIR}.normalize_transpose_pass", "NormalizeTransposePass"): _named("t.default"),
    (
        f"{_EXIR}.replace_broken_ops_with_function_ops_pass",
        "ReplaceBrokenOpsWithFunctionalOpsPass",
    ): _is_view,
    (f"{_EXIR}.remove_mixed_type_operators", "RemoveMixedTypeOperators"): _is_no_float,
}
"""Passes, by module and name, with what they have a use for."""


@contextmanager
def saved() -> Iterator[None]:
    """Leave out what changes nothing, until the end of the context.

    Raises:
        EngineError: this ExecuTorch or torch has not what is left out.
    """
    try:
        from torch.export import ExportedProgram
        from torch.fx import GraphModule, traceback

        kinds = {
            getattr(importlib.import_module(module), name): needs
            for (module, name), needs in _PASSES.items()
        }
        replaced: list[tuple[Any, str, Any]] = [
            (traceback, "copy", SimpleNamespace(copy=copy.copy, deepcopy=list)),
            (GraphModule, "recompile", _compiled_when_called(GraphModule.recompile)),
            (ExportedProgram, "run_decompositions", _if_any(ExportedProgram.run_decompositions)),
            *((kind, "call", _if_needed(kind.call, needs)) for kind, needs in kinds.items()),
        ]
    except (ImportError, AttributeError) as error:
        raise EngineError(
            f"This version of ExecuTorch lowers differently ({error}).",
            "Install the version of executorch that mvdeploy asks for.",
        ) from error
    with ExitStack() as restore:
        for owner, name, value in replaced:
            restore.enter_context(mock.patch.object(owner, name, value))
        yield


def _if_needed(real: Callable[..., Any], needs: Needs) -> Callable[[Any, fx.GraphModule], Any]:
    """Return what a pass does, but where it has no use for any node."""

    @functools.wraps(real)
    def call(step: Any, graph: fx.GraphModule) -> Any:
        from torch.fx import GraphModule
        from torch.fx.passes.infra.pass_base import PassResult

        graphs = (part.graph for part in graph.modules() if isinstance(part, GraphModule))
        if any(needs(node) for one in graphs for node in one.nodes):
            return real(step, graph)
        return PassResult(graph, False)

    return call


def _if_any(real: Callable[..., Any]) -> Callable[..., Any]:
    """Return what decomposes a program, but where it was decomposed and has nothing of a table."""

    @functools.wraps(real)
    def run(program: Any, table: Any = None, **options: Any) -> Any:
        from executorch.exir.graph_module import contains_any_call_fn_target_op

        decomposed = program.dialect == "ATEN" and bool(table) and not options
        if decomposed and not contains_any_call_fn_target_op(program.graph_module, table):
            return program
        return real(program, table, **options)

    return run


def _compiled_when_called(real: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what puts the compiling of a graph off until it is called or copied."""

    def recompile(graph: Any) -> None:
        def called(graph: Any, *args: Any, **kwargs: Any) -> Any:
            real(graph)
            return type(graph).forward(graph, *args, **kwargs)

        info = getattr(graph.graph._codegen, "pytree_info", None)
        # What traces a graph again names its inputs as the function that is called does.
        called.__signature__ = _signature(graph, info)  # type: ignore[attr-defined]
        if info is not None:
            graph._in_spec, graph._out_spec = info.in_spec, info.out_spec
        vars(graph).setdefault("_code", "")  # what it is printed as
        # Each graph has a class of its own.
        type(graph).forward = called

    return recompile


def _signature(graph: Any, info: Any) -> inspect.Signature:
    """Return the arguments that a graph will have when it is compiled."""
    placeholders = (node.target for node in graph.graph.nodes if node.op == "placeholder")
    names = placeholders if info is None else info.orig_args
    own = dict.fromkeys(("self", *(str(name).lstrip("*") for name in names)))
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(name, kind) for name in own])


@functools.cache
def import_quickly() -> None:
    """Import ExecuTorch, having the table of its operators read by a parser in C."""
    try:
        import ruamel.yaml
        import yaml  # type: ignore[import-untyped]

        loader = yaml.CSafeLoader
    except (ImportError, AttributeError):  # it reads the table itself, in 0.7 s
        return

    def load(_: Any, text: str) -> Any:
        return yaml.load(text, loader)

    with mock.patch.object(ruamel.yaml.YAML, "load", load):
        importlib.import_module("executorch.exir.dialects.edge._ops")
