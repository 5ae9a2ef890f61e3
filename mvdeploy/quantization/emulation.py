"""What a program with whole numbers computes, in PyTorch; also where only some of it is rounded."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.utils._pytree import tree_map_only

from mvdeploy.quantization.places import MOVES, module_of, result_of
from mvdeploy.quantization.rewriting import DEQUANTIZE, DEQUANTIZE_WEIGHT, QUANTIZE, SUFFIX
from mvdeploy.quantization.running import arguments

FOUND = DEQUANTIZE[1:]
"""Makes floats of numbers whose scale is found in the inference."""

Rounds = Callable[[str], bool]
"""Path of a module → whether its numbers are whole ones."""

Halved = Callable[[fx.Node], bool]
"""Says whether an operator's result is rounded to half precision."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A tensor of floats that a program has, whatever an engine makes of it.

    Attributes:
        tensor: its name.
        module: path of the module that makes it.
        quantised: it was whole numbers before.
        shape: its dimensions.
        numbers: name of the whole numbers that it is made of; empty where it is not.
        scale: of these.
        zero_point: of these.
    """

    tensor: str
    module: str
    quantised: bool
    shape: tuple[int, ...]
    numbers: str = ""
    scale: float = 1.0
    zero_point: int = 0


@dataclasses.dataclass(frozen=True)
class _Role:
    """What a node that rounds is for.

    Attributes:
        serves: modules for which it rounds.
        twin: name under which its result is compared.
        weight: that it makes floats of, by its name before; empty for other tensors.
        floats: what it makes of it.
    """

    serves: frozenset[str]
    twin: str
    weight: str = ""
    floats: Tensor | None = None


class Emulation:
    """A program with whole numbers that PyTorch runs.

    Args:
        program: with pairs of quantize and dequantize.
        weights: those of the network by name, as they were before.
        halved: see above; None where floats are in single precision.
    """

    def __init__(
        self,
        program: ExportedProgram,
        weights: Mapping[str, Tensor],
        halved: Halved | None = None,
    ) -> None:
        self.program = program
        self._weights = weights
        self._halved = halved
        self._graph = program.graph_module

    @functools.cached_property
    def modules(self) -> tuple[str, ...]:
        """Paths of the modules that compute in whole numbers, in the order they run."""
        kinds = (*QUANTIZE, DEQUANTIZE_WEIGHT)
        rounded = (n for n in self._graph.graph.nodes if n.target in kinds)
        return tuple(dict.fromkeys(map(module_of, rounded)))

    @property
    def returned(self) -> tuple[str, ...]:
        """Names of the tensors that the program returns, in order."""
        (given,) = self._graph.graph.output_node().args
        return tuple(self._twin(node) for node in given)

    def constants(self) -> dict[str, Tensor]:
        """Return the weights and biases that are held in whole numbers, by their names before.

        Biases have 32 bits, and the scale of the products that they are added to. In half precision
        they are floats, and weights are what their whole numbers stand for.
        """
        if self._halved is not None:
            return {r.weight: r.floats.half() for r in self._roles.values() if r.floats is not None}
        found: dict[str, Tensor] = {}
        held = self._held
        for node in self._graph.graph.nodes:
            if node.target is not DEQUANTIZE_WEIGHT:
                continue
            weight = self._weight_of(node)
            found[weight] = held[weight + SUFFIX]
            (reader,) = node.users
            fed = reader.args[0]
            bias = reader.args[2] if len(reader.args) > 2 else None
            if isinstance(bias, fx.Node) and fed.target is DEQUANTIZE[0]:
                name = self._held_as(bias)
                scale = held[f"{weight}{SUFFIX}_scale"].double() * fed.args[1]
                found[name] = (held[name].double() / scale).round().to(torch.int32)
        return found

    def checkpoints(self) -> Iterator[Checkpoint]:
        """Yield the tensors that can be compared, in the order they are computed.

        coremltools, whose programs are in half precision, merges what moves numbers and gives such
        names to other tensors.
        """
        for node in self._graph.graph.nodes:
            if node.op != "call_function" or not _is_float(node):
                continue
            if self.halves and node.target in MOVES:
                continue
            if node.target in FOUND:
                continue  # the operator that reads it has it in whole numbers only
            if node.target in DEQUANTIZE:
                numbers = node.args[0]
                if next(n for n in numbers.users if n.target in DEQUANTIZE) is node:
                    yield _checkpoint(node, numbers, quantised=True)
            elif node.target is not DEQUANTIZE_WEIGHT and _leaves(node):
                yield _checkpoint(node, node, quantised=False)

    def outputs(
        self, inputs: tuple[Tensor, ...], rounds: Rounds | None = None
    ) -> tuple[Tensor, ...]:
        """Return what the program returns.

        Args:
            inputs: of the network, in order.
            rounds: which modules' numbers are whole ones; None for all.
        """
        return self._run(inputs, rounds)[0]

    def forced(
        self,
        inputs: tuple[Tensor, ...],
        taken: Mapping[str, Tensor],
        rounds: Rounds | None = None,
        *,
        exact: bool = False,
    ) -> dict[str, Tensor]:
        """Return what tensors are, each computed from others that were given.

        Args:
            inputs: of the network, in order.
            taken: tensors by name. What comes after them is computed from these.
            rounds: see `outputs`.
            exact: floats are in single precision, whatever the program has.
        """
        return self._run(inputs, rounds, taken, exact)[1]

    @property
    def halves(self) -> bool:
        """Whether floats are in half precision."""
        return self._halved is not None

    def stored(self, weight: Tensor, axis: int) -> Tensor:
        """Return a weight that is no whole numbers as the program holds it."""
        return weight.half() if self.halves else weight

    # A tensor is rounded where it is quantised; to dequantise it changes nothing more.
    def _run(
        self,
        inputs: tuple[Tensor, ...],
        rounds: Rounds | None,
        taken: Mapping[str, Tensor] | None = None,
        exact: bool = False,
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        seen: dict[str, Tensor] = {}
        given, roles, weights = taken or {}, self._roles, self._weights
        halved = None if exact else self._halved

        class Emulating(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                role = roles.get(n)
                value = super().run_node(n) if role is None else self._rounded(n, role)
                if halved is not None and halved(n):
                    value = tree_map_only(Tensor, _through_half, value)
                if given and isinstance(value, Tensor):
                    if n.name in given:
                        seen[n.name] = value.detach()  # it may be a weight, seen otherwise
                    other = given.get(role.twin if role is not None else n.name)
                    return value if other is None else _laid_out_as(value, other)
                return value

            def _rounded(self, n: fx.Node, role: _Role) -> Any:
                whole = rounds is None or any(map(rounds, role.serves))
                if role.weight:
                    return role.floats if whole else weights[role.weight]
                args, _ = self.fetch_args_kwargs_from_env(n)
                if n.target in DEQUANTIZE or not whole:
                    return args[0]  # they are floats all the time
                value, scale, zero, least, most, _ = args
                if n.target is QUANTIZE[2]:
                    scale = scale.float()  # of each row
                    return ((value / scale + zero).round().clamp(least, most) - zero) * scale
                return torch.fake_quantize_per_tensor_affine(
                    value, float(scale), int(zero), least, most
                )

        with torch.inference_mode():
            returned = Emulating(self._graph).run(*arguments(self.program, inputs))
        return tuple(returned), seen

    @functools.cached_property
    def _roles(self) -> dict[fx.Node, _Role]:
        """What the nodes are for that round."""
        roles = {}
        for node in filter(_is_rounding, self._graph.graph.nodes):
            serves = _served(node).intersection(self.modules)
            if node.target is not DEQUANTIZE_WEIGHT:
                roles[node] = _Role(serves, self._twin(node))
                continue
            name = self._weight_of(node)
            numbers = self._held[name + SUFFIX]
            scale = self._held[f"{name}{SUFFIX}_scale"]
            floats = numbers * scale.reshape(-1, *(1,) * (numbers.dim() - 1))
            roles[node] = _Role(serves, node.name, name, floats)
        return roles

    @functools.cached_property
    def _held(self) -> dict[str, Tensor]:
        return weights_of(self.program)

    def _twin(self, node: fx.Node) -> str:
        """Return the name under which a tensor is compared: other readers have copies of it."""
        if node.target not in DEQUANTIZE:
            return node.name
        readers = node.args[0].users  # type: ignore[union-attr]
        return next(n.name for n in readers if n.target in DEQUANTIZE)

    def _weight_of(self, node: fx.Node) -> str:
        """Return the name of the weight that a node makes floats of."""
        return self._held_as(node.args[0]).removesuffix(SUFFIX)  # type: ignore[arg-type]

    def _held_as(self, node: fx.Node) -> str:
        """Return the name of the tensor that a node stands for."""
        specs = self.program.graph_signature.input_specs
        return next(str(spec.target) for spec in specs if spec.arg.name == node.name)


def _checkpoint(node: fx.Node, made: Any, *, quantised: bool) -> Checkpoint:
    point = Checkpoint(node.name, module_of(made), quantised, tuple(node.meta["val"].shape))
    if not quantised:
        return point
    _, scale, zero, *_ = node.args
    return dataclasses.replace(point, numbers=made.name, scale=scale, zero_point=zero)  # type: ignore[arg-type]


def weights_of(program: ExportedProgram) -> dict[str, Tensor]:
    """Return the weights that a program holds, by name."""
    held = {**program.constants, **program.state_dict}
    return {name: value.detach() for name, value in held.items() if isinstance(value, Tensor)}


def _laid_out_as(value: Tensor, other: Tensor) -> Tensor:
    """Return a tensor with its numbers where another has them: views after it need that."""
    if value.shape != other.shape or value.stride() == other.stride():
        return other
    return torch.empty_like(value).copy_(other)


def _through_half(tensor: Tensor) -> Tensor:
    return tensor.half().float() if tensor.dtype is torch.float32 else tensor


def alone(modules: Iterable[str]) -> Rounds:
    """Return that some modules' numbers are whole ones, and no others."""
    chosen = frozenset(modules)
    return chosen.__contains__


