"""Single precision as engines have it whose kernels add up one number after another.

PyTorch adds up in pairs of blocks and takes a variance from the differences to the mean, which
costs few digits. Many kernels keep one running sum, and take a variance for E[x²] − E[x]². Both are
sound. Of a large flat map the running sum loses four digits more, of thousands of equal numbers all
rounded the same way; see `mvdeploy.verify.parity`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mvdeploy.precisions._dispatch import dispatching

if TYPE_CHECKING:
    from torch import Tensor


_LONG = 2048
"""Products of fewer numbers than this lose little, and are left to PyTorch."""


@contextmanager
def plain_sums() -> Iterator[None]:
    """Compute sums, means, normalisations and long products of single precision so."""
    import torch

    ways = _ways()

    def compute(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        way = ways.get(operator)
        plain = way is not None and args[0].dtype is torch.float32
        result = way(*args, **kwargs) if way is not None and plain else None
        return operator(*args, **kwargs) if result is None else result

    with dispatching(compute):
        yield


def _ways() -> dict[Any, Callable[..., Any]]:
    """Return how operators are computed; what returns None leaves it to PyTorch."""
    from torch import ops

    aten = ops.aten
    return {
        aten.sum.default: lambda x, **_: _sum(x, None, False),
        aten.sum.dim_IntList: lambda x, dims, keep=False, **_: _sum(x, dims, keep),
        aten.mean.default: lambda x, **_: _mean(x, None, False),
        aten.mean.dim: lambda x, dims, keep=False, **_: _mean(x, dims, keep),
        aten.adaptive_avg_pool2d.default: _pool,
        aten._adaptive_avg_pool2d.default: _pool,
        aten.layer_norm.default: _layer_norm,
        aten.native_layer_norm.default: lambda *args: (_layer_norm(*args), None, None),
        aten.group_norm.default: _group_norm,
        aten.native_group_norm.default: _native_group_norm,
        aten.mm.default: _product,
        aten.bmm.default: _product,
        aten.matmul.default: _product,
    }


def _product(x: Tensor, y: Tensor) -> Tensor | None:
    """Multiply matrices, products added to one running sum that is rounded after each."""
    import numpy as np
    import torch

    if x.shape[-1] < _LONG or min(x.dim(), y.dim()) < 2:
        return None
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    total = torch.zeros(*batch, x.shape[-2], y.shape[-1])
    columns, rows = x.double().unbind(-1), y.double().unbind(-2)
    for column, row in zip(columns, rows, strict=True):
        total = torch.addcmul(total.double(), column[..., None], row[..., None, :]).float()
    return total


def _sum(x: Tensor, dims: int | Sequence[int] | None, keep: bool) -> Tensor:
    import numpy as np
    import torch

    chosen = range(x.dim()) if dims is None or dims == [] else _listed(dims)
    places = sorted(dim % x.dim() for dim in chosen)
    left = [dim for dim in range(x.dim()) if dim not in places]
    shape = [x.shape[dim] for dim in left]
    rows = x.permute(*left, *places).reshape(*shape, -1).numpy()
    summed = torch.from_numpy(np.add.accumulate(rows, axis=-1, dtype=np.float32)[..., -1].copy())
    for place in places if keep else ():
        summed = summed.unsqueeze(place)
    return summed


def _listed(dims: int | Sequence[int]) -> Sequence[int]:
    return (dims,) if isinstance(dims, int) else dims


def _mean(x: Tensor, dims: int | Sequence[int] | None, keep: bool) -> Tensor:
    summed = _sum(x, dims, keep)
    return summed * (summed.numel() / x.numel())


def _pool(x: Tensor, size: Sequence[int]) -> Tensor | None:
    return _mean(x, (-2, -1), True) if list(size) == [1, 1] else None


def _normalised(x: Tensor, dims: Sequence[int], eps: float) -> Tensor:
    mean = _mean(x, dims, True)
    variance = (_mean(x * x, dims, True) - mean * mean).clamp_min(0)
    return (x - mean) / (variance + eps).sqrt()


def _layer_norm(
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    _: bool = True,
) -> Tensor:
    result = _normalised(x, range(-len(shape), 0), eps)
    result = result * weight if weight is not None else result
    return result + bias if bias is not None else result


def _group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    _: bool = True,
) -> Tensor:
    result = _normalised(x.reshape(x.shape[0], groups, -1), (-1,), eps).reshape(x.shape)
    along = (1, -1, *(1 for _ in x.shape[2:]))
    result = result * weight.reshape(along) if weight is not None else result
    return result + bias.reshape(along) if bias is not None else result


def _native_group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    batch: int,
    channels: int,
    size: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, None, None]:
    return _group_norm(x, groups, weight, bias, eps), None, None
