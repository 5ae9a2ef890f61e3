"""Half precision, and what it costs a network, whatever runs it.

A program in float16 differs from its network by rounding, and how much that comes to depends on the
weights: every layer passes on the errors of those before it. Measured in PyTorch, it tells rounding
from faults. What a network keeps out of PyTorch's mixed precision (``with torch.autocast(...,
enabled=False)``) stays float32 in such programs, and is not rounded here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from mvdeploy.precisions import Precision, channel_axes
from mvdeploy.precisions._dispatch import dispatching
from mvdeploy.precisions._running_sums import running_sums

if TYPE_CHECKING:
    from torch import Tensor, nn


def halved(
    stored: Callable[[Tensor, int], Tensor], dtype: str = "float16", *, sums: bool = False
) -> Callable[[nn.Module], AbstractContextManager[nn.Module]]:
    """Return what gives a copy with weights as stored that rounds every result, while entered.

    Args:
        stored: a weight and the axis of its output channels → the same as it is held, in half.
        dtype: what results are rounded to.
        sums: whether products are added up in it too.
    """

    @contextmanager
    def rounding(network: nn.Module) -> Iterator[nn.Module]:
        import torch

        # Networks keep tensors that they computed from their weights until they are trained.
        copied = copy.deepcopy(network).train().eval()
        with torch.inference_mode():
            axes = channel_axes(copied)
            for name, parameter in copied.named_parameters():
                if parameter.dtype is torch.float32:
                    parameter.data = stored(parameter.data, axes[name]).float()
            for buffer in copied.buffers():
                buffer.data = _rounded(buffer.data, dtype)
            with ExitStack() as stack:
                entered = stack.enter_context(_autocasts())
                stack.enter_context(_halves(entered, dtype))
                if sums:
                    stack.enter_context(running_sums(lambda tensor: _rounded(tensor, dtype)))
                yield copied

    return rounding


@contextmanager
def _autocasts() -> Iterator[list[bool]]:
    """Give the regions of autocast that a network is in, outermost first: whether each enables it.

    PyTorch tells nobody: its own flag reads alike inside a disabled region and outside any.
    """
    import torch

    entered: list[bool] = []
    enter, leave = torch.autocast.__enter__, torch.autocast.__exit__

    def entering(region: torch.autocast) -> Any:
        entered.append(region._enabled)
        return enter(region)  # type: ignore[no-untyped-call]

    def leaving(region: torch.autocast, *error: Any) -> Any:
        entered.pop()
        return leave(region, *error)

    torch.autocast.__enter__, torch.autocast.__exit__ = entering, leaving  # type: ignore[method-assign]
    try:
        yield entered
    finally:
        torch.autocast.__enter__, torch.autocast.__exit__ = enter, leave  # type: ignore[method-assign]


def _halves(entered: list[bool], dtype: str) -> Any:
    """Round what every operator makes, unless autocast is disabled for it."""
    from torch import Tensor
    from torch.utils._pytree import tree_map_only

    def compute(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        made = operator(*args, **kwargs)
        if not all(entered[-1:]):
            return made
        return tree_map_only(Tensor, lambda tensor: _rounded(tensor, dtype), made)

    return dispatching(compute)


def _rounded(tensor: Tensor, dtype: str) -> Tensor:
    import torch

    if tensor.dtype is not torch.float32:
        return tensor
    return tensor.to(getattr(torch, dtype)).float()


def _half(weight: Tensor, axis: int) -> Tensor:
    return weight.half()


rounding = halved(_half)
"""Of half precision itself."""

PRECISION = Precision(
    name="fp16",
    label="fp16",
    title="half precision",
    sure_db=50.0,
    min_snr_db=45.0,
    rounding=rounding,
    summing=halved(_half, sums=True),
    stored=_half,
    halves=True,
    formats=("onnx", "executorch"),
)
