"""The range that 256 numbers are spread over, from a histogram of what passed through a tensor.

A range that holds the largest number ever seen gives all others coarse steps; one that is too
narrow cuts off what matters. Ways to choose:

``percentile``
    the range that holds a share of all numbers, as much cut off below as above (as in ONNX
    Runtime's calibration). 99.99 % costs MobileViT the least noise of those tried.
``entropy``
    the range whose 256 steps lose the least information (Kullback and Leibler), the limits moved
    towards zero together (Migacz, 8-bit Inference with TensorRT, 2017).
``min-max``
    all of it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from mvdeploy.quantization import PERCENTILE

BINS = 8192
"""Of a histogram: 32 to a step of 256."""

STEPS = 256

_SMALLEST = 1e-36
"""Of a scale."""

_OF_ZEROS = 1 / 256
"""Scale of a tensor of zeros: engines divide by it, and refuse what comes of a very small one."""

LARGEST_HALF = float(np.finfo(np.float16).max)
"""The largest number of half precision."""

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass
class Histogram:
    """How often which numbers were seen.

    Attributes:
        low: the least.
        high: the largest.
        counts: in `BINS` equal parts between them.
    """

    low: float
    high: float
    counts: Floats = dataclasses.field(default_factory=lambda: np.zeros(BINS))

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count numbers; those outside count with the nearest inside."""
        inside = np.clip(values.ravel(), self.low, self.high)
        span = (self.low, self.high) if self.high > self.low else (self.low, self.low + 1)
        self.counts += np.histogram(inside, BINS, span)[0]

    @property
    def edges(self) -> Floats:
        """Where the parts begin, and the last ends."""
        return np.linspace(self.low, self.high, BINS + 1)


def chosen(
    histogram: Histogram, method: str, percentile: float = PERCENTILE
) -> tuple[float, float]:
    """Return the least and the largest number that are told apart.

    Args:
        histogram: of what was seen.
        method: one of `mvdeploy.quantization.METHODS`.
        percentile: share of the numbers that the range holds, in percent.
    """
    total = histogram.counts.sum()
    if method == "min-max" or total == 0 or histogram.high <= histogram.low:
        return histogram.low, histogram.high
    if method == "entropy":
        return _least_divergent(histogram)
    cut = total * (100 - percentile) / 200
    below = np.cumsum(histogram.counts)
    edges = histogram.edges
    first = int(np.searchsorted(below, cut, side="right"))
    last = int(np.searchsorted(below, total - cut, side="left"))
    return float(edges[min(first, BINS - 1)]), float(edges[min(last, BINS - 1) + 1])


def scale(low: float, high: float, least: int, most: int) -> tuple[float, int]:
    """Return the scale and zero point with which numbers from `low` to `high` are whole ones.

    Zero is one of them exactly: padding and clamps make it.

    Args:
        low: of the range.
        high: of the range.
        least: whole number.
        most: whole number.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    step = max((high - low) / (most - least), _SMALLEST) if high > low else _OF_ZEROS
    step = float(np.float32(step))
    zero = min(max(round(least - low / step), least), most)
    return step, zero


def symmetric(low: float, high: float, least: int, most: int) -> tuple[float, int]:
    """Return a scale and zero point like `scale`, the zero point in the middle.

    Where nothing is negative it is the least number, and none is left without use.
    """
    if low >= 0:
        return scale(0.0, high, least, most)
    reach = max(-low, high)
    step, _ = scale(-reach, reach, least + 1, most)
    return step, (least + most + 1) // 2


def halved(step: float) -> float:
    """Return a scale as half precision has it: the nearest number that no engine takes for 0."""
    return float(np.float16(max(step, float(np.finfo(np.float16).smallest_normal))))


def _least_divergent(histogram: Histogram) -> tuple[float, float]:
    edges = histogram.edges
    reach = max(abs(histogram.low), abs(histogram.high))
    best, limits = np.inf, (histogram.low, histogram.high)
    for share in np.linspace(0.1, 1.0, 91):
        low, high = max(histogram.low, -share * reach), min(histogram.high, share * reach)
        first = max(int(np.searchsorted(edges, low, side="right")) - 1, 0)
        last = min(int(np.searchsorted(edges, high, side="left")), BINS)
        if last - first < STEPS:
            continue
        found = _divergence(histogram.counts, first, last)
        if found < best:
            best, limits = found, (float(edges[first]), float(edges[last]))
    return limits


def _divergence(counts: Floats, first: int, last: int) -> float:
    """Return what is lost if counts outside of a range join its ends, and it has `STEPS` steps."""
    kept = counts[first:last]
    wanted = kept.copy()
    wanted[0] += counts[:first].sum()
    wanted[-1] += counts[last:].sum()
    step = np.minimum(np.arange(len(kept)) * STEPS // len(kept), STEPS - 1)
    sums = np.bincount(step, kept, STEPS)
    filled = np.bincount(step, kept > 0, STEPS)
    got = np.where(kept > 0, (sums / np.maximum(filled, 1))[step], 0.0)
    if wanted.sum() == 0 or got.sum() == 0:
        return float(np.inf)
    p, q = wanted / wanted.sum(), got / got.sum()
    seen = p > 0
    # What falls where nothing was kept costs as much as the rarest there is.
    q = np.maximum(q, 0.5 / wanted.sum())
    return float((p[seen] * np.log(p[seen] / q[seen])).sum())
