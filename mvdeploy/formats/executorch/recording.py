"""Which operators XNNPACK makes of which module, recorded while it makes them.

A ``.pte`` file and its ETRecord say nothing of what is inside a delegate. But XNNPACK runs its
operators in the order in which ExecuTorch's node visitors define them, so the visitors are watched.

Nodes that ExecuTorch's own passes insert (changes of layout, of type ``aten._to_copy.default``)
have no module of their own. They count with the operator they were inserted for: their first user.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mvdeploy.errors import EngineError

if TYPE_CHECKING:
    from torch import fx


@dataclasses.dataclass(frozen=True)
class Defined:
    """An operator of a delegate.

    Attributes:
        name: of the node that it is made of.
        type: what the node computes, such as ``aten.convolution.default``.
        module: dotted path of the module that it serves; empty for the network itself.
        inputs: names of the nodes that it reads.
    """

    name: str
    type: str
    module: str
    inputs: tuple[str, ...]


@dataclasses.dataclass
class Recording:
    """The operators of one delegate, in the order they run, and the nodes that it returns."""

    operators: list[Defined] = dataclasses.field(default_factory=list)
    outputs: tuple[str, ...] = ()


@contextmanager
def recorded() -> Iterator[None]:
    """Give every delegate that XNNPACK makes a `Recording`; `of` finds it.

    Raises:
        EngineError: this ExecuTorch has not what is watched.
    """
    module, backend = _watched()
    visitors, preprocess = module.get_node_visitors, backend.__dict__["preprocess"]
    current: list[Recording] = []

    def watching_visitors(*args: Any) -> dict[str, Any]:
        node_visitors: dict[str, Any] = visitors(*args)
        for visitor in node_visitors.values():
            visitor.define_node = _watch(visitor.define_node, current[-1])
        return node_visitors

    def recording_preprocess(*args: Any) -> Any:
        current.append(Recording())
        result = preprocess.__func__(*args)
        # ExecuTorch keeps this beside the delegate, so that none is taken for another.
        result._delegate_info_meta = current[-1]
        return result

    module.get_node_visitors = watching_visitors
    backend.preprocess = staticmethod(recording_preprocess)
    try:
        yield
    finally:
        module.get_node_visitors = visitors
        backend.preprocess = preprocess


def of(lowered: Any) -> Recording | None:
    """Return what was recorded of a delegate; None if it is not XNNPACK's."""
    recording = (lowered.meta or {}).get("_delegate_info_meta")
    return recording if isinstance(recording, Recording) else None


def module_of(node: fx.Node) -> str:
    """Return the path of the module that a node came from, or else serves.

    A node without a module belongs where its result goes, or, at the end of the program, where its
    input comes from.
    """
    forward: fx.Node | None = node
    while forward is not None:
        if _has_module(forward):
            return _own_module(forward)
        forward = next(iter(forward.users), None)
    back: fx.Node | None = node
    while back is not None and not _has_module(back):
        back = next(iter(back.all_input_nodes), None)
    return _own_module(back) if back is not None else ""


def _has_module(node: fx.Node) -> bool:
    return node.op == "call_function" and bool(node.meta.get("nn_module_stack"))


def _own_module(node: fx.Node) -> str:
    return str(list(node.meta["nn_module_stack"].values())[-1][0])


def _watch(define_node: Callable[..., None], recording: Recording) -> Callable[..., None]:
    """Wrap a visitor's method: whatever it appends to XNNPACK's graph is recorded."""

    def define(node: fx.Node, xnn_graph: Any, *rest: Any) -> None:
        before = len(xnn_graph.xnodes)
        define_node(node, xnn_graph, *rest)
        recording.outputs = returned(node.graph)
        inputs = tuple(maker(argument).name for argument in node.all_input_nodes)
        defined = Defined(node.name, type_of(node), module_of(node), inputs)
        recording.operators += [defined] * (len(xnn_graph.xnodes) - before)

    return define


def maker(node: fx.Node) -> fx.Node:
    """Return the node that made a tensor, where that is taken from several."""
    while node.target is operator.getitem:
        node = node.all_input_nodes[0]
    return node


def returned(graph: fx.Graph) -> tuple[str, ...]:
    """Return the names of the nodes that made what a graph returns, in order."""
    return tuple(maker(node).name for node in graph.output_node().args[0])  # type: ignore[union-attr, arg-type]


def type_of(node: fx.Node) -> str:
    """Return the name of what a node computes, such as ``aten.convolution.default``."""
    from torch._ops import OpOverload

    target = node.target
    return str(target if isinstance(target, OpOverload) else getattr(target, "__name__", target))


def _watched() -> tuple[Any, Any]:
    """Return ExecuTorch's module and class that are watched."""
    try:
        from executorch.backends.xnnpack import xnnpack_preprocess as module

        backend = module.XnnpackBackend
        if callable(module.get_node_visitors) and isinstance(
            backend.__dict__["preprocess"], staticmethod
        ):
            return module, backend
    except (ImportError, AttributeError, KeyError) as error:
        raise _other_version(str(error)) from error
    raise _other_version("what makes XNNPACK's nodes is not where it was")


def _other_version(what: str) -> EngineError:
    return EngineError(
        f"This version of ExecuTorch cannot be watched while it lowers ({what}).",
        "Install the version of executorch that mvdeploy asks for.",
    )
