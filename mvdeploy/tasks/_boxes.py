"""Boxes: where priors lie, what a network says of them, and which of them are detections."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from mvdeploy.tasks import detect

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Detections:
    """What is seen in one image, the surest first.

    Attributes:
        boxes: (n, 4): left, top, right, bottom, as shares of the image's width and height.
        scores: (n,), probabilities.
        classes: (n,), from 1; 0 is the background.
        priors: (n,), which of the priors each was made of.
    """

    boxes: Array
    scores: Array
    classes: Array
    priors: Array


@functools.lru_cache(maxsize=8)
def priors(image_size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return the priors of all maps, (priors, 4): centre x and y, width, height, in 0..1.

    They are the same for every image of a size, and cannot be written to.
    """
    scales = np.linspace(*detect.SCALES, len(detect.RATIOS) + 1)
    levels = []
    maps = detect.maps(image_size)
    for (height, width), ratios, small, next_small in zip(
        maps, detect.RATIOS, scales[:-1], scales[1:], strict=True
    ):
        large = (small * next_small) ** 0.5
        sides = [(small, small), (large, large)]
        for ratio in np.sqrt(ratios):
            sides += [(small * ratio, small / ratio), (small / ratio, small * ratio)]
        y, x = np.mgrid[:height, :width]
        centres = np.stack([(x + 0.5) / width, (y + 0.5) / height], -1).reshape(-1, 1, 2)
        cells = len(centres), len(sides), 2
        level = np.concatenate(
            [np.broadcast_to(centres, cells), np.broadcast_to(np.array(sides), cells)], -1
        )
        levels.append(level.reshape(-1, detect.COORDINATES))
    all_priors: npt.NDArray[np.float64] = np.concatenate(levels).clip(0, 1)
    all_priors.flags.writeable = False
    return all_priors


def decoded(raw: Array, anchors: Array) -> Array:
    """Return boxes (…, 4) by their sides, from what a network says of each prior."""
    centre_variance, size_variance = detect.VARIANCES
    centres = raw[..., :2] * centre_variance * anchors[:, 2:] + anchors[:, :2]
    grown = np.minimum(raw[..., 2:] * size_variance, detect.MOST_GROWN)
    halves = np.exp(grown) * anchors[:, 2:] / 2
    return np.concatenate([centres - halves, centres + halves], -1)


def probabilities(scores: Array) -> Array:
    """Return the softmax over the classes, the last axis."""
    grown = np.exp(scores - scores.max(-1, keepdims=True))
    shares: Array = grown / grown.sum(-1, keepdims=True)
    return shares


def overlaps(box: Array, others: Array) -> Array:
    """Return the intersection over the union of one box with others, (n,)."""
    shared = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = shared.clip(0).prod(-1)
    both = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(-1) - common
    ratios: Array = common / np.maximum(both, np.finfo(np.float64).tiny)
    return ratios


def detections(boxes: Array, shares: Array, least: float = detect.LEAST_SCORE) -> Detections:
    """Choose among boxes by non-maximum suppression, class by class.

    Args:
        boxes: (priors, 4) by their sides.
        shares: (priors, classes), probabilities.
        least: what a detection has to score.
    """
    kept: list[tuple[int, int]] = []
    for number in range(1, shares.shape[1]):
        (left,) = np.nonzero(shares[:, number] > least)
        left = left[np.argsort(-shares[left, number], kind="stable")]
        of_class = 0
        while left.size and of_class < detect.MOST:
            best, left = left[0], left[1:]
            kept.append((best, number))
            of_class += 1
            left = left[overlaps(boxes[best], boxes[left]) <= detect.MOST_OVERLAP]
    chosen, classes = np.array(kept, dtype=np.int64).reshape(-1, 2).T
    scores = shares[chosen, classes]
    order = np.argsort(-scores, kind="stable")[: detect.MOST]
    chosen, classes = chosen[order], classes[order]
    return Detections(boxes[chosen], scores[order], classes, chosen)


@dataclasses.dataclass(frozen=True)
class _Seen:
    """One image as a network sees it: boxes by their sides, probabilities, detections."""

    boxes: Array
    shares: Array
    found: Detections

    @property
    def chosen(self) -> set[tuple[int, int]]:
        """Prior and class of every detection."""
        return set(zip(self.found.priors.tolist(), self.found.classes.tolist(), strict=True))

    @property
    def least(self) -> float:
        """The score that a detection needs to be among them where there is no room for all."""
        full = len(self.found.scores) == detect.MOST
        return float(self.found.scores[-1]) if full else 0.0


def seen(raw: Array, scores: Array, anchors: Array, least: float = detect.LEAST_SCORE) -> _Seen:
    """Return what a network's outputs of one image, (priors, 4) and (priors, classes), say."""
    boxes = decoded(raw.astype(np.float64), anchors)
    shares = probabilities(scores.astype(np.float64))
    return _Seen(boxes, shares, detections(boxes, shares, least))


def tied(wanted: _Seen, got: _Seen, rounded: _Seen) -> bool:
    """Say whether rounding alone may make the one detections of the other.

    Every detection that only one of them has must be one that rounding may decide: its score is as
    near to a limit, or to that of a box that it competes with, or the overlap of the two is as near
    to its limit, as twice what rounding moves them by; or it competes with one of these.
    """
    moved = 2 * float(np.abs(wanted.shares - rounded.shares).max())
    differing = wanted.chosen ^ got.chosen
    limits = [detect.LEAST_SCORE, *filter(None, (wanted.least, got.least))]
    explained = {
        (prior, number)
        for prior, number in differing
        if any(abs(wanted.shares[prior, number] - limit) <= moved for limit in limits)
        or _contested(prior, number, wanted, rounded, moved)
    }
    while True:
        more = {
            one
            for one in differing - explained
            if any(one[1] == other[1] and _compete(one[0], other[0], wanted) for other in explained)
        }
        if not more:
            return explained == differing
        explained |= more


def _compete(prior: int, other: int, wanted: _Seen) -> bool:
    return bool(
        overlaps(wanted.boxes[prior], wanted.boxes[[other]])[0] > detect.MOST_OVERLAP - 1e-3
    )


def _contested(prior: int, number: int, wanted: _Seen, rounded: _Seen, moved: float) -> bool:
    """Say whether rounding may put another box of the class before one, or beside it."""
    scores = wanted.shares[:, number]
    (rivals,) = np.nonzero(scores >= max(scores[prior], detect.LEAST_SCORE) - moved)
    rivals = rivals[rivals != prior]
    before = overlaps(wanted.boxes[prior], wanted.boxes[rivals])
    after = overlaps(rounded.boxes[prior], rounded.boxes[rivals])
    shift = 2 * np.abs(before - after).max(initial=0.0)
    beside = np.abs(before - detect.MOST_OVERLAP) <= shift
    level = np.abs(scores[rivals] - scores[prior]) <= moved
    return bool((beside | (level & (before > detect.MOST_OVERLAP - shift))).any())
