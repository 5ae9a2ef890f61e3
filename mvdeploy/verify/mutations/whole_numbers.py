"""Break the whole numbers of a program on purpose, before a file is made of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from mvdeploy.quantization import rewriting
from mvdeploy.quantization.places import module_of
from mvdeploy.verify.mutations import Alter, Mutant, Subject

_SCALE = 1.1
"""What a scale becomes, as a multiple."""

_STEPS = 3
"""Whole numbers by which a zero point is moved."""


def enlarge_scale(program: ExportedProgram, index: int) -> None:
    """A tensor is read with another scale than it was written with."""
    for copied in _copies(_pairs(program)[index]):
        copied.update_arg(1, _SCALE * float(copied.args[1]))  # type: ignore[arg-type]


def move_zero_point(program: ExportedProgram, index: int) -> None:
    """A tensor is read with another zero point than it was written with."""
    for copied in _copies(_pairs(program)[index]):
        zero = int(copied.args[2])  # type: ignore[arg-type]
        copied.update_arg(2, zero + _STEPS if zero < 100 else zero - _STEPS)


def one_scale(program: ExportedProgram, index: int) -> None:
    """A weight has one scale in the place of one for each channel."""
    numbers, scale = _weight(program, index)
    floats = numbers * _by_channel(scale, numbers)
    scale.fill_(scale.max())
    numbers.copy_((floats / scale.max()).round().to(torch.int8))


def exchange_scales(program: ExportedProgram, index: int) -> None:
    """Two channels of a weight have each other's scale."""
    _, scale = _weight(program, index)
    least, most = int(scale.argmin()), int(scale.argmax())
    scale[[least, most]] = scale[[most, least]]


_OF_TENSORS = {"scale × 1.1": enlarge_scale, "zero point + 3": move_zero_point}
_OF_WEIGHTS = {
    "one scale for all channels": one_scale,
    "scales of channels exchanged": exchange_scales,
}


def names() -> tuple[str, ...]:
    """Return the names of all mutations."""
    return (*_OF_TENSORS, *_OF_WEIGHTS)


def mutants(subject: Subject) -> Iterator[Mutant]:
    """Break whole numbers in the middle of a program; nothing where it has none."""
    if subject.emulation is None:
        return
    program = subject.emulation.program
    places = {
        **{name: list(map(module_of, _pairs(program))) for name in _OF_TENSORS},
        **{name: list(map(module_of, _weights(program))) for name in _OF_WEIGHTS},
    }
    for name, modules in places.items():
        if modules:
            index = len(modules) // 2
            breaks = (_OF_TENSORS | _OF_WEIGHTS)[name]
            alter = Alter(quantised=functools.partial(_broken, breaks=breaks, index=index))
            write = functools.partial(subject.export, alter)
            yield Mutant(name, modules[index], write, alter)


def _broken(
    program: ExportedProgram, breaks: Callable[[ExportedProgram, int], None], index: int
) -> ExportedProgram:
    breaks(program, index)
    program.graph_module.recompile()
    return program


def _pairs(program: ExportedProgram) -> list[fx.Node]:
    """Return what quantises a tensor for one operator, in whose module it stands."""
    return [
        node
        for node in program.graph.nodes
        if node.target is rewriting.QUANTIZE[0]
        and any(module_of(user) == module_of(node) for c in _copies(node) for user in c.users)
    ]


def _copies(node: fx.Node) -> list[fx.Node]:
    return [user for user in node.users if user.target is rewriting.DEQUANTIZE[0]]


def _weights(program: ExportedProgram) -> list[fx.Node]:
    """Return what makes floats of weights with two channels or more that differ."""
    found = [n for n in program.graph.nodes if n.target is rewriting.DEQUANTIZE_WEIGHT]
    return [n for n in found if _scales(program, n).min() < _scales(program, n).max()]


def _weight(program: ExportedProgram, index: int) -> tuple[Tensor, Tensor]:
    node = _weights(program)[index]
    return _held(program, node.args[0]), _scales(program, node)


def _scales(program: ExportedProgram, node: fx.Node) -> Tensor:
    return _held(program, node.args[1])


def _held(program: ExportedProgram, node: object) -> Tensor:
    """Return the tensor that a node stands for."""
    specs = program.graph_signature.input_specs
    name = next(s.target for s in specs if s.arg.name == node.name)  # type: ignore[attr-defined]
    tensor: Tensor = program.state_dict[str(name)]
    return tensor


def _by_channel(scale: Tensor, weight: Tensor) -> Tensor:
    return scale.reshape(-1, *(1,) * (weight.dim() - 1))