def _served(node: fx.Node) -> frozenset[str]:
    """Return the modules for which a tensor is rounded: what makes and what reads it."""
    if node.target is DEQUANTIZE_WEIGHT:
        return frozenset((module_of(node),))
    numbers = node.args[0] if node.target in DEQUANTIZE else node
    copies = [user for user in numbers.users if user.target in DEQUANTIZE]  # type: ignore[union-attr]
    readers = {reader for copied in copies for reader in copied.users if _is_whole(reader)}
    return frozenset({module_of(numbers), *map(module_of, readers)})  # type: ignore[arg-type]


def _is_whole(node: fx.Node) -> bool:
    """Say whether an operator is computed in whole numbers."""
    weights = any(given.target is DEQUANTIZE_WEIGHT for given in node.all_input_nodes)
    return weights or any(user.target in QUANTIZE for user in result_of(node).users)


def _is_rounding(node: fx.Node) -> bool:
    return node.target in (*QUANTIZE, *DEQUANTIZE, DEQUANTIZE_WEIGHT)


def _is_quantised(node: fx.Node) -> bool:
    """Say whether a result is quantised, maybe where it was moved to: engines do it before that."""
    moved = (user for user in node.users if user.target in MOVES)
    return any(user.target in QUANTIZE for user in node.users) or any(map(_is_quantised, moved))


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype is torch.float32


def _leaves(node: fx.Node) -> bool:
    """Say whether a result leaves its module, and not only to be moved, clamped or quantised."""
    if _is_quantised(result_of(node)):
        return False
    return any(user.op == "output" or module_of(user) != module_of(node) for user in node.users)
