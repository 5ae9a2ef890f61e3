"""Exported program → ``.pte``, and what is in it.

Operators are listed delegate by delegate, each in the order in which it runs, and then those that
no delegate took, in the order of the program.
"""

from __future__ import annotations

import dataclasses
import operator
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import torch
from executorch.exir import EdgeCompileConfig, memory, to_edge_transform_and_lower
from executorch.exir.delegate import executorch_call_delegate
from torch import fx
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from mvdeploy.errors import EngineError
from mvdeploy.formats.executorch import recording
from mvdeploy.formats.executorch.recording import Defined
from mvdeploy.records import Delegation, Operator, Undelegated


@dataclasses.dataclass(frozen=True)
class Lowered:
    """A lowered program.

    Attributes:
        data: the ``.pte`` file.
        operators: see the module's docstring.
        delegation: how much of it runs in delegates.
    """

    data: bytes
    operators: tuple[Operator, ...]
    delegation: Delegation


def lower(program: ExportedProgram, backend: ModuleType, facts: dict[str, str]) -> Lowered:
    """Lower a program.

    Args:
        program: of the network.
        backend: a file of `mvdeploy.formats.executorch.backends`.
        facts: strings that the program returns by methods of their names.

    Raises:
        EngineError: this ExecuTorch cannot be watched, or an operator cannot be placed.
    """
    context: AbstractContextManager[None] = getattr(backend, "lowering", nullcontext)()
    with context:
        edge = to_edge_transform_and_lower(
            program,
            partitioner=backend.partitioners(),
            constant_methods=dict(facts),
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
        manager = edge.to_executorch()
    graph = manager.exported_program().graph_module
    calls = list(_calls(graph))
    delegates = [_delegate(graph, node) for node in calls]
    kernels = list(_kernels(graph))
    _check(manager.executorch_program, len(delegates), kernels)
    return Lowered(
        data=manager.buffer,
        operators=_operators(delegates, kernels, {call: i for i, call in enumerate(calls)}),
        delegation=_delegation(delegates, kernels),
    )


def _calls(graph: fx.GraphModule) -> Iterator[fx.Node]:
    return (n for n in graph.graph.nodes if n.target is executorch_call_delegate)


@dataclasses.dataclass(frozen=True)
class _Delegate:
    """A delegate.

    Attributes:
        operators: as recorded, or else those that were given to it.
        inputs: by their names in it, the nodes of the program that give them.
        outputs: names of the operators that made what it returns, in order.
    """

    operators: list[Defined]
    inputs: dict[str, fx.Node]
    outputs: tuple[str, ...]


def _delegate(graph: fx.GraphModule, call: fx.Node) -> _Delegate:
    lowered: Any = getattr(graph, call.args[0].target)  # type: ignore[union-attr, arg-type]
    given = lowered.original_module
    inputs = dict(zip(given.graph_signature.user_inputs, call.args[1:], strict=True))
    recorded = recording.of(lowered)
    if recorded is not None:
        return _Delegate(recorded.operators, inputs, recorded.outputs)
    operators = [_defined(node) for node in given.graph.nodes if node.op == "call_function"]
    return _Delegate(operators, inputs, recording.returned(given.graph))


def _kernels(graph: fx.GraphModule) -> Iterator[Defined]:
    """Yield what runs outside of delegates."""
    for node in graph.graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            yield _defined(node)


def _defined(node: fx.Node) -> Defined:
    # Where its result goes is not what it reads.
    written = {n for n in pytree.tree_leaves(node.kwargs) if _is_memory(n)}
    inputs = tuple(n.name for n in node.all_input_nodes if n not in written)
    return Defined(node.name, recording.type_of(node), recording.module_of(node), inputs)


def _is_memory(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.target is memory.alloc


def _check(program: Any, delegates: int, kernels: list[Defined]) -> None:
    """Check against the instructions that were written to the file."""
    (plan,) = (plan for plan in program.execution_plan if plan.name == "forward")
    written: list[str] = []
    calls = 0
    for instruction in (i for chain in plan.chains for i in chain.instructions):
        arguments = instruction.instr_args
        if hasattr(arguments, "delegate_index"):
            calls += 1
        elif hasattr(arguments, "op_index"):
            op = plan.operators[arguments.op_index]
            written.append(f"{op.name.replace('::', '.')}.{op.overload or 'default'}")
    if calls != delegates or written != [kernel.type for kernel in kernels]:
        raise EngineError(
            "The instructions of the lowered program are not those of its graph.",
            "Report the network that shows it, with the version of executorch.",
        )


def _operators(
    delegates: list[_Delegate], kernels: list[Defined], calls: dict[fx.Node, int]
) -> tuple[Operator, ...]:
    parts: list[tuple[int | None, list[Defined]]] = [
        *((number, delegate.operators) for number, delegate in enumerate(delegates)),
        (None, kernels),
    ]
    taken: set[str] = set()
    names: dict[int | None, dict[str, str]] = {}
    for part, defined in parts:
        names[part] = {op.name: _unused(op.name, taken, part) for op in defined}
        taken |= set(names[part].values())

    def made_by(node: fx.Node) -> str:
        """Return the name of the operator that made a tensor of the program."""
        while node.name not in names[None] and node.all_input_nodes:
            source = node.all_input_nodes[0]
            if source in calls and node.target is operator.getitem:
                result = delegates[calls[source]].outputs[node.args[1]]  # type: ignore[index]
                return names[calls[source]].get(result, result)
            node = source
        if _is_memory(node):  # for several results at once: a kernel fills it
            node = next((user for user in node.users if user.name in names[None]), node)
        return names[None].get(node.name, node.name)

    program = next(iter(calls)).graph.nodes if calls else ()
    outside = {node.name: made_by(node) for node in program}
    operators: list[Operator] = []
    for part, defined in parts:
        given = outside
        if part is not None:
            given = {own: outside[node.name] for own, node in delegates[part].inputs.items()}
        seen: Counter[str] = Counter()
        for op in defined:
            name = names[part][op.name]
            seen[name] += 1
            operators.append(
                Operator(
                    # A node that became several operators gives its name to the last of them.
                    name=name if seen[name] == 1 else f"{name}:{seen[name]}",
                    type=op.type,
                    module=op.module,
                    inputs=tuple(names[part].get(i, given.get(i, i)) for i in op.inputs),
                    outputs=(name,),
                    delegate=part,
                )
            )
    return tuple(operators)


def _unused(name: str, taken: set[str], number: int | None) -> str:
    """Names are unique within a delegate only."""
    return name if name not in taken else f"{name}@{number}"


def _delegation(delegates: list[_Delegate], kernels: list[Defined]) -> Delegation:
    counts = Counter((kernel.type, kernel.module) for kernel in kernels)
    return Delegation(
        delegates=len(delegates),
        delegated=sum(len(delegate.operators) for delegate in delegates),
        undelegated=tuple(Undelegated(*key, count) for key, count in counts.items()),
    )
