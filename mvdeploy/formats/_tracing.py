"""What formats that trace with torch.export share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mvdeploy.formats import DYNAMIC, Subject

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def free_batch(subject: Subject) -> tuple[dict[int, Any], ...] | None:
    """Return which dimensions torch.export leaves free: the batch of each input, or none."""
    from torch.export import Dim

    if not subject.dynamic:
        return None
    return tuple({0: Dim(DYNAMIC)} if DYNAMIC in tensor.shape else {} for tensor in subject.inputs)


def trace(subject: Subject) -> ExportedProgram:
    """Trace a network, without the paths of this machine; broken where that is asked for."""
    import torch

    traced = torch.export.export(
        subject.network, subject.examples, dynamic_shapes=free_batch(subject)
    )
    program: ExportedProgram = subject.alter.traced(traced)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program
