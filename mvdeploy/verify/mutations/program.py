"""Break copies of an exported program on purpose, before it is lowered.

A lowered file cannot be edited: its delegates are opaque. What exporters, passes and hand-written
conversions get wrong can be put into the program that is lowered, though, whatever its formulation.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from mvdeploy import precisions
from mvdeploy.quiet import quiet
from mvdeploy.verify.mutations import (
    BELOW_HALF,
    Alter,
    Mutant,
    Subject,
    whole_numbers,
    wrongly_folded,
)

Mutation = Callable[["Editor", fx.Node], None]
Fits = Callable[["Editor", fx.Node], bool]

_ATEN = torch.ops.aten

_WEIGHTED = (
    *(_ATEN.conv1d.default, _ATEN.conv2d.default, _ATEN.conv3d.default),
    *(_ATEN.conv2d.padding, _ATEN.linear.default),
)
_SILU = (_ATEN.silu.default, _ATEN.silu_.default)
_OTHER_ACTIVATION: dict[Any, Any] = {
    **dict.fromkeys(
        (
            *(_ATEN.relu.default, _ATEN.relu_.default, _ATEN.relu6.default),
            *(_ATEN.hardtanh.default, _ATEN.hardtanh_.default),
        ),
        _ATEN.tanh.default,
    ),
    **dict.fromkeys(
        (
            *(_ATEN.gelu.default, _ATEN.hardswish.default, _ATEN.hardswish_.default),
            *(_ATEN.leaky_relu.default, _ATEN.elu.default, _ATEN.prelu.default),
        ),
        _ATEN.relu.default,
    ),
    _ATEN.hardsigmoid.default: _ATEN.sigmoid.default,
}
"""What an activation becomes, SiLU excepted."""


class Editor:
    """A copy of an exported program, to be changed.

    Args:
        program: is copied; so are the weights that are changed.
        network: the network before any pass; its BatchNorms tell what was folded.
    """

    def __init__(self, program: ExportedProgram, network: nn.Module) -> None:
        self.network = network
        with quiet():
            self.program = copy.deepcopy(program)
        signature = self.program.graph_signature
        self._weights = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}

    @property
    def nodes(self) -> list[fx.Node]:
        """The operators, in the order they run."""
        return [n for n in self.program.graph.nodes if n.op == "call_function"]

    def weight(self, node: object) -> Tensor | None:
        """Return the weight that an argument is; None for a computed tensor."""
        name = self._weights.get(node.name) if isinstance(node, fx.Node) else None
        return self.program.state_dict.get(name) if name is not None else None

    def set_weight(self, node: fx.Node, value: Tensor) -> None:
        """Give every operator that reads a weight another value of it."""
        name, old = self._weights[node.name], self.weight(node)
        self.program.state_dict[name] = (
            torch.nn.Parameter(value) if isinstance(old, torch.nn.Parameter) else value
        )

    def finish(self) -> ExportedProgram:
        """Return the changed program."""
        self.program.graph_module.recompile()
        self.program.graph.lint()
        return self.program


def module_of(node: fx.Node) -> str:
    """Return the path of the module that an operator came from."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def drop_bias(editor: Editor, node: fx.Node) -> None:
    """A convolution or linear layer loses its bias."""
    _scale(editor, node, 2, 0.0)


def change_weight(editor: Editor, node: fx.Node) -> None:
    """One weight of a convolution or linear layer is off by the largest of them."""
    argument = node.args[1]
    weight = editor.weight(argument)
    if weight is not None and isinstance(argument, fx.Node):
        changed = weight.detach().clone()
        changed.view(-1)[0] += 4 * changed.abs().max()
        editor.set_weight(argument, changed)


def scale_weight(editor: Editor, node: fx.Node) -> None:
    """A weight is 1.01 times what it should be."""
    _scale(editor, node, 1, 1.01)


def exchange_activation(editor: Editor, node: fx.Node) -> None:
    """An activation is another one."""
    node.target = _OTHER_ACTIVATION[node.target]
    node.args, node.kwargs = node.args[:1], {}


