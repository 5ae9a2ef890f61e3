"""Half precision, and what it costs a network, whatever runs it.

A program in float16 differs from its network by rounding, and how much that comes to depends on the
weights: every layer passes on the errors of those before it. Measured in PyTorch, it tells rounding
from faults.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mvdeploy.precisions import Precision
from mvdeploy.precisions._dispatch import dispatching

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def rounding(network: nn.Module) -> Iterator[nn.Module]:
    """Give a copy with weights in half that rounds every operator's result, while it is entered.

    Args:
        network: in eval mode, float32; it is left as it is.
    """
    import torch

    halved = copy.deepcopy(network)
    with torch.inference_mode():
        for parameter in (*halved.parameters(), *halved.buffers()):
            parameter.data = _rounded(parameter.data)
        with _halves():
            yield halved


def _halves() -> Any:
    """Round what every operator makes to half precision, while it is entered."""
    from torch import Tensor
    from torch.utils._pytree import tree_map_only

    return dispatching(
        lambda operator, args, kwargs: tree_map_only(Tensor, _rounded, operator(*args, **kwargs))
    )


def _rounded(tensor: Tensor) -> Tensor:
    import torch

    return tensor.half().float() if tensor.dtype is torch.float32 else tensor


PRECISION = Precision(
    name="fp16",
    label="fp16",
    title="half precision",
    sure_db=50.0,
    min_snr_db=45.0,
    rounding=rounding,
    stored=lambda weight: weight.half(),
)
