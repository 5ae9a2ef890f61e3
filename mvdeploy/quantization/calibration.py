"""Scales of tensors, from what passes through a network on images."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx
from torch.export import ExportedProgram

from mvdeploy.errors import UsageError
from mvdeploy.quantization import Target, ranges, running
from mvdeploy.quantization.places import Places, is_sigmoid
from mvdeploy.records.quantized import CalibrationSet, Scale

if TYPE_CHECKING:
    from torch import Tensor

Feeds = Callable[[], Iterable[tuple["Tensor", ...]]]
"""Gives what the network is fed, one inference after the other; twice the same."""

SIGMOID = 1 / 256
"""Scale of a sigmoid's result, whose range is known."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What scales are taken from.

    Attributes:
        feeds: see above.
        source: what they are, in words.
        method: see `ranges`.
        percentile: see `ranges`.
        provisional: they are no images of the network's own kind.
    """

    feeds: Feeds
    source: str
    method: str = "percentile"
    percentile: float = 99.99
    provisional: bool = False

    def described(self) -> CalibrationSet:
        """Return what a manifest says of it."""
        digest, images = hashlib.sha256(), 0
        for feed in self.feeds():
            images += feed[0].shape[0] if feed and feed[0].dim() else 1
            for tensor in feed:
                digest.update(tensor.numpy().tobytes())
        exact = f" {self.percentile:g}" if self.method == "percentile" else ""
        return CalibrationSet(
            self.source, images, digest.hexdigest(), self.method + exact, self.provisional
        )


def scales(
    program: ExportedProgram, places: Places, target: Target, calibration: Calibration
) -> dict[str, Scale]:
    """Return the scales of all tensors that are quantised, by the names of what makes them.

    Raises:
        UsageError: a number is not finite, or none of half precision where that is needed.
    """
    watched = places.values
    histograms = _counted(program, watched, calibration)
    limits = {
        node: ranges.chosen(seen, calibration.method, calibration.percentile)
        for node, seen in histograms.items()
    }
    for group in places.shared:
        inside = [limits[node] for node in group if node in limits]
        whole = (min(low for low, _ in inside), max(high for _, high in inside))
        limits |= {node: whole for node in group if node in limits}
    found = {node.name: _scale(node, limits[node], target) for node in watched}
    return found


def _scale(node: fx.Node, limits: tuple[float, float], target: Target) -> Scale:
    if is_sigmoid(node):
        return Scale(SIGMOID, target.least)
    largest = max(map(abs, limits))
    if target.half and largest > ranges.LARGEST_HALF:
        raise UsageError(
            f"'{node.name}' computes numbers up to {largest:.1e}, and half precision ends at "
            f"{ranges.LARGEST_HALF:.0f}.",
            "Check the weights, or give a --format whose floats are in single precision.",
        )
    chosen = ranges.symmetric if target.symmetric else ranges.scale
    step, zero = chosen(*limits, target.least, target.most)
    return Scale(ranges.halved(step) if target.half else step, zero)


def _counted(
    program: ExportedProgram, watched: Sequence[fx.Node], calibration: Calibration
) -> dict[fx.Node, ranges.Histogram]:
    """Return a histogram of each tensor: the limits first, then what lies between them."""
    by_name = {node.name: node for node in watched}
    limits: dict[str, tuple[float, float]] = {}

    def span(node: fx.Node, value: Any) -> Any:
        if node.name in by_name:
            low, high = map(float, torch.aminmax(value.detach()))
            if not np.isfinite((low, high)).all():
                raise UsageError(
                    f"'{node.name}' computes numbers that are not finite on the images that "
                    "scales are taken from.",
                    "Check the weights, and how the images are fed.",
                )
            before = limits.get(node.name, (low, high))
            limits[node.name] = min(low, before[0]), max(high, before[1])
        return value

    for feed in calibration.feeds():
        running.run(program, feed, span)
    found = {name: ranges.Histogram(*limits[name]) for name in by_name}

    def count(node: fx.Node, value: Any) -> Any:
        if node.name in found:
            seen = found[node.name]
            top = seen.high if seen.high > seen.low else seen.low + 1
            counts = torch.histc(value.detach(), ranges.BINS, seen.low, top)
            seen.counts += counts.double().numpy()
        return value

    if calibration.method != "min-max":
        for feed in calibration.feeds():
            running.run(program, feed, count)
    return {by_name[name]: seen for name, seen in found.items()}
