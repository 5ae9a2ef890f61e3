"""Networks as formats are given them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvdeploy.formats import Subject
from mvdeploy.records import Preprocessing, TensorInfo


def subject(
    network: nn.Module,
    example: Tensor,
    facts: dict[str, str],
    preprocessing: Preprocessing | None = None,
) -> Subject:
    """Return a network with one input and one output."""
    with torch.inference_mode():
        shape = tuple(network.eval()(example).shape)
    return Subject(
        network,
        (example,),
        (TensorInfo("image", tuple(example.shape), "float32"),),
        (TensorInfo("logits", shape, "float32"),),
        facts,
        preprocessing,
    )
