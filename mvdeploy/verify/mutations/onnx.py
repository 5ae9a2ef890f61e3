"""Break copies of an ONNX export on purpose, to see that the check notices and names the module.

A check that has never failed proves nothing. Each mutation here is a fault that exporters, passes
or hand-written conversions have really made.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mvdeploy import precisions
from mvdeploy.verify.mutations import BELOW_HALF, Mutant, Subject, program, wrongly_folded

if TYPE_CHECKING:
    from torch import nn

MODULE_KEY = "mvdeploy.module"

Mutation = Callable[["Editor", onnx.NodeProto], None]

_BIASED = ("Conv", "ConvTranspose", "Gemm")
_WEIGHTED = (*_BIASED, "MatMul")

_ATTENTION = ("MultiHeadAttention",)
"""Operators that take queries, keys and values."""

_OTHER_ACTIVATION = {
    **dict.fromkeys(("Relu", "Clip", "Erf"), "Tanh"),
    **dict.fromkeys(("Gelu", "HardSwish", "LeakyRelu", "PRelu", "Elu", "Mish"), "Relu"),
    "HardSigmoid": "Sigmoid",
}
"""What an activation becomes, SiLU excepted, which ONNX has no operator for."""


class Editor:
    """A copy of an exported model, to be changed.

    Args:
        model: is copied.
        network: the network before any pass; its BatchNorms tell what was folded.
    """

    def __init__(self, model: onnx.ModelProto, network: nn.Module) -> None:
        self.model = copy.deepcopy(model)
        self.network = network
        self._initializers = {i.name: i for i in self.model.graph.initializer}

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """The nodes, in the order they run."""
        return list(self.model.graph.node)

    def constant(self, name: str) -> np.ndarray | None:
        """Return the value of a weight or constant; None for a computed tensor."""
        tensor = self._initializers.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def replace_input(self, node: onnx.NodeProto, index: int, value: np.ndarray) -> None:
        """Give a node a constant of its own; other users of the old one keep it."""
        name = f"{node.input[index]}__mutated"
        self.model.graph.initializer.append(numpy_helper.from_array(value, name))
        node.input[index] = name

    def shape(self, tensor: str) -> tuple[int | str, ...] | None:
        """Return the shape of a computed tensor; None where the file does not tell it."""
        value = next((v for v in self.model.graph.value_info if v.name == tensor), None)
        if value is None:
            return None
        return tuple(d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim)

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        """Return the node that makes a tensor."""
        return next((n for n in self.model.graph.node if tensor in n.output), None)


def module_of(node: onnx.NodeProto) -> str:
    """Return the module path that an exported node carries."""
    return next((p.value for p in node.metadata_props if p.key == MODULE_KEY), "")


def drop_bias(editor: Editor, node: onnx.NodeProto) -> None:
    """A convolution or linear layer loses its bias."""
    bias = editor.constant(node.input[2])
    if bias is not None:
        editor.replace_input(node, 2, np.zeros_like(bias))


def scale_weight(editor: Editor, node: onnx.NodeProto) -> None:
    """A weight is 1.01 times what it should be."""
    weight = editor.constant(node.input[1])
    if weight is not None:
        editor.replace_input(node, 1, (weight * 1.01).astype(weight.dtype))


def exchange_activation(editor: Editor, node: onnx.NodeProto) -> None:
    """An activation is another one."""
    node.op_type = _OTHER_ACTIVATION[node.op_type]
    del node.input[1:]
    del node.attribute[:]


def change_softmax_axis(editor: Editor, node: onnx.NodeProto) -> None:
    """Softmax runs over the queries instead of the keys."""
    _set_attribute(node, "axis", -2)


def silu_to_relu(editor: Editor, node: onnx.NodeProto) -> None:
    """The activation x·sigmoid(x) becomes max(x, 0)."""
    sigmoid = next(n for n in editor.nodes if n.op_type == "Sigmoid" and n.output[0] in node.input)
    node.op_type = "Relu"
    del node.input[:]
    node.input.append(sigmoid.input[0])
    editor.model.graph.node.remove(sigmoid)


def scale_attention(editor: Editor, node: onnx.NodeProto) -> None:
    """The queries are scaled by 1.1 times what they should be."""
    if node.op_type in _ATTENTION:
        usual = next(a.f for a in node.attribute if a.name == "scale")
        _set_attribute(node, "scale", 1.1 * usual)
        return
    for index, name in enumerate(node.input):
        value = editor.constant(name)
        if value is not None:
            editor.replace_input(node, index, (value * 1.1).astype(value.dtype))


def swap_q_and_v(editor: Editor, node: onnx.NodeProto) -> None:
    """Queries and values are taken from each other's place of the packed projection."""
    if node.op_type in _ATTENTION:
        node.input[0], node.input[2] = node.input[2], node.input[0]
        return
    q, k, v = node.output
    del node.output[:]
    node.output.extend((v, k, q))


def enlarge_layernorm_eps(editor: Editor, node: onnx.NodeProto) -> None:
    """LayerNorm's epsilon is 100 times too large."""
    usual = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    _set_attribute(node, "epsilon", 100 * usual)


