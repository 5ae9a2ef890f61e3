"""Pairs of quantize and dequantize around what is computed in whole numbers.

What a weighted operator reads and makes is quantised, its weight is held in whole numbers with a
scale for each output channel. Names of what was there stay, so that scales found for one program
fit the same program traced again.
"""

from __future__ import annotations

import copy
import operator
import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.ao.quantization.fx import _decomposed  # noqa: F401  registers the operators
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument

from mvdeploy.quantization import Target
from mvdeploy.quantization.places import Places, kind, result_of
from mvdeploy.quiet import quiet
from mvdeploy.records.quantized import Scale

_Q = torch.ops.quantized_decomposed

WEIGHT_MOST = 127
NARROW_MOST = 63

SUFFIX = "_int8"
"""What is added to the name of a weight in whole numbers."""

QUANTIZE = (
    *(_Q.quantize_per_tensor.default, _Q.quantize_per_tensor.tensor),
    _Q.quantize_per_token.default,
)
DEQUANTIZE = (
    *(_Q.dequantize_per_tensor.default, _Q.dequantize_per_tensor.tensor),
    _Q.dequantize_per_token.default,
)
DEQUANTIZE_WEIGHT = _Q.dequantize_per_channel.default

EPS = 1.1754943508222875e-38
"""The least scale that is found in an inference."""

_SMALLEST = 1e-36
"""The least scale of a weight, and of products."""

_LARGEST_SUM = 2.0**30
"""Of a bias in 32 bits: half of what fits, as the products that it is added to need room too."""


