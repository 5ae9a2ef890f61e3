"""A traced program → the same in half precision; what it is fed and returns stays float32.

Weights, buffers and constants become float16, and so does every result, but for those operators
that the network keeps out of mixed precision (see `_float32_regions`) or that the engine has in
float32 alone. What neither an input nor a weight reaches (positions that are counted up) is
computed as it was, and then rounded.
"""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses import FakeTensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument

from mvdeploy.errors import UsageError
from mvdeploy.formats import _float32_regions

_ATEN = torch.ops.aten
_PLACES = ("nn_module_stack", "source_fn_stack", "torch_fn")
"""What says of a node where in the network it came from."""

_NORMS = (_ATEN.layer_norm.default, _ATEN.group_norm.default)


def prepare(program: ExportedProgram, float32: Collection[str]) -> None:
    """Mark what stays float32 in a program as it was traced; it is changed.

    Args:
        program: before any rewriting, which forgets what an operator was.
        float32: names of operators that stay float32, such as ``aten.gelu.default``. Of norms, that
            is the average and the deviation: weight and bias are applied in half.

    Raises:
        UsageError: a region that stays float32 holds another.
    """
    _float32_regions.mark(program)
    if _float32_regions.regions(program):
        raise UsageError(
            "The network disables autocast within a region for which it is disabled, which is not "
            "written in half precision.",
            "Leave the inner torch.autocast out, or give --precision fp32.",
        )
    for node in list(program.graph.nodes):
        if node.op == "call_function" and str(node.target) in float32:
            _float32_regions.keep(_without_weights(node) if node.target in _NORMS else node)
    program.graph_module.recompile()


def _without_weights(norm: fx.Node) -> fx.Node:
    """Write a norm as one without weights, a product and a sum; return the first of them.

    The last of them is the node that was there.
    """
    x, form, weight, bias = (*norm.args[:4], None, None)[:4]
    if weight is None and bias is None:
        return norm
    graph, target = norm.graph, norm.target
    kept = {key: norm.meta[key] for key in (*_PLACES, "val") if key in norm.meta}

    def call(operator: Any, *args: Any) -> fx.Node:
        node: fx.Node = graph.call_function(operator, args)
        node.meta = dict(kept)
        return node

    def by_channel(value: fx.Node) -> fx.Node:
        if target is _ATEN.layer_norm.default:
            return value
        return call(_ATEN.reshape.default, value, [-1, *[1] * (norm.meta["val"].ndim - 2)])

    with graph.inserting_before(norm):
        first = call(target, x, form, None, None, *norm.args[4:])
        first.kwargs = dict(norm.kwargs)
        last = first
        steps = [(_ATEN.mul.Tensor, weight), (_ATEN.add.Tensor, bias)]
        given = [(op, by_channel(value)) for op, value in steps if isinstance(value, fx.Node)]
        for step, value in given[:-1]:
            last = call(step, last, value)
    step, value = given[-1]
    norm.target, norm.args, norm.kwargs = step, (last, value), {}
    return first


def halve(program: ExportedProgram) -> ExportedProgram:
    """Have a program computed in half precision.

    Args:
        program: functional; it is changed.

    Raises:
        UsageError: it holds graphs of its own, as those of a condition.
    """
    _Halver(program).run()
    return program