def fold_with_wrong_eps(editor: Editor, node: fx.Node) -> None:
    """A BatchNorm was folded with another epsilon than its own."""
    folded = _wrongly_folded(editor, node)
    if folded is not None:
        for argument, values in zip(node.args[1:3], folded, strict=True):
            editor.set_weight(argument, torch.from_numpy(values))  # type: ignore[arg-type]


def _wrongly_folded(editor: Editor, node: fx.Node) -> tuple[Any, Any] | None:
    if node.target is not _ATEN.conv2d.default or len(node.args) < 3:
        return None
    weight, bias = (editor.weight(argument) for argument in node.args[1:3])
    if weight is None or bias is None:
        return None
    arrays = (tensor.detach().numpy() for tensor in (weight, bias))
    return wrongly_folded(editor.network, module_of(node), *arrays)


def change_softmax_axis(editor: Editor, node: fx.Node) -> None:
    """Softmax runs over the queries instead of the keys."""
    node.update_arg(1, -2)


def silu_to_relu(editor: Editor, node: fx.Node) -> None:
    """The activation x·sigmoid(x) becomes max(x, 0)."""
    node.target = _ATEN.relu.default if node.target is _ATEN.silu.default else _ATEN.relu_.default


def scale_queries(editor: Editor, node: fx.Node) -> None:
    """The queries are scaled by 1.5 times what they should be."""
    _scale(editor, node, 1, 1.5)
    _scale(editor, node, 2, 1.5)


def exchange_q_and_k(editor: Editor, node: fx.Node) -> None:
    """Queries are projected with the weights of the keys, and the other way round."""
    other = _keys(editor, node)
    if other is not None:
        node.args, other.args = (node.args[0], *other.args[1:]), (other.args[0], *node.args[1:])


def _keys(editor: Editor, node: fx.Node) -> fx.Node | None:
    """Return the projection of the keys that belongs to one of queries."""
    path = f"{module_of(node).removesuffix('q')}k"
    linear = (n for n in editor.nodes if module_of(n) == path and _is_linear(editor, n))
    return next(linear, None)


def enlarge_eps(editor: Editor, node: fx.Node) -> None:
    """LayerNorm's epsilon is 100 times too large."""
    if node.target is _ATEN.layer_norm.default:
        given = (*node.args, *(None,) * (4 - len(node.args)))
        eps: Any = given[4] if len(given) > 4 else node.kwargs.get("eps", 1e-5)
        node.args, node.kwargs = (*given[:4], 100 * float(eps)), {}
    else:
        node.update_arg(1, 100 * float(node.args[1]))  # type: ignore[arg-type]


def exchange_height_and_width(editor: Editor, node: fx.Node) -> None:
    """Patches are unfolded column by column instead of row by row."""
    node.update_arg(1, [0, 4, 2, 3, 1, 5])


def forget_residual(editor: Editor, node: fx.Node) -> None:
    """A residual is doubled instead of added to."""
    node.update_arg(1, node.args[0])


def _scale(editor: Editor, node: fx.Node, index: int, factor: float) -> None:
    argument = node.args[index] if len(node.args) > index else None
    weight = editor.weight(argument)
    if weight is not None and isinstance(argument, fx.Node):
        editor.set_weight(argument, weight.detach() * factor)


def _has_bias(editor: Editor, node: fx.Node) -> bool:
    bias = editor.weight(node.args[2]) if node.target in _WEIGHTED and len(node.args) > 2 else None
    return bias is not None and bool(bias.any())


def _has_weight(editor: Editor, node: fx.Node) -> bool:
    return node.target in _WEIGHTED and editor.weight(node.args[1]) is not None


def _is_linear(editor: Editor, node: fx.Node) -> bool:
    return node.target is _ATEN.linear.default and len(node.args) > 2


def _is_query(editor: Editor, node: fx.Node) -> bool:
    queries = _is_linear(editor, node) and module_of(node).endswith(".q")
    return queries and _keys(editor, node) is not None


def _is_softmax(editor: Editor, node: fx.Node) -> bool:
    value = node.meta.get("val")
    if node.target is not _ATEN.softmax.int or not isinstance(value, Tensor):
        return False
    return value.dim() > 2 and node.args[1] in (-1, value.dim() - 1)


