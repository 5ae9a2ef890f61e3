"""What half precision costs a network, whatever runs it.

A program in float16 differs from its network by rounding, and how much that comes to depends on the
weights: every layer passes on the errors of those before it. Measured in PyTorch, it tells rounding
from faults.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

Array = npt.NDArray[np.float32]


class _Halves(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Round what every operator makes to half precision."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return tree_map_only(Tensor, _rounded, func(*args, **(kwargs or {})))


def _rounded(tensor: Tensor) -> Tensor:
    return tensor.half().float() if tensor.dtype is torch.float32 else tensor


def run(network: nn.Module, images: Mapping[str, Array]) -> dict[str, Array]:
    """Return a network's outputs with weights and every operator's result rounded to half.

    Args:
        network: in eval mode, float32; it is left as it is.
        images: inputs by name.
    """
    halved = copy.deepcopy(network)
    with torch.inference_mode():
        for parameter in (*halved.parameters(), *halved.buffers()):
            parameter.data = _rounded(parameter.data)
        outputs = {}
        for name, image in images.items():
            with _Halves():  # type: ignore[no-untyped-call]
                outputs[name] = halved(torch.from_numpy(image)).numpy()
    return outputs
