"""Which operators of a traced program are computed in whole numbers."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from mvdeploy.quantization import CONVOLUTION, LINEAR, POINTWISE, Scheme, Target

_ATEN = torch.ops.aten

_CONVOLUTIONS = (_ATEN.conv1d.default, _ATEN.conv2d.default, _ATEN.conv2d.padding)
_OTHERS = {
    "add": (_ATEN.add.Tensor, _ATEN.add_.Tensor),
    "mul": (_ATEN.mul.Tensor, _ATEN.mul_.Tensor),
    "cat": (_ATEN.cat.default,),
}
_SILU = (_ATEN.silu.default, _ATEN.silu_.default)
_CLAMPS = (
    *(_ATEN.relu.default, _ATEN.relu_.default, _ATEN.relu6.default),
    *(_ATEN.hardtanh.default, _ATEN.hardtanh_.default),
)
"""What engines compute together with the operator before."""

_ACTIVATIONS = {
    "silu": _SILU,
    "gelu": (_ATEN.gelu.default,),
    "sigmoid": (_ATEN.sigmoid.default, _ATEN.sigmoid_.default),
    "tanh": (_ATEN.tanh.default, _ATEN.tanh_.default),
    "elu": (_ATEN.elu.default, _ATEN.elu_.default),
    "leaky_relu": (_ATEN.leaky_relu.default, _ATEN.leaky_relu_.default),
    "hardswish": (_ATEN.hardswish.default, _ATEN.hardswish_.default),
    "hardsigmoid": (_ATEN.hardsigmoid.default, _ATEN.hardsigmoid_.default),
}
"""What some engines do too."""

MOVES = (
    *(_ATEN.max_pool2d.default, _ATEN.permute.default, _ATEN.transpose.int, _ATEN.t.default),
    *(_ATEN.view.default, _ATEN.reshape.default, _ATEN._unsafe_view.default),
    *(_ATEN.flatten.using_ints, _ATEN.squeeze.dim, _ATEN.unsqueeze.default),
    *(_ATEN.slice.Tensor, _ATEN.clone.default),
)
"""What moves numbers or takes some of them."""

_UNCHANGED = (
    *(*MOVES, *_CLAMPS, _ATEN.clamp.default, _ATEN.cat.default),
    *(_ATEN.constant_pad_nd.default, _ATEN.pad.default),
)
"""What has no other scale behind it than before it."""

_SOFTMAX = (_ATEN.softmax.int, _ATEN._softmax.default)
_PRODUCTS = (_ATEN.bmm.default, _ATEN.matmul.default)
_FLOAT_CLASSES = ("Norm", "Softmax", "GRN")
"""Ends of the names of classes whose insides stay in float, whatever they are written with."""


@dataclasses.dataclass(frozen=True)
class Places:
    """What is computed in whole numbers.

    Attributes:
        weighted: operators with weights.
        produced: nodes whose results are whole numbers, whoever reads them.
        consumed: for others, the nodes that read them as whole numbers.
        shared: nodes whose results have one scale, in groups.
    """

    weighted: tuple[fx.Node, ...]
    produced: tuple[fx.Node, ...]
    consumed: dict[fx.Node, tuple[fx.Node, ...]]
    shared: tuple[tuple[fx.Node, ...], ...]

    @property
    def values(self) -> tuple[fx.Node, ...]:
        """The nodes whose results are quantised, in the order they run."""
        found = {*self.produced, *self.consumed}
        nodes = next(iter(found)).graph.nodes if found else ()
        return tuple(node for node in nodes if node in found)


def find(
    program: ExportedProgram, scheme: Scheme, target: Target, kept: Sequence[str] = ()
) -> Places:
    """Return what of a program is computed in whole numbers.

    Args:
        program: traced and functional; SiLUs are split where they are to be quantised, see
            `split_silu`.
        scheme: what the precision quantises.
        target: what the engine has.
        kept: patterns of modules that stay in float, as the shell has them: ``layer_1*``.
    """
    constants = _constants(program)
    chosen: list[fx.Node] = []
    for node in program.graph.nodes:
        if node.op != "call_function" or _stays(node, kept):
            continue
        weighted = kind(node) is not None and _is_weight(node.args[1], constants)
        if scheme.dynamic:
            fits = weighted and kind(node) == LINEAR
        else:
            fits = weighted or (scheme.everything and _is_other(node, target, constants))
        if fits and _is_float(node):
            chosen.append(node)
    produced = () if scheme.dynamic else tuple(_results(chosen, target))
    consumed: dict[fx.Node, tuple[fx.Node, ...]] = {}
    for node in chosen:
        for value in _read(node):
            if value not in produced:
                consumed[value] = (*consumed.get(value, ()), node)
    weights = tuple(node for node in chosen if kind(node) is not None)
    joined = [n for n in chosen if n.target is _ATEN.cat.default]
    if target.one_scale and not scheme.dynamic:
        joined += _between(program, {*produced, *consumed})
    return Places(weights, produced, consumed, tuple(_shared(joined)))


def kind(node: fx.Node) -> str | None:
    """Return what kind of operator with weights a node is; None for others."""
    if node.target is _ATEN.linear.default:
        return LINEAR
    if node.target not in _CONVOLUTIONS:
        return None
    weight = node.args[1]
    value = weight.meta.get("val") if isinstance(weight, fx.Node) else None
    if value is None:
        return None
    groups = node.args[6] if len(node.args) > 6 else node.kwargs.get("groups", 1)
    plain = groups == 1 and all(size == 1 for size in value.shape[2:])
    return POINTWISE if plain else CONVOLUTION


def module_of(node: fx.Node) -> str:
    """Return the path of the module that a node came from."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def is_kept(module: str, patterns: Iterable[str]) -> bool:
    """Say whether a module, or one that it lies in, is named by a pattern."""
    parts = module.split(".")
    paths = [".".join(parts[: i + 1]) for i in range(len(parts))]
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns for path in paths)


