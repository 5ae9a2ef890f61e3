"""Weights that programs hold in fewer bits, while they compute in half precision.

Weights of convolutions and linear layers are a program's bulk; what is small stays in half.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from mvdeploy.precisions import LARGE, Precision, fp16

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from torch import Tensor

    Array = npt.NDArray[Any]


def palette(bits: int, min_snr_db: float) -> Precision:
    """Return the precision whose weights are indices into a table of ``2**bits`` values each.

    Args:
        bits: of an index.
        min_snr_db: see `Precision`.
    """

    def table(weight: Array) -> tuple[Array, Array]:
        return nearest_values(weight, 2**bits)

    def nearest(weight: Array, axis: int) -> Array:
        values, indices = table(weight)
        return values[indices].reshape(weight.shape)

    kept = stored(nearest)
    return Precision(
        name=f"palette{bits}",
        label=f"palette{bits}",
        title=f"half precision with weights of {2**bits} values",
        sure_db=fp16.PRECISION.sure_db,
        min_snr_db=min_snr_db,
        rounding=fp16.halved(kept),
        stored=kept,
        table=table,
        compresses=True,
        formats=("coreml",),
    )


def stored(compressed: Callable[[Array, int], Array]) -> Callable[[Tensor, int], Tensor]:
    """Return what makes of a weight what a program holds: in half, and compressed if it is large.

    Args:
        compressed: a large weight in half, and the axis of its output channels → what its
            compressed form stands for.
    """

    def kept(weight: Tensor, axis: int) -> Tensor:
        import torch

        halves = weight.half()
        if weight.ndim < 2 or weight.numel() <= LARGE:
            return halves
        return torch.from_numpy(compressed(halves.numpy(), axis))

    return kept


def nearest_values(weight: Array, count: int) -> tuple[Array, Array]:
    """Return the values that are nearest to a weight's numbers in the mean square, and which is.

    Returns:
        `count` values in order, of the weight's type; and indices into them, as many as the weight
        has numbers.
    """
    import numpy as np

    distinct, which, times = np.unique(weight, return_inverse=True, return_counts=True)
    values, of_distinct = distinct.astype(np.float64), np.arange(len(distinct))
    if len(distinct) > count:
        values, of_distinct = _clusters(values.tobytes(), times.astype(float).tobytes(), count)
    padded = np.concatenate([values, np.full(count - len(values), values[-1])])
    return padded.astype(weight.dtype), of_distinct[which.ravel()].astype(np.uint8)


@functools.lru_cache(maxsize=1024)
def _clusters(values: bytes, times: bytes, count: int) -> tuple[Array, Array]:
    """Return the best centres of numbers on a line, and the cluster of each.

    On a line the best ones can be found, whatever the start. It takes its time, and a comparison
    needs those of all weights again: they are kept.
    """
    import numpy as np

    from mvdeploy.quiet import quiet

    with quiet():
        from coremltools._deps import _kmeans1d

    found = _kmeans1d.cluster(np.frombuffer(values), count, weights=np.frombuffer(times))
    clusters, centres = map(np.asarray, found)
    return centres, clusters
