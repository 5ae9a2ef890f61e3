"""Break copies of an exported program on purpose, before it is lowered.

A lowered file cannot be edited: its delegates are opaque. What exporters, passes and hand-written
conversions get wrong can be put into the program that is lowered, though, whatever its formulation.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from mvdeploy.quiet import quiet
from mvdeploy.verify.mutations import Mutant, Subject

Mutation = Callable[["Editor", fx.Node], None]
Fits = Callable[["Editor", fx.Node], bool]

_ATEN = torch.ops.aten


class Editor:
    """A copy of an exported program, to be changed.

    Args:
        program: is copied; so are the weights that are changed.
    """

    def __init__(self, program: ExportedProgram) -> None:
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
    """A convolution loses its bias."""
    _scale(editor, node, 2, 0.0)


def change_weight(editor: Editor, node: fx.Node) -> None:
    """One weight of a convolution or linear layer is off by the largest of them."""
    argument = node.args[1]
    weight = editor.weight(argument)
    if weight is not None and isinstance(argument, fx.Node):
        changed = weight.detach().clone()
        changed.view(-1)[0] += 4 * changed.abs().max()
        editor.set_weight(argument, changed)


def change_softmax_axis(editor: Editor, node: fx.Node) -> None:
    """Softmax runs over the queries instead of the keys."""
    node.update_arg(1, -2)


def silu_to_relu(editor: Editor, node: fx.Node) -> None:
    """The activation x·sigmoid(x) becomes max(x, 0)."""
    node.target = _ATEN.relu.default


def scale_queries(editor: Editor, node: fx.Node) -> None:
    """The queries are scaled by 1.5 times what they should be."""
    _scale(editor, node, 1, 1.5)
    _scale(editor, node, 2, 1.5)


def exchange_q_and_k(editor: Editor, node: fx.Node) -> None:
    """Queries are projected with the weights of the keys, and the other way round."""
    path = module_of(node).removesuffix("q")
    other = next(n for n in editor.nodes if module_of(n) == f"{path}k" and _is_linear(editor, n))
    node.args, other.args = (node.args[0], *other.args[1:]), (other.args[0], *node.args[1:])


def enlarge_eps(editor: Editor, node: fx.Node) -> None:
    """LayerNorm's epsilon is 10000 times too large."""
    node.update_arg(1, float(node.args[1]) * 1e4)  # type: ignore[arg-type]


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


def _is_convolution(editor: Editor, node: fx.Node) -> bool:
    biased = len(node.args) > 2 and editor.weight(node.args[2]) is not None
    return node.target is _ATEN.conv2d.default and biased


def _is_linear(editor: Editor, node: fx.Node) -> bool:
    return node.target is _ATEN.linear.default and len(node.args) > 2


def _is_query(editor: Editor, node: fx.Node) -> bool:
    return _is_linear(editor, node) and module_of(node).endswith(".q")


def _is_eps(editor: Editor, node: fx.Node) -> bool:
    read_by_root = any(user.target is _ATEN.rsqrt.default for user in node.users)
    return node.target is _ATEN.add.Tensor and read_by_root and isinstance(node.args[1], float)


def _is_unfold(editor: Editor, node: fx.Node) -> bool:
    return node.target is _ATEN.permute.default and node.args[1] == [0, 2, 4, 1, 3, 5]


def _is_residual(editor: Editor, node: fx.Node) -> bool:
    plain = node.target is _ATEN.add.Tensor and all(isinstance(a, fx.Node) for a in node.args)
    return plain and all(editor.weight(argument) is None for argument in node.args)


_MUTATIONS: dict[str, tuple[Mutation, Fits]] = {
    "bias dropped": (drop_bias, _is_convolution),
    "weight changed": (change_weight, _is_linear),
    "softmax axis": (change_softmax_axis, lambda _, n: n.target is _ATEN.softmax.int),
    "SiLU → ReLU": (silu_to_relu, lambda _, n: n.target is _ATEN.silu.default),
    "attention scale × 1.5": (scale_queries, _is_query),
    "q and k exchanged": (exchange_q_and_k, _is_query),
    "LayerNorm eps × 10000": (enlarge_eps, _is_eps),
    "unfold: height and width exchanged": (exchange_height_and_width, _is_unfold),
    "residual doubled": (forget_residual, _is_residual),
}


def names() -> tuple[str, ...]:
    """Return the names of all mutations."""
    return tuple(_MUTATIONS)


def mutants(subject: Subject) -> Iterator[Mutant]:
    """Break the program that a file was made from, and make a file of it in the same way.

    That takes its time: one place of each kind. Its operators have names of their own.
    """
    program = torch.export.export(
        subject.rewritten, tuple(map(torch.from_numpy, subject.feed.values()))
    )

    def write(broken: ExportedProgram, path: Path) -> object:
        return subject.export(broken.module(), path)

    for name, module, broken in broken_programs(program, places=1):
        yield Mutant(name, module, functools.partial(write, broken), same_operators=False)


def broken_programs(
    program: ExportedProgram, chosen: tuple[str, ...] | None = None, places: int = 3
) -> Iterator[tuple[str, str, ExportedProgram]]:
    """Make broken copies.

    Args:
        program: of a network in the delegable formulation; of another, some find no place.
        chosen: some of `names`; None for all.
        places: how many of each: 1 for the middle one, 3 for the first and the last too.

    Yields:
        the mutation, the module it is in, the program.
    """
    plain = Editor(program)
    for name in chosen or names():
        mutate, fits = _MUTATIONS[name]
        fitting = [i for i, node in enumerate(plain.nodes) if fits(plain, node)]
        picked = (len(fitting) // 2,) if places == 1 else (0, len(fitting) // 2, -1)
        for index in dict.fromkeys(fitting[i] for i in picked if fitting):
            editor = Editor(program)
            node = editor.nodes[index]
            module = module_of(node)
            mutate(editor, node)
            yield name, module, editor.finish()
