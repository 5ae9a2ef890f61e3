"""Any tensors: whatever a network returns, compared by its numbers alone.

The task of networks whose outputs are not known to mean anything: maps, boxes, embeddings, several
of them at once. What they return is told by running them, see `ModelSpec.own_outputs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mvdeploy.records import ModelSpec, TensorInfo
from mvdeploy.tasks import Column, Decision

if TYPE_CHECKING:
    from torch import Tensor

    from mvdeploy.tasks import Arrays

TITLE = "tensors"
IMAGE_SIZE = (224, 224)
COLUMNS: tuple[Column, ...] = ()

_UNNAMED = "output"
"""What outputs without names of their own are called, with their number."""


def outputs(spec: ModelSpec) -> tuple[TensorInfo, ...]:
    """Return what the network was seen to return."""
    return spec.own_outputs


def named(result: Any) -> dict[str, Tensor]:
    """Return every tensor of a result by its place in it.

    Returns:
        For ``{"logits": t, "features": (u, v)}``: ``logits``, ``features_0`` and ``features_1``.
        Fields of dataclasses and of named tuples have their names; without names they are
        ``output_0``, ``output_1``. What is no tensor is left out.
    """
    return dict(_tensors(result, ""))


def compare(wanted: Arrays, got: Arrays, rounded: Arrays | None, spec: ModelSpec) -> Decision:
    """Agree: what the numbers say of two results is judged for every task."""
    return Decision(agrees=True)


def _tensors(value: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    import torch

    if isinstance(value, torch.Tensor):
        yield place or f"{_UNNAMED}_0", value
        return
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif dataclasses.is_dataclass(value):
        parts = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = list(zip(value._fields, value, strict=True))
    elif isinstance(value, tuple | list):
        parts = [(i if place else f"{_UNNAMED}_{i}", part) for i, part in enumerate(value)]
    else:
        return
    for name, part in parts:
        yield from _tensors(part, f"{place}_{name}" if place else str(name))
