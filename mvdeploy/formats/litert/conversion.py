"""A traced program → a ``.tflite`` file, by the parts of litert-torch.

Its own entry point traces a module again; a program that is traced already, and may be changed
since, is converted by the steps that follow in it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

from torch.export import ExportedProgram

from mvdeploy.errors import EngineError
from mvdeploy.formats.litert import whole_numbers
from mvdeploy.quantization import rewriting
from mvdeploy.quiet import muted
from mvdeploy.records import TensorInfo

_WIDE = ("int64", "float64")
"""Types that become half as wide, unless a program takes or returns them."""

SIGNATURE = "serving_default"
"""What is run when no signature is named."""


@dataclasses.dataclass(frozen=True)
class Node:
    """An operator of a traced program.

    Attributes:
        module: dotted path of the module that it came from.
        type: what it computes, such as ``aten.linear.default``.
    """

    module: str
    type: str


@dataclasses.dataclass(frozen=True)
class Converted:
    """What the converter made of a program.

    Attributes:
        data: the file. Tensors are named after the operators that they were made from: ``a;``, or
            ``a;2``, or ``a;;b;1`` of several.
        nodes: the operators of the program, by name.
        returned: names of those that make what it returns, in order.
    """

    data: bytes
    nodes: dict[str, Node]
    returned: tuple[str, ...]


def convert(
    program: ExportedProgram, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]
) -> Converted:
    """Convert a program.

    Args:
        program: traced, and maybe in whole numbers; floats are changed.
        inputs: of it, in order.
        outputs: of it, in order.

    Raises:
        EngineError: this litert-torch has not what is used of it.
    """
    whole = rewriting.quantised(program.graph.nodes)
    program = whole_numbers.lowerable(program) if whole else program
    nodes = _labelled(program)
    (given,) = program.graph.output_node().args
    returned = tuple(str(node) for node in given)
    with muted(), _sharing_histories():
        parts = _parts()
        program = parts.decompose(program, parts.table(), can_skip=False)
        program = parts.passes(program)
        context = parts.context()
        lowered = parts.lower(
            program, ir_context=context, lowering_context_plugins=[parts.constants()]
        )
        parts.native.set_signature(
            lowered.module.operation,
            signature_name=SIGNATURE,
            input_names=[tensor.name for tensor in inputs],
            output_names=[tensor.name for tensor in outputs],
        )
        wide = any(tensor.dtype in _WIDE for tensor in (*inputs, *outputs))
        data = _serialised(parts, context, lowered, whole=whole, wide=wide)
    return Converted(data, nodes, returned)


def _serialised(parts: Any, context: Any, lowered: Any, *, whole: bool, wide: bool) -> bytes:
    merged = parts.native.merge_modules([lowered.module])
    config = parts.native.ConvertToTFLConfig()
    config.model_origin_framework = "PYTORCH"
    config.unsafe_fuse_dynamic_shaped_broadcast = True
    config.canonicalizing_inf_as_min_max_float = False
    config.enable_x64 = wide
    config.strict_qdq_mode = whole  # else what stands between whole numbers becomes such, too
    config.qdq_conversion_mode = "STATIC" if whole else "NONE"
    with context:
        parts.native.run_convert_to_tfl_passes(merged, parts.manager(), config)
        written: bytes = parts.native.export_flatbuffer_to_bytes(merged.operation)
    return written


def _labelled(program: ExportedProgram) -> dict[str, Node]:
    """Have each operator's name carried through the conversion, in the place of its modules."""
    nodes = {}
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        stack = list(node.meta.get("nn_module_stack", {}).values())
        nodes[node.name] = Node(str(stack[-1][0]) if stack else "", str(node.target))
        node.meta["nn_module_stack"] = {"": ("", node.name)}
    return nodes


@dataclasses.dataclass(frozen=True)
class _Parts:
    """What is used of litert-torch and its converter."""

    decompose: Any
    table: Any
    passes: Any
    context: Any
    constants: Any
    lower: Any
    native: Any
    manager: Any


def _parts() -> _Parts:
    try:
        from litert_converter.mlir import passmanager
        from litert_converter.mlir._mlir_libs import converter_api_ext
        from litert_torch import _config, backend, fx_infra
        from litert_torch._convert import core
        from litert_torch.backend import inline_consts

        _config.config.show_progress = False
        return _Parts(
            decompose=fx_infra.safe_run_decompositions,
            table=fx_infra.decomp.pre_convert_decomp,
            passes=core._run_convert_passes,
            context=backend.export_utils.create_ir_context,
            constants=inline_consts.InlineConstsContext,
            lower=backend.export.exported_program_to_mlir,
            native=converter_api_ext,
            manager=passmanager.PassManager,
        )
    except (ImportError, AttributeError) as error:
        raise EngineError(
            f"This version of litert-torch converts differently ({error}).",
            "Install the version of litert-torch that mvdeploy asks for.",
        ) from error


@contextmanager
def _sharing_histories() -> Iterator[None]:
    """Have torch's passes share what was done to a node before, which they copy for every node.

    Nothing changes such histories, and to copy them takes a tenth of a conversion.
    """
    from torch.fx import traceback

    shared = SimpleNamespace(copy=copy.copy, deepcopy=list)
    with mock.patch.object(traceback, "copy", shared):
        yield