def split_silu(program: ExportedProgram, kept: Sequence[str] = ()) -> None:
    """Write SiLU as x·sigmoid(x), as engines have them in whole numbers; the program is changed."""
    graph = program.graph
    for node in list(graph.nodes):
        if node.target not in _SILU or _stays(node, kept):
            continue
        (given,) = node.args
        with graph.inserting_before(node):
            gate = graph.call_function(_ATEN.sigmoid.default, (given,))
            gated = graph.call_function(_ATEN.mul.Tensor, (given, gate))
        gate.meta, gated.meta = dict(node.meta), dict(node.meta)
        node.replace_all_uses_with(gated)
        graph.erase_node(node)
    program.graph_module.recompile()


def is_sigmoid(node: fx.Node) -> bool:
    """Say whether a node is the gate of a SiLU that was split."""
    return node.target is _ATEN.sigmoid.default


def result_of(node: fx.Node) -> fx.Node:
    """Return what makes the result of an operator: itself, or the clamp that goes with it."""
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].target in _CLAMPS else node


def _results(chosen: Sequence[fx.Node], target: Target) -> Iterator[fx.Node]:
    for node in chosen:
        if kind(node) in target.float_results:
            continue
        made = _fused(node, target) if kind(node) is not None else result_of(node)
        if not (target.float_outputs and all(user.op == "output" for user in made.users)):
            yield made


def _fused(node: fx.Node, target: Target) -> fx.Node:
    """Return what makes the result of an operator and the activation that goes with it."""
    fused = {operator for name in target.fused for operator in _ACTIVATIONS[name]}
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].target in fused else result_of(node)


def _read(node: fx.Node) -> tuple[fx.Node, ...]:
    """Return the nodes that an operator reads beside its weights."""
    if kind(node) is not None:
        return tuple(node.all_input_nodes[:1])
    return tuple(node.all_input_nodes)


def _is_other(node: fx.Node, target: Target, constants: set[fx.Node]) -> bool:
    if "silu" in target.others and is_sigmoid(node):
        return any(user.target in _OTHERS["mul"] for user in node.users)
    if not any(node.target in _OTHERS[name] for name in target.others if name in _OTHERS):
        return False
    given = node.args[0] if node.target is _ATEN.cat.default else node.args[:2]
    tensors = [x for x in given if isinstance(x, fx.Node) and x not in constants]  # type: ignore[union-attr]
    if len(tensors) != len(given) or not all(map(_is_float, tensors)):  # type: ignore[arg-type]
        return False
    if not all(x.meta["val"].dim() for x in tensors):
        return False  # a single number
    if node.target in _OTHERS["add"] and any(kind(x) in target.float_results for x in tensors):
        return False  # a residual addition behind a linear layer: they are floats already
    return not (_before_softmax(node) or any(x.target in _PRODUCTS for x in tensors))


def _before_softmax(node: fx.Node) -> bool:
    return any(user.target in _SOFTMAX for user in node.users)


def _between(program: ExportedProgram, whole: set[fx.Node]) -> Iterator[fx.Node]:
    """Yield operators that change no numbers, between tensors of whole ones."""
    for node in program.graph.nodes:
        given = node.all_input_nodes
        if node.target in _UNCHANGED and node in whole and given and whole.issuperset(given):
            yield node


def _shared(joined: Sequence[fx.Node]) -> Iterator[tuple[fx.Node, ...]]:
    """Yield the groups of results that concatenations and the like tie together."""
    groups: list[set[fx.Node]] = []
    for node in joined:
        group = {result_of(node), node, *node.all_input_nodes}
        for other in [g for g in groups if g & group]:
            groups.remove(other)
            group |= other
        groups.append(group)
    for group in groups:
        yield tuple(sorted(group, key=lambda node: node.name))


def _stays(node: fx.Node, kept: Sequence[str]) -> bool:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    classes = [str(getattr(entry[1], "__name__", entry[1])) for entry in stack]
    if any(name.endswith(_FLOAT_CLASSES) or "LayerNorm" in name for name in classes):
        return True
    return is_kept(module_of(node), kept)


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype is torch.float32


def _is_weight(argument: object, constants: set[fx.Node]) -> bool:
    return isinstance(argument, fx.Node) and argument in constants


def _constants(program: ExportedProgram) -> set[fx.Node]:
    """Return the nodes that stand for tensors which the program holds."""
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    pairs = zip(nodes, program.graph_signature.input_specs, strict=True)
    return {node for node, spec in pairs if spec.kind is not InputKind.USER_INPUT}