def _is_eps(editor: Editor, node: fx.Node) -> bool:
    if node.target is _ATEN.layer_norm.default:
        return True
    read_by_root = any(user.target is _ATEN.rsqrt.default for user in node.users)
    return node.target is _ATEN.add.Tensor and read_by_root and isinstance(node.args[1], float)


def _is_unfold(editor: Editor, node: fx.Node) -> bool:
    return node.target is _ATEN.permute.default and node.args[1] == [0, 2, 4, 1, 3, 5]


def _is_residual(editor: Editor, node: fx.Node) -> bool:
    plain = node.target is _ATEN.add.Tensor and all(isinstance(a, fx.Node) for a in node.args)
    return plain and all(editor.weight(argument) is None for argument in node.args)


_MUTATIONS: dict[str, tuple[Mutation, Fits]] = {
    "bias dropped": (drop_bias, _has_bias),
    "weight changed": (change_weight, _has_weight),
    "weight × 1.01": (scale_weight, _has_weight),
    "softmax axis": (change_softmax_axis, _is_softmax),
    "SiLU → ReLU": (silu_to_relu, lambda _, n: n.target in _SILU),
    "activation exchanged": (exchange_activation, lambda _, n: n.target in _OTHER_ACTIVATION),
    "attention scale × 1.5": (scale_queries, _is_query),
    "q and k exchanged": (exchange_q_and_k, _is_query),
    "LayerNorm eps × 100": (enlarge_eps, _is_eps),
    "BatchNorm folded with eps 1e-3": (
        fold_with_wrong_eps,
        lambda editor, node: _wrongly_folded(editor, node) is not None,
    ),
    "unfold: height and width exchanged": (exchange_height_and_width, _is_unfold),
    "residual doubled": (forget_residual, _is_residual),
}


def names() -> tuple[str, ...]:
    """Return the names of all mutations."""
    return tuple(_MUTATIONS)


def mutants(subject: Subject) -> Iterator[Mutant]:
    """Break the program that a file is made from, and make a file of it in the same way.

    That takes its time: one place of each kind. In half precision those that rounding hides are
    left out.
    """
    halves = precisions.get(subject.artifact.precision).halves
    chosen = tuple(name for name in names() if not (halves and name in BELOW_HALF))
    program = torch.export.export(
        subject.rewritten, tuple(map(torch.from_numpy, subject.feed.values()))
    )
    for name, index, module in places(program, subject.network, chosen, each=1):
        breaks = functools.partial(broken, network=subject.network, name=name, index=index)
        alter = Alter(breaks)
        yield Mutant(name, module, functools.partial(subject.export, alter), alter)
    yield from whole_numbers.mutants(subject)


def places(
    program: ExportedProgram,
    network: nn.Module,
    chosen: tuple[str, ...] | None = None,
    each: int = 3,
) -> Iterator[tuple[str, int, str]]:
    """Find where mutations fit.

    Args:
        program: of a network; of one in another than the delegable formulation, some find no place.
        network: before any pass.
        chosen: some of `names`; None for all.
        each: how many of each: 1 for the middle one, 3 for the first and the last too.

    Yields:
        the mutation, the number of the operator, the module that this is in.
    """
    plain = Editor(program, network)
    for name in chosen or names():
        _, fits = _MUTATIONS[name]
        fitting = [i for i, node in enumerate(plain.nodes) if fits(plain, node)]
        picked = (len(fitting) // 2,) if each == 1 else (0, len(fitting) // 2, -1)
        for index in dict.fromkeys(fitting[i] for i in picked if fitting):
            yield name, index, module_of(plain.nodes[index])


def broken(program: ExportedProgram, network: nn.Module, name: str, index: int) -> ExportedProgram:
    """Return a broken copy of a program.

    Args:
        program: the network traced, as it was for `places`.
        network: before any pass.
        name: of the mutation.
        index: of the operator.
    """
    mutate, _ = _MUTATIONS[name]
    editor = Editor(program, network)
    mutate(editor, editor.nodes[index])
    return editor.finish()