def exchange_height_and_width(editor: Editor, node: onnx.NodeProto) -> None:
    """Patches are unfolded column by column instead of row by row."""
    _set_attribute(node, "perm", [0, 4, 2, 3, 1, 5])


def fold_with_wrong_eps(editor: Editor, node: onnx.NodeProto) -> None:
    """A BatchNorm was folded with another epsilon than its own."""
    folded = _wrongly_folded(editor, node)
    if folded is not None:
        editor.replace_input(node, 1, folded[0])
        editor.replace_input(node, 2, folded[1])


def _wrongly_folded(editor: Editor, node: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray] | None:
    if node.op_type != "Conv" or len(node.input) < 3:
        return None
    weight, bias = editor.constant(node.input[1]), editor.constant(node.input[2])
    if weight is None or bias is None:
        return None
    return wrongly_folded(editor.network, module_of(node), weight, bias)


def _has_bias(editor: Editor, node: onnx.NodeProto) -> bool:
    bias = editor.constant(node.input[2]) if len(node.input) > 2 else None
    return node.op_type in _BIASED and bias is not None and bool(np.any(bias))


def _has_weight(editor: Editor, node: onnx.NodeProto) -> bool:
    weight = editor.constant(node.input[1]) if node.op_type in _WEIGHTED else None
    return weight is not None and weight.ndim > 1


def _is_thirds(editor: Editor, node: onnx.NodeProto) -> bool:
    """Whether a tensor is split into three that have the same shape, or attends to itself."""
    if node.op_type in _ATTENTION:
        return len({editor.shape(name) for name in node.input[:3]}) == 1
    if node.op_type != "Split" or len(node.output) != 3:
        return False
    sizes = editor.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    return sizes is None or len(set(sizes.tolist())) == 1


def _is_silu(editor: Editor, node: onnx.NodeProto) -> bool:
    makers = [editor.producer(name) for name in node.input]
    return node.op_type == "Mul" and any(m is not None and m.op_type == "Sigmoid" for m in makers)


def _is_scale(editor: Editor, node: onnx.NodeProto) -> bool:
    constants = [editor.constant(name) for name in node.input]
    if node.op_type in _ATTENTION:
        return any(a.name == "scale" for a in node.attribute)
    attention = {module_of(other) for other in editor.nodes if other.op_type == "Softmax"}
    scales = node.op_type == "Mul" and any(c is not None and c.size == 1 for c in constants)
    return scales and module_of(node) in attention


def _is_softmax(editor: Editor, node: onnx.NodeProto) -> bool:
    axis = next((a.i for a in node.attribute if a.name == "axis"), -1)
    return node.op_type == "Softmax" and axis in (-1, 3)


def _is_unfold(editor: Editor, node: onnx.NodeProto) -> bool:
    perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
    return perm == [0, 2, 4, 1, 3, 5] and module_of(node).endswith("unfold")


_MUTATIONS: dict[str, tuple[Mutation, Callable[[Editor, onnx.NodeProto], bool]]] = {
    "bias dropped": (drop_bias, _has_bias),
    "weight × 1.01": (scale_weight, _has_weight),
    "softmax axis": (change_softmax_axis, _is_softmax),
    "SiLU → ReLU": (silu_to_relu, _is_silu),
    "activation exchanged": (exchange_activation, lambda _, n: n.op_type in _OTHER_ACTIVATION),
    "attention scale × 1.1": (scale_attention, _is_scale),
    "q and v swapped": (swap_q_and_v, _is_thirds),
    "LayerNorm eps × 100": (
        enlarge_layernorm_eps,
        lambda _, n: n.op_type == "LayerNormalization",
    ),
    "unfold: height and width exchanged": (exchange_height_and_width, _is_unfold),
    "BatchNorm folded with eps 1e-3": (
        fold_with_wrong_eps,
        lambda editor, node: _wrongly_folded(editor, node) is not None,
    ),
}


def mutants(subject: Subject) -> Iterator[Mutant]:
    """Make broken copies: every mutation at the first, the middle and the last place it fits.

    In half precision those that rounding hides are left out.
    """
    if subject.emulation is not None:  # what is in the file is no longer what was traced
        yield from program.mutants(subject)
        return
    model = onnx.load(str(subject.path))
    halves = precisions.get(subject.artifact.precision).halves
    for name, (mutate, fits) in _MUTATIONS.items():
        if halves and name in BELOW_HALF:
            continue
        plain = Editor(model, subject.network)
        places = [i for i, node in enumerate(plain.nodes) if fits(plain, node)]
        chosen = dict.fromkeys(places[i] for i in (0, len(places) // 2, -1)) if places else ()
        for index in chosen:
            editor = Editor(model, subject.network)
            node = editor.nodes[index]
            module = module_of(node)
            mutate(editor, node)
            yield Mutant(name, module, functools.partial(onnx.save, editor.model))


def _set_attribute(node: onnx.NodeProto, name: str, value: object) -> None:
    others = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*others, helper.make_attribute(name, value)])
