"""What keeps operators of a Core ML program off the Neural Engine, read from the package alone.

The rules are predictions: on a device the compute plan tells what really runs where. They follow
Apple's "Deploying Transformers on the Apple Neural Engine" (tensors of four dimensions with the
channels first, 1x1 convolutions instead of linear layers, few changes of layout) and what
coremltools documents of its operators.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

from mvdeploy.records import Artifact, PlacementRisk
from mvdeploy.verify.mil import Operation

MAX_RANK = 4
"""Dimensions that the Neural Engine works on."""

_RESIZES = (
    "upsample_bilinear",
    "upsample_nearest_neighbor",
    "resize_bilinear",
    "resize",
    "resample",
)
_LAYOUT = ("reshape", "squeeze", "expand_dims", "split", "concat", "cast", "mul", "slice_by_index")
"""Operators between a transpose and the matrix product that it is for."""


@dataclasses.dataclass(frozen=True)
class _Context:
    """What rules know beside an operator."""

    readers: Mapping[str, Sequence[Operation]]
    makers: Mapping[str, Operation]


Rule = Callable[[Operation, _Context], str]
"""Returns what is wrong with an operator, or an empty string."""


def _rank(op: Operation, context: _Context) -> str:
    rank = max((len(out.shape) for out in op.outputs), default=0)
    return f"{rank} dimensions" if rank > MAX_RANK else ""


def _transpose(op: Operation, context: _Context) -> str:
    if op.type != "transpose":
        return ""
    near = _after(op, context) or _before(op, context)
    return "around a matrix product" if near else ""


def _linear(op: Operation, context: _Context) -> str:
    if op.type != "linear" or len(op.outputs[0].shape) < 3:
        return ""  # on a vector there is nothing to lay out
    return f"on {len(op.outputs[0].shape)} dimensions with the channels last"


def _resize(op: Operation, context: _Context) -> str:
    return op.type if op.type in _RESIZES else ""


def _dynamic(op: Operation, context: _Context) -> str:
    free = any(size is None for out in op.outputs for size in out.shape)
    return "a shape that is not fixed" if free else ""


def _float32(op: Operation, context: _Context) -> str:
    if op.type in ("cast", "classify") or not any(out.dtype == "fp32" for out in op.outputs):
        return ""
    images = any(name.name not in context.makers for name in op.inputs)
    return "" if images and op.type in ("mul", "add") else "computes in float32"


_RULES: dict[str, tuple[Rule, str]] = {
    "rank": (_rank, "Use --formulation channels_first, which has four dimensions at most."),
    "transpose": (_transpose, "Use --formulation channels_first, which needs next to none."),
    "linear": (_linear, "Use --formulation channels_first, which has 1x1 convolutions instead."),
    "resize": (
        _resize,
        "Choose patches that divide the maps, such as 2,2,2 or 8,4,2; a head's own has to stay.",
    ),
    "dynamic_shape": (_dynamic, "Export with a fixed batch and image size."),
    "float32": (
        _float32,
        "Use --precision fp16: the Neural Engine computes in nothing else.",
    ),
}


def remedy(rule: str) -> str:
    """Return what to change for a rule of a `PlacementRisk`."""
    return _RULES[rule][1]


def lint(operations: Sequence[Operation], artifact: Artifact) -> tuple[PlacementRisk, ...]:
    """List what may keep operators off the Neural Engine, by rule and module.

    Args:
        operations: of the package, as `mvdeploy.verify.mil.operations` lists them.
        artifact: its manifest, which knows the module of each.
    """
    modules = {op.outputs[0]: op.module for op in artifact.operators}
    context = _context(operations)
    operator_names: dict[tuple[str, str, str], list[str]] = {}
    for rule, (judge, _) in _RULES.items():
        for op in operations:
            wrong = judge(op, context)
            if wrong:
                name = op.outputs[0].name
                operator_names.setdefault((rule, modules.get(name, ""), wrong), []).append(name)
    return tuple(PlacementRisk(*key, tuple(names)) for key, names in operator_names.items())


def _context(operations: Sequence[Operation]) -> _Context:
    readers: dict[str, list[Operation]] = {}
    for op in operations:
        for value in op.inputs:
            readers.setdefault(value.name, []).append(op)
    return _Context(readers, {out.name: op for op in operations for out in op.outputs})


def _after(op: Operation, context: _Context) -> bool:
    """Whether a matrix product reads what becomes of an operator's output."""
    return any(
        _is_product(reader) or (reader.type in _LAYOUT and _after(reader, context))
        for out in op.outputs
        for reader in context.readers.get(out.name, ())
    )


def _before(op: Operation, context: _Context) -> bool:
    """Whether an operator's input comes from a matrix product."""
    return any(
        _is_product(m) or (m.type in _LAYOUT and _before(m, context)) for m in _made(op, context)
    )


def _made(op: Operation, context: _Context) -> Iterator[Operation]:
    return (context.makers[v.name] for v in op.inputs if v.name in context.makers)


def _is_product(op: Operation) -> bool:
    return op.type in ("matmul", "einsum", "scaled_dot_product_attention")
