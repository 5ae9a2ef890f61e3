"""Programs in whole numbers, as LiteRT's converter and its files have them.

Of scales that are chosen beforehand, the converter makes kernels in whole numbers of pairs of
quantize and dequantize. It knows these by what quantises alone; weights it takes as floats that are
quantised. Of scales that are found in an inference it would have convolutions too: linear layers
are given whole weights in the finished file.
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from mvdeploy.formats.litert import schema
from mvdeploy.quantization import rewriting

_ATEN, _Q = torch.ops.aten, torch.ops.quantized_decomposed

_VERSION = 12
"""Of the operator FULLY_CONNECTED, with a scale for each output channel."""

Weights = dict[str, tuple[Tensor, Tensor]]
"""Whole numbers and scales of a weight, by the name of the operator that has it."""


def lowerable(program: ExportedProgram) -> ExportedProgram:
    """Return a program with whole numbers in the form that the converter takes.

    Args:
        program: with pairs of quantize and dequantize; stays as it is.
    """
    program = copy.deepcopy(program)
    nodes = list(program.graph.nodes)
    for node in nodes:
        if node.target is rewriting.DEQUANTIZE_WEIGHT:
            _quantised_from_floats(program, node)
        elif node.target is rewriting.DEQUANTIZE[0]:
            _read_as_written(node)
        elif node.target in rewriting.DEQUANTIZE[1:]:
            node.replace_all_uses_with(node.args[0].args[0])
    if any(node.target is rewriting.QUANTIZE[0] for node in nodes):
        _keep_apart(program)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program


def found_weights(program: ExportedProgram) -> Weights:
    """Return the weights of a program whose scales are found in every inference."""
    if not any(node.target in rewriting.QUANTIZE[1:] for node in program.graph.nodes):
        return {}
    weights = {}
    for node in program.graph.nodes:
        if node.target is rewriting.DEQUANTIZE_WEIGHT:
            (reader,) = node.users
            weights[reader.name] = (_held(program, node.args[0]), _held(program, node.args[1]))
    return weights


def set_weights(model: Any, graph: Any, found: list[str], weights: Weights) -> None:
    """Have linear layers of a file read whole weights, and quantise what they are fed.

    The converter has most weights as floats, and some as whole numbers that are made floats first.

    Args:
        model: the file.
        graph: of it.
        found: which operator of the network each operator is of; changes with the operators.
        weights: by that.
    """
    making = {made: op for op in graph.operators for made in op.outputs}
    linear = [
        (operator, name)
        for operator, name in zip(graph.operators, found, strict=True)
        if name in weights and schema.kind(model, operator) == "FULLY_CONNECTED"
    ]
    whole: dict[int, int] = {}
    for operator, name in linear:
        held = operator.inputs[1]
        floats = schema.constant(model, graph.tensors[held])
        if held in making and schema.kind(model, making[held]) == "DEQUANTIZE":
            whole[held] = making[held].inputs[0]
        elif floats is not None and held not in whole:
            numbers, scale = weights[name]
            if not np.array_equal(floats, (numbers * scale[:, None]).numpy()):
                # The converter has put something into it.
                numbers, scale = rewriting.whole(torch.from_numpy(floats.copy()))
            whole[held] = schema.add_whole(model, held, numbers.numpy(), scale.numpy())
        if held not in whole:
            continue
        operator.inputs = [operator.inputs[0], whole[held], *operator.inputs[2:]]
        operator.builtinOptions.asymmetricQuantizeInputs = True
        code = model.operatorCodes[operator.opcodeIndex]
        code.version = max(code.version, _VERSION)
    read = {*graph.outputs, *(tensor for op in graph.operators for tensor in op.inputs)}
    used = [bool({*op.outputs} & read or {*op.outputs} - whole.keys()) for op in graph.operators]
    graph.operators = list(itertools.compress(graph.operators, used))
    found[:] = itertools.compress(found, used)


def _quantised_from_floats(program: ExportedProgram, node: fx.Node) -> None:
    """Have a weight in whole numbers held as floats that are quantised with its scales."""
    held, scale, zero, *rest = node.args
    numbers = _held(program, held)
    if numbers.dtype is torch.int8:  # else another operator has it too
        by_channel = _held(program, scale).reshape(-1, *(1,) * (numbers.dim() - 1))
        spec = _spec(program, held)
        program.state_dict[str(spec.target)] = numbers * by_channel
        held.meta["val"] = held.meta["val"].float()  # type: ignore[union-attr]
    with node.graph.inserting_before(node):
        given = (held, scale, zero, *rest)
        quantised = node.graph.call_function(_Q.quantize_per_channel.default, given)
    quantised.meta = {**node.meta, "val": node.meta["val"].to(torch.int8)}
    node.args = (quantised, scale, zero, *rest)


def _read_as_written(node: fx.Node) -> None:
    """Write out what it means that a tensor is read with another scale than it was written with."""
    written: Any = node.args[0]
    scale, zero = written.args[1:3]
    other, moved = node.args[1:3]
    if (scale, zero) == (other, moved):
        return
    node.update_arg(1, scale)
    node.update_arg(2, zero)
    graph = node.graph
    with graph.inserting_after(node):
        scaled = graph.call_function(_ATEN.mul.Tensor, (node, other / scale))
    with graph.inserting_after(scaled):
        shifted = graph.call_function(_ATEN.add.Tensor, (scaled, (zero - moved) * other))
    scaled.meta, shifted.meta = dict(node.meta), dict(node.meta)
    node.replace_all_uses_with(shifted, lambda user: user is not scaled)


def _keep_apart(program: ExportedProgram) -> None:
    """Join what is computed with zeros, and add the constants that it was joined with.

    The converter would have constants in whole numbers with the scale of the others, and cut off
    what that does not reach (litert-converter 0.5.0, a class token). A zero is one in every scale.
    """
    graph = program.graph
    moving: set[fx.Node] = set()
    inputs = set(program.graph_signature.user_inputs)
    for node in list(graph.nodes):
        if node.name in inputs or moving.intersection(node.all_input_nodes):
            moving.add(node)
        if node.target is not _ATEN.cat.default or node not in moving:
            continue
        joined: Any = node.args[0]
        fixed = {n for n in joined if n not in moving and n.target not in rewriting.DEQUANTIZE}
        if not fixed:
            continue
        with graph.inserting_before(node):
            zeros = {n: graph.call_function(_ATEN.zeros_like.default, (n,)) for n in {*joined}}
            constant = [one if one in fixed else zeros[one] for one in joined]
            shift = graph.call_function(_ATEN.cat.default, (constant, *node.args[1:]))
        with graph.inserting_after(node):
            whole = graph.call_function(_ATEN.add.Tensor, (node, shift))
        node.update_arg(0, [zeros[one] if one in fixed else one for one in joined])
        node.replace_all_uses_with(whole, lambda user, made=whole: user is not made)
        for made in (*zeros.values(), shift, whole):
            made.meta = dict(node.meta)
        moving.add(whole)


def _spec(program: ExportedProgram, node: Any) -> Any:
    return next(s for s in program.graph_signature.input_specs if s.arg.name == node.name)


def _held(program: ExportedProgram, node: Any) -> Tensor:
    tensor: Tensor = program.state_dict[str(_spec(program, node).target)]
    return tensor.detach()
