"""A traced network as an app wants it: pixels in, and, for a classifier, probabilities out."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument

from mvdeploy.quiet import quiet
from mvdeploy.records import Preprocessing

_STD = "mvdeploy.std"
"""Name of what pixels are divided by; no module's weights have it."""

_OF_THE_NETWORK = {"nn_module_stack": {"": ("", "")}}
"""Says of an operator that it is in no module inside the network."""


def of(program: ExportedProgram, image: Preprocessing | None, classify: bool) -> ExportedProgram:
    """Return a program as an app wants it; the one that is given stays as it is.

    Args:
        program: functional.
        image: how images are fed as the first input; None where it is a tensor.
        classify: it is to return probabilities.
    """
    divide = image is not None and divides(image)
    if not (divide or classify):
        return program
    with quiet():
        program = copy.deepcopy(program)
    if image is not None and divide:
        _divide(program, torch.tensor(image.std).reshape(1, -1, 1, 1))
    if classify:
        _classify(program)
    program.graph.lint()
    program.graph_module.recompile()
    return program


def divides(image: Preprocessing) -> bool:
    """Say whether a program divides its image itself: Core ML does by one number alone."""
    return len(set(image.std)) > 1


def _divide(program: ExportedProgram, std: torch.Tensor) -> None:
    """Have the first input divided."""
    graph, specs = program.graph, program.graph_signature.input_specs
    at = next(i for i, spec in enumerate(specs) if spec.kind is InputKind.USER_INPUT)
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    given = placeholders[at]
    with graph.inserting_before(given):
        held = graph.placeholder("c_std")
    held.target = held.name  # what is called so already has another
    held.meta["val"] = _fake(given, std)
    program.state_dict[_STD] = std
    argument = TensorArgument(name=held.name)
    specs.insert(at, InputSpec(InputKind.BUFFER, argument, _STD, persistent=True))
    with graph.inserting_after(placeholders[-1]):
        divided = graph.call_function(torch.ops.aten.div.Tensor, (given, held))
    divided.meta |= {"val": given.meta["val"], **_OF_THE_NETWORK}
    given.replace_all_uses_with(divided, delete_user_cb=lambda user: user is not divided)


def _fake(like: fx.Node, value: torch.Tensor) -> torch.Tensor:
    with like.meta["val"].fake_mode:
        return torch.empty(value.shape)


def _classify(program: ExportedProgram) -> None:
    """Have the probabilities returned in the place of the first output."""
    end = program.graph.output_node()
    logits, *others = end.args[0]
    with program.graph.inserting_before(end):
        softmax = program.graph.call_function(torch.ops.aten.softmax.int, (logits, -1))
    softmax.meta |= {"val": logits.meta["val"], **_OF_THE_NETWORK}
    end.args = ((softmax, *others),)
    specs = program.graph_signature.output_specs
    specs[0] = dataclasses.replace(specs[0], arg=TensorArgument(name=softmax.name))