class _Halver:
    def __init__(self, program: ExportedProgram) -> None:
        self._program = program
        self._graph = program.graph
        self._inputs = {
            spec.arg.name: spec
            for spec in program.graph_signature.input_specs
            if isinstance(spec.arg, TensorArgument)
        }
        self._reached: set[fx.Node] = set()
        self._casts: dict[tuple[fx.Node, torch.dtype], fx.Node] = {}

    def run(self) -> None:
        """Change the program."""
        for node in list(self._graph.nodes):
            if node.op == "placeholder":
                self._reached.add(node)
                self._hold(node)
            elif node.op == "call_function":
                self._compute(node)
            elif node.op == "get_attr":
                raise _holding_graphs(node)
        self._return()
        self._graph.eliminate_dead_code()
        self._graph.lint()
        self._program.graph_module.recompile()

    def _hold(self, node: fx.Node) -> None:
        """Hold a weight in half, unless nothing but what stays float32 reads it."""
        spec = self._inputs.get(node.name)
        if spec is None or spec.kind is InputKind.USER_INPUT or not _is(node, torch.float32):
            return
        if node.users and all(map(_float32_regions.marked, node.users)):
            return
        for table in (self._program.state_dict, self._program.constants):
            if spec.target in table:
                value = table[spec.target]
                half = value.detach().half()
                parameter = isinstance(value, torch.nn.Parameter)
                table[spec.target] = torch.nn.Parameter(half, False) if parameter else half
        _set(node, node.meta["val"].to(torch.float16))

    def _compute(self, node: fx.Node) -> None:
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            raise _holding_graphs(node)
        if not self._reached.isdisjoint(node.all_input_nodes):
            self._reached.add(node)
        if node not in self._reached:
            return
        single = _float32_regions.marked(node)
        wanted, other = torch.float32, torch.float16
        if not single:
            wanted, other = other, wanted
            node.args = _with_type(node.args, wanted)
            node.kwargs = _with_type(node.kwargs, wanted)
        if node.target is not operator.getitem:
            for given in node.all_input_nodes:
                if _is(given, other):
                    node.replace_input_with(given, self._cast(given, wanted, node))
        self._infer(node)

    def _infer(self, node: fx.Node) -> None:
        """Compute again of which type a result is."""
        given = [n.meta["val"] for n in node.all_input_nodes]
        mode = next((t.fake_mode for t in given if isinstance(t, FakeTensor)), None)
        if mode is None and node.target is not operator.getitem:
            return  # of sizes
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
        if mode is None:
            _set(node, node.target(*args, **kwargs))  # type: ignore[operator]
            return
        with mode:
            _set(node, node.target(*args, **kwargs))  # type: ignore[operator]

    def _cast(self, node: fx.Node, dtype: torch.dtype, reader: fx.Node) -> fx.Node:
        """Return a tensor in another type, as part of the module that has the other type inside."""
        if (node, dtype) not in self._casts:
            leaves = node.op == "call_function" and _float32_regions.marked(node)
            with self._graph.inserting_before(reader):
                cast: fx.Node = self._graph.call_function(
                    _ATEN._to_copy.default, (node,), {"dtype": dtype}
                )
            place = node if leaves or reader.op == "output" else reader
            cast.meta = {key: place.meta[key] for key in _PLACES if key in place.meta}
            cast.meta["val"] = node.meta["val"].to(dtype)
            self._reached.add(cast)
            self._casts[node, dtype] = cast
        return self._casts[node, dtype]

    def _return(self) -> None:
        """Return float32 where that was returned."""
        output = self._graph.output_node()
        (returned,) = output.args
        made = []
        specs = self._program.graph_signature.output_specs
        for node, spec in zip(returned, specs, strict=True):
            is_half = isinstance(node, fx.Node) and _is(node, torch.float16)
            if is_half and spec.kind is OutputKind.USER_OUTPUT:
                cast = self._cast(node, torch.float32, output)
                spec.arg = TensorArgument(cast.name)
                made.append(cast)
            else:
                made.append(node)
        output.args = (tuple(made),)


def _is(node: fx.Node, dtype: torch.dtype) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype is dtype


def _set(node: fx.Node, value: Any) -> None:
    node.meta["val"] = value
    node.meta.pop("tensor_meta", None)


def _with_type(given: Any, dtype: torch.dtype) -> Any:
    """Return arguments that ask for another type than float32."""
    return torch.utils._pytree.tree_map(
        lambda one: dtype if one is torch.float32 else one,
        given,
        is_leaf=lambda one: one is None or isinstance(one, fx.Node),
    )


def _holding_graphs(node: fx.Node) -> UsageError:
    return UsageError(
        f"The network holds a graph of its own ('{node.name}'), which is not written in half "
        "precision.",
        "Leave out what makes it, as torch.cond, or give --precision fp32.",
    )