class Rewriter:
    """A copy of a program that becomes one with whole numbers.

    Args:
        program: with what `places` were found in; is copied.
        target: what the engine has.
    """

    def __init__(self, program: ExportedProgram, target: Target) -> None:
        with quiet():
            self.program = copy.deepcopy(program)
        self._graph = self.program.graph
        # By the names of those that are given: a copy calls one otherwise that is named as Python's
        # own functions are, as an input 'input'.
        pairs = zip(program.graph.nodes, self._graph.nodes, strict=True)
        self._nodes = {given.name: node for given, node in pairs}
        self._order = {node: i for i, node in enumerate(self._graph.nodes)}
        self._target = target
        self._dtype = torch.uint8 if target.unsigned else torch.int8

    def static(self, places: Places, scales: dict[str, Scale]) -> ExportedProgram:
        """Return the program with scales that are given."""
        for node in places.produced:
            own = self._nodes[node.name]
            readers = tuple(own.users)
            with self._graph.inserting_after(own):
                self._pairs(own, readers, _operator_of(own), self._given(scales[node.name]))
        for node, names in places.consumed.items():
            own, readers = self._nodes[node.name], self._readers(names)
            with self._graph.inserting_before(readers[0]):
                self._pairs(own, readers, readers[0], self._given(scales[node.name]))
        return self._finished(places)

    def dynamic(self, places: Places) -> ExportedProgram:
        """Return the program with scales that are found in every inference."""
        for node, names in places.consumed.items():
            own = self._nodes[node.name]
            for reader in self._readers(names):
                with self._graph.inserting_before(reader):
                    self._pairs(own, (reader,), reader, self._found(own, reader))
        return self._finished(places)

    def _finished(self, places: Places) -> ExportedProgram:
        for node in places.weighted:
            self._whole_weight(self._nodes[node.name])
        self._graph.eliminate_dead_code()
        self._graph.lint()
        self.program.graph_module.recompile()
        return self.program

    def _readers(self, nodes: Iterable[fx.Node]) -> tuple[fx.Node, ...]:
        """Return nodes of this copy, in the order they run."""
        return tuple(sorted((self._nodes[n.name] for n in nodes), key=self._order.__getitem__))

    def _given(self, scale: Scale) -> tuple[Any, ...]:
        if self._target.symmetric and scale.zero_point == self._target.least:
            return (scale.scale, 0, 0, 255, torch.uint8)
        limits = (self._target.least, self._target.most, self._dtype)
        return (scale.scale, scale.zero_point, *limits)

    def _found(self, value: fx.Node, serves: fx.Node) -> tuple[Any, ...]:
        """Have the scale of a tensor found; return what describes it."""
        limits = (self._target.least, self._target.most)
        shape: tuple[int, ...] = (1,)
        if self._target.by_row:
            shape = (*value.meta["val"].shape[:-1], 1)
            choose = _Q.choose_qparams_per_token_asymmetric.default
            found = self._call(choose, (value, self._dtype), serves)
        else:
            given = (value, *limits, EPS, self._dtype)
            found = self._call(_Q.choose_qparams.tensor, given, serves)
        scale = self._call(operator.getitem, (found, 0), serves)
        zero = self._call(operator.getitem, (found, 1), serves)
        scale.meta["val"] = _fake(value, shape, torch.float64)
        zero.meta["val"] = _fake(value, shape, torch.int64)
        found.meta["val"] = (scale.meta["val"], zero.meta["val"])
        return (scale, zero, *limits, self._dtype)

    def _pairs(
        self, value: fx.Node, readers: Sequence[fx.Node], serves: fx.Node, scale: tuple[Any, ...]
    ) -> None:
        """Quantise a tensor, and dequantise it for each that reads it.

        Backends ask which operators a dequantisation belongs to: each reader has its own.
        """
        found = isinstance(scale[0], fx.Node)
        kind = 2 if found and self._target.by_row else int(found)
        numbers = self._call(QUANTIZE[kind], (value, *scale), serves, value, scale[-1])
        given = (numbers, *scale, torch.float32) if kind == 2 else (numbers, *scale)
        for reader in readers:
            with self._graph.inserting_before(reader):
                floats = self._call(DEQUANTIZE[kind], given, serves, value)
            reader.replace_input_with(value, floats)

    def _call(
        self,
        target: Any,
        args: tuple[Any, ...],
        serves: fx.Node,
        like: fx.Node | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> fx.Node:
        node: fx.Node = self._graph.call_function(target, args)
        kept = ("nn_module_stack", "source_fn_stack", "torch_fn")
        node.meta = {key: serves.meta[key] for key in kept if key in serves.meta}
        if like is not None:
            node.meta["val"] = like.meta["val"].to(dtype)
        return node

    def _whole_weight(self, node: fx.Node) -> None:
        """Have an operator read a weight in whole numbers."""
        weight = node.args[1]
        if not isinstance(weight, fx.Node):
            return
        spec = next(s for s in self._specs if s.arg.name == weight.name)
        held = self._held(spec)
        most = NARROW_MOST if kind(node) in self._target.narrow else WEIGHT_MOST
        numbers, scale = whole(held, most, self._least(node), half=self._target.half)
        name = f"{spec.target}{SUFFIX}"
        parts = {
            name: numbers,
            f"{name}_scale": scale,
            f"{name}_zero_point": torch.zeros(len(scale), dtype=torch.int64),
        }
        given = [self._constant(key, value, weight) for key, value in parts.items()]
        with self._graph.inserting_before(node):
            rest = (0, -WEIGHT_MOST, WEIGHT_MOST, torch.int8)
            floats = self._call(DEQUANTIZE_WEIGHT, (*given, *rest), node, weight)
        node.update_arg(1, floats)
        if not weight.users:
            self._graph.erase_node(weight)
            self._specs.remove(spec)
            for table in (self.program.state_dict, self.program.constants):
                table.pop(spec.target, None)

    def _least(self, node: fx.Node) -> Tensor | None:
        """Return the least scales of a weight with which its bias is a whole number of 32 bits.

        What is multiplied with a weight for which that is more than it needs is next to nothing
        beside the bias.
        """
        if self._target.half:  # where biases are floats
            return None
        fed: Any = node.args[0]
        bias: Any = node.args[2] if len(node.args) > 2 else None
        if fed.target is not DEQUANTIZE[0]:
            return None
        least = torch.tensor(_SMALLEST, dtype=torch.float64)
        spec = next((s for s in self._specs if bias is not None and s.arg.name == bias.name), None)
        if spec is not None and spec.kind is not InputKind.USER_INPUT:
            least = (self._held(spec).abs().double() / _LARGEST_SUM).clamp(min=_SMALLEST)
        return (least / float(fed.args[1])).float()

    @property
    def _specs(self) -> list[InputSpec]:
        specs: list[InputSpec] = self.program.graph_signature.input_specs
        return specs

    def _held(self, spec: InputSpec) -> Tensor:
        tables = (self.program.state_dict, self.program.constants)
        found = next(table[spec.target] for table in tables if spec.target in table)
        tensor: Tensor = found.detach()
        return tensor

    def _constant(self, name: str, value: Tensor, beside: fx.Node) -> fx.Node:
        """Return a node that stands for a tensor which the program holds."""
        if name in self.program.state_dict:
            known = {str(s.target): s.arg.name for s in self._specs}
            found: fx.Node = next(n for n in self._graph.nodes if n.name == known[name])
            return found
        label = "b_" + re.sub(r"\W", "_", name, flags=re.ASCII)
        with self._graph.inserting_before(beside):
            node: fx.Node = self._graph.placeholder(label)
        node.target = node.name  # what another weight is called too was made unique
        node.meta["val"] = _fake(beside, tuple(value.shape), value.dtype)
        self.program.state_dict[name] = value
        at = next(i for i, s in enumerate(self._specs) if s.arg.name == beside.name)
        argument = TensorArgument(name=node.name)
        self._specs.insert(at, InputSpec(InputKind.BUFFER, argument, name, persistent=True))
        return node


def _operator_of(node: fx.Node) -> fx.Node:
    """Return the operator that a result is of: of a clamp, the one that it goes with."""
    for given in node.all_input_nodes:
        if result_of(given) is node:
            return given
    return node


def whole(
    weight: Tensor,
    most: int = WEIGHT_MOST,
    least: Tensor | None = None,
    *,
    half: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return a weight in whole numbers of 8 bits, and the scale of each output channel.

    Symmetric: the largest number of a channel becomes `most`. A channel of zeros has a scale like
    the others.

    Args:
        weight: output channels first.
        most: see above.
        least: scale of each channel, at least; None for any.
        half: scales are numbers of half precision.
    """
    largest = weight.abs().flatten(1).amax(1)
    usual = largest.amax() if largest.any() else torch.ones(())
    scale = torch.where(largest > 0, largest, usual) / most
    scale = torch.maximum(scale, least if least is not None else scale).clamp(min=_SMALLEST)
    if half:
        limits = torch.finfo(torch.half)
        scale = scale.clamp(limits.smallest_normal, limits.max).half().float()
    by_channel = scale.reshape(-1, *(1,) * (weight.dim() - 1))
    numbers = (weight / by_channel).round().clamp(-most, most)
    return numbers.to(torch.int8).contiguous(), scale


def quantised(nodes: Iterable[fx.Node]) -> bool:
    """Say whether a program has whole numbers in it."""
    return any(node.target in QUANTIZE for node in nodes)


def _fake(like: fx.Node, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return a tensor without numbers, of the mode of the program's others."""
    mode = like.meta["val"].fake_mode
    with mode:
        return torch.empty(shape, dtype=dtype)
