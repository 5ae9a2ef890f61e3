"""A network in double precision: what it computes but for rounding.

Results in single precision differ from each other by what rounding costs the network, which depends
on its depth and weights. Against double precision each of them can be measured.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mvdeploy.precisions._dispatch import dispatching

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn

    from mvdeploy.verify.inputs import Feed


def doubled(network: nn.Module) -> nn.Module:
    """Return a copy of a network, its parameters and buffers of floats in double precision."""
    return copy.deepcopy(network).double()


def double(value: Any) -> Any:
    """Return a tensor or element type of single precision in double; anything else as it is."""
    import torch

    if value is torch.float32:
        return torch.float64
    if isinstance(value, torch.Tensor) and value.dtype is torch.float32:
        return value.double()
    return value


def run(network: nn.Module, *inputs: Tensor) -> Any:
    """Run a network that is `doubled`, without gradients."""
    import torch

    with torch.inference_mode(), doubles():
        return network(*inputs)


def widened(feed: Feed) -> dict[str, npt.NDArray[Any]]:
    """Return inputs of single precision in double; others as they are."""
    return {n: x.astype("float64") if x.dtype == "float32" else x for n, x in feed.items()}


@contextmanager
def doubles() -> Iterator[None]:
    """Compute in double precision whatever would be in single, while it is entered.

    That is also what a network's code makes itself: constants, and casts such as ``.float()``.
    """
    import torch
    from torch.utils._pytree import tree_map

    def compute(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # What works in place has to find the tensor itself.
        if not operator._schema.is_mutable:
            args, kwargs = tree_map(double, (args, kwargs))
        return operator(*args, **kwargs)

    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with dispatching(compute):
            yield
    finally:
        torch.set_default_dtype(usual)
