"""Network → ML program, and which operator of it came from which module."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import coremltools as ct
import numpy as np
import torch
from coremltools.converters.mil.mil import Program
from coremltools.converters.mil.mil.passes.pass_pipeline import PassPipelineManager
from coremltools.models.ml_program.experimental.torch import debugging_utils
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import TensorArgument

from mvdeploy import rewritings
from mvdeploy.errors import EngineError
from mvdeploy.formats import Subject, _float32_regions
from mvdeploy.formats.coreml import app_form, full_precision, zero_points
from mvdeploy.records import Operator, Preprocessing, TensorInfo
from mvdeploy.records.artifact import PROBABILITIES

LABEL = "classLabel"
"""Output of a classifier beside its probabilities, named by coremltools."""

_ARRAYS = {"int64": "int32", "int16": "int32", "int8": "int32", "uint8": "int32", "bool": "float32"}
"""What inputs are in Core ML, whose arrays have not all element types; outputs alike, but bool."""

REWRITINGS = ("identities", "resizing")
"""Operators that coremltools has not."""


@dataclasses.dataclass(frozen=True)
class Converted:
    """A converted network.

    Attributes:
        model: not loaded; it can be saved.
        operators: all but constants, in order, keyed by the name of their first output.
        inputs: of the program.
        outputs: of the program.
    """

    model: ct.models.MLModel
    operators: tuple[Operator, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


def convert(
    subject: Subject,
    *,
    target: str,
    precision: str,
    image: Preprocessing | None = None,
    labels: tuple[str, ...] = (),
) -> Converted:
    """Convert a network.

    Args:
        subject: the network, what it takes and returns.
        target: oldest system, such as ``iOS17``.
        precision: ``fp16`` or ``fp32``; inputs and outputs are float32 in both.
        image: how images are fed as the first input, for a program that takes one; None for one
            that takes a tensor.
        labels: names of the classes, one for each, for a program that returns label and
            probabilities.

    Raises:
        EngineError: an operator cannot be placed.
    """
    network = whole(subject) if subject.quantiser is not None else traced(subject)
    program = _agreeing(app_form.of(network, image, classify=bool(labels)))
    results = [node.meta["val"] for node in program.graph.output_node().args[0]]
    shapes = [tuple(value.shape) for value in results]
    first, *others = zip(subject.inputs, subject.examples, strict=True)
    with _own_garbage(), _checked_once():
        model, mapping = debugging_utils.convert_and_retrieve_op_mapping(
            program,
            inputs=[_input(*first, image), *(_input(*other, None) for other in others)],
            # A classifier names its outputs itself.
            outputs=None if labels else [_output(tensor) for tensor in subject.outputs],
            classifier_config=ct.ClassifierConfig(list(labels)) if labels else None,
            minimum_deployment_target=getattr(ct.target, target),
            compute_precision=_computed(precision, program),
            pass_pipeline=zero_points.pipeline() if subject.quantiser is not None else None,
            skip_model_load=True,
        )
    inputs = [dataclasses.replace(t, dtype=_ARRAYS.get(t.dtype, t.dtype)) for t in subject.inputs]
    if image is not None:
        inputs[0] = dataclasses.replace(inputs[0], dtype="uint8")
    outputs = [
        dataclasses.replace(tensor, shape=shape, dtype=_returned(tensor))
        for tensor, shape in zip(subject.outputs, shapes, strict=True)
    ]
    return Converted(
        model,
        tuple(_operators(model, mapping)),
        tuple(inputs),
        _classified(shapes[0]) if labels else tuple(outputs),
    )


def traced(subject: Subject) -> ExportedProgram:
    """Trace a network, and write it with operators that coremltools has."""
    program = torch.export.export(subject.network, subject.examples)
    _float32_regions.mark(program)
    program = subject.rewrite(subject.alter.traced(program))
    return rewritings.apply(program, REWRITINGS)


def whole(subject: Subject) -> ExportedProgram:
    """Return the network in whole numbers; keep what PyTorch runs of it."""
    floats = traced(subject)
    program = subject.quantise(floats)
    if subject.quantiser is not None:
        subject.quantiser.emulate(floats, program, full_precision.halved)
    return program


def _agreeing(program: ExportedProgram) -> ExportedProgram:
    """Have a program call its inputs as their nodes are; copies rename some, as one 'input'."""
    nodes = program.graph.find_nodes(op="placeholder")
    for spec, node in zip(program.graph_signature.input_specs, nodes, strict=True):
        spec.arg = TensorArgument(name=node.name)
    return program


@contextmanager
def _own_garbage() -> Iterator[None]:
    """Leave what is there out of the collections that coremltools asks for after each conversion.

    They would look at everything that torch and the other exporters have made until then.
    """
    kept = gc.get_freeze_count()
    gc.freeze()
    try:
        yield
    finally:
        if not kept:  # else somebody else has frozen what is theirs
            gc.unfreeze()


@contextmanager
def _checked_once() -> Iterator[None]:
    """Have coremltools check a program after its passes, not also after each, and print none.

    That is an eighth of a conversion. Names of modules are checked where they are read.
    """
    apply = PassPipelineManager.apply_pipeline

    def applied(program: Program, pipeline: Any) -> None:
        with (
            mock.patch.object(Program, "validate"),
            mock.patch.object(Program, "__str__", lambda _: ""),
        ):
            apply(program, pipeline)
        program.validate()

    with mock.patch.object(PassPipelineManager, "apply_pipeline", staticmethod(applied)):
        yield


def _computed(precision: str, program: ExportedProgram) -> Any:
    if precision == "fp32":
        return ct.precision.FLOAT32
    return ct.transform.FP16ComputePrecision(full_precision.selector(program))


def _input(
    tensor: TensorInfo, example: Tensor, image: Preprocessing | None
) -> ct.TensorType | ct.ImageType:
    if image is None:
        dtype = np.dtype(_ARRAYS.get(tensor.dtype, tensor.dtype)).type
        return ct.TensorType(name=tensor.name, shape=example.shape, dtype=dtype)
    # Core ML computes scale · pixel + bias; what is left of the division is in the program.
    std = 1.0 if app_form.divides(image) else image.std[0]
    return ct.ImageType(
        name=tensor.name,
        shape=example.shape,
        scale=image.scale / std,
        bias=[-mean / std for mean in image.mean],
        color_layout=getattr(ct.colorlayout, image.channel_order),
    )


def _output(tensor: TensorInfo) -> ct.TensorType:
    return ct.TensorType(name=tensor.name, dtype=np.dtype(_returned(tensor)).type)


def _returned(tensor: TensorInfo) -> str:
    return tensor.dtype if tensor.dtype == "bool" else _ARRAYS.get(tensor.dtype, tensor.dtype)


def _classified(shape: tuple[int, ...]) -> tuple[TensorInfo, ...]:
    return (TensorInfo(PROBABILITIES, shape[1:], "float32"), TensorInfo(LABEL, (), "string"))


def _operators(model: ct.models.MLModel, mapping: Any) -> Iterator[Operator]:
    """List the operators with the modules whose code made them.

    What coremltools adds, such as changes of precision, counts with the operator it is for: the
    first that reads it, or the one that made what it reads.
    """
    operators = [op for op in _program(model) if op.type != "const"]
    modules = {op.outputs[0].name: _module(mapping, op.outputs[0].name) for op in operators}
    reads = {op.outputs[0].name: _reads(op) for op in operators}
    readers: dict[str, str] = {}
    for name, inputs in reads.items():
        for tensor in inputs:
            readers.setdefault(tensor, name)
    for op in operators:
        name = op.outputs[0].name
        module = modules[name]
        if module is None:
            module = _neighbour(name, modules, reads, readers)
        yield Operator(name, op.type, module, reads[name], tuple(o.name for o in op.outputs))


def _program(model: ct.models.MLModel) -> list[Any]:
    function = model.get_spec().mlProgram.functions["main"]
    return list(function.block_specializations[function.opset].operations)


def _reads(op: Any) -> tuple[str, ...]:
    bound = (b for key in sorted(op.inputs) for b in op.inputs[key].arguments)
    return tuple(dict.fromkeys(b.name for b in bound if b.name))


def _module(mapping: Any, output: str) -> str | None:
    """Return the module that a tensor came from; None for one that coremltools added."""
    node = mapping.get_source_nodes_for_output_name(output)
    stack = list(node.meta.get("nn_module_stack", {}).values()) if node is not None else []
    if not stack:
        return None
    return str(stack[-1][0])


def _neighbour(
    name: str,
    modules: Mapping[str, str | None],
    reads: Mapping[str, tuple[str, ...]],
    readers: Mapping[str, str],
) -> str:
    after: str | None = readers.get(name)
    while after is not None:
        module = modules[after]
        if module is not None:
            return module
        after = readers.get(after)
    for before in reads[name]:
        module = modules.get(before)
        if module is not None:
            return module
    raise EngineError(
        f"coremltools does not say which module the operator '{name}' came from.",
        "Report the network that shows it, with the version of coremltools.",
    )
