"""Products as kernels compute them that add up in the precision itself.

Each product of numbers is added to one running sum, which is rounded every time: XNNPACK does that
in half precision, on processors and phones that have it. Of many numbers it costs far more digits
than rounding the result does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mvdeploy.precisions._dispatch import dispatching

if TYPE_CHECKING:
    from torch import Tensor

    Round = Callable[[Tensor], Tensor]


@contextmanager
def running_sums(rounded: Round) -> Iterator[None]:
    """Have products of single precision running sums, while it is entered.

    Args:
        rounded: rounds a tensor of single precision.
    """
    from torch import ops
    from torch.nn.attention import SDPBackend, sdpa_kernel

    aten = ops.aten
    ways: dict[Any, Callable[..., Tensor | None]] = {
        aten.convolution.default: lambda *args: _convolution(rounded, *args),
        aten.addmm.default: lambda bias, a, b: _product(rounded, a, b, bias),
        aten.mm.default: lambda a, b: _product(rounded, a, b),
        aten.bmm.default: lambda a, b: _product(rounded, a, b),
    }

    def compute(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        way = ways.get(operator)
        made = way(*args) if way is not None and not kwargs else None
        if made is not None:
            return made
        # What is made of others, as a linear layer of a product, is looked into.
        with dispatching(compute):
            made = operator.decompose(*args, **kwargs)
        return operator(*args, **kwargs) if made is NotImplemented else made

    with sdpa_kernel(SDPBackend.MATH), dispatching(compute):
        yield


def _product(rounded: Round, a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a · b (… × M × K and … × K × N) and the bias."""
    import torch

    shape = (*a.shape[:-1], b.shape[-1])
    total = a.new_zeros(shape) if bias is None else bias.expand(shape)
    for k in range(a.shape[-1]):
        total = rounded(torch.addcmul(total, a[..., k : k + 1], b[..., k : k + 1, :]))
    return total


def _convolution(
    rounded: Round,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor | None:
    """Return a convolution of images as a product of their patches; None for others."""
    from torch.nn import functional

    if transposed or x.dim() != 4:
        return None
    images, outputs = x.shape[0], weight.shape[0] // groups
    windows = functional.unfold(
        x, tuple(weight.shape[2:]), tuple(dilation), tuple(padding), tuple(stride)
    )
    windows = windows.reshape(images, groups, weight[0].numel(), -1)
    kernels = weight.reshape(1, groups, outputs, -1).expand(images, -1, -1, -1)
    own = bias.reshape(1, groups, outputs, 1) if bias is not None else None
    size = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(
            x.shape[2:], padding, dilation, weight.shape[2:], stride, strict=True
        )
    ]
    return _product(rounded, kernels, windows, own).reshape(images, -1, *size)
