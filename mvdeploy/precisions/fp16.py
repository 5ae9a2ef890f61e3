"""Half precision, and what it costs a network, whatever runs it.

A program in float16 differs from its network by rounding, and how much that comes to depends on the
weights: every layer passes on the errors of those before it. Measured in PyTorch, it tells rounding
from faults.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from mvdeploy.precisions import Precision
from mvdeploy.precisions._dispatch import dispatching

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mvdeploy.precisions import Feeds


def run(network: nn.Module, feeds: Feeds) -> dict[str, Any]:
    """Return a network's results with weights and every operator's result rounded to half.

    Args:
        network: in eval mode, float32; it is left as it is.
        feeds: inputs, each by a name.

    Returns:
        What forward returned for each, with arrays in the place of tensors.
    """
    import torch
    from torch.utils._pytree import tree_map_only

    halved = copy.deepcopy(network)
    results = {}
    with torch.inference_mode():
        for parameter in (*halved.parameters(), *halved.buffers()):
            parameter.data = _rounded(parameter.data)
        for name, feed in feeds.items():
            with _halves():
                result = halved(*map(torch.from_numpy, feed.values()))
            results[name] = tree_map_only(torch.Tensor, lambda tensor: tensor.numpy(), result)
    return results


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
    rounded=run,
    stored=lambda weight: weight.half(),
)
