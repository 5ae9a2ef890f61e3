"""Inputs that an export is checked on."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mvdeploy.records import Preprocessing, TensorInfo

Array = npt.NDArray[Any]
Image = npt.NDArray[np.float32]

Feed = Mapping[str, Array]
"""Inputs of one inference by name, in the order in which the network takes them."""

BATCHES = (2, 3)
"""Numbers of images, besides one, that an artifact is fed which takes any."""

Feeds = Mapping[str, Feed]
"""Several, each by a name such as ``photograph``; the first is the one to look closely at."""


def feeds(
    inputs: Sequence[TensorInfo], rule: Preprocessing, photograph: Feed, seed: int = 0
) -> dict[str, Feed]:
    """Return what a network is checked on.

    Args:
        inputs: of the network, with whole numbers in the shapes.
        rule: how images are fed.
        photograph: what a photograph is for each input that takes images; empty if none does.
        seed: of noise and of the values of other inputs.

    Returns:
        With images, a photograph and images that differ as much as they can; without, seeded
        values and the extremes of each input.
    """
    photograph = {name: _different(x) for name, x in photograph.items()}
    images = {name: synthetic(x.shape, seed) for name, x in photograph.items()}
    kinds = tuple(next(iter(images.values()))) if images else ("noise", "least", "most")
    return {
        **({"photograph": _whole(inputs, photograph, "noise", seed)} if images else {}),
        **{
            kind: _whole(
                inputs,
                {name: normalised(found[kind], rule) for name, found in images.items()},
                kind if not images else "noise",
                seed + number,
            )
            for number, kind in enumerate(kinds, start=1)
        },
    }


def several(feeds: Feeds, count: int, inputs: Sequence[TensorInfo]) -> Feed:
    """Return a feed of several different images: the first of each of as many feeds.

    Args:
        feeds: of one image or more.
        count: how many images.
        inputs: of the artifact; only those with a dimension for the images are changed.
    """
    chosen = [feed for _, feed in zip(range(count), itertools.cycle(feeds.values()), strict=False)]
    return {
        tensor.name: (
            np.concatenate([feed[tensor.name][:1] for feed in chosen])
            if tensor.shape
            else chosen[0][tensor.name]
        )
        for tensor in inputs
    }


def with_batches(feeds: Feeds, inputs: Sequence[TensorInfo]) -> Feeds:
    """Return feeds, and those of other numbers of images for an artifact that takes any.

    Args:
        feeds: of one image, by name.
        inputs: of the artifact; a dimension that is free has a name.
    """
    if not any(isinstance(size, str) for tensor in inputs for size in tensor.shape):
        return feeds
    more = {f"{count} images": several(feeds, count, inputs) for count in BATCHES}
    return {**feeds, **more}


def seeded(inputs: Sequence[TensorInfo], seed: int = 0) -> Feed:
    """Return seeded noise for every input; images are in 0..1."""
    return _whole(inputs, {}, "noise", seed)


def whole(inputs: Sequence[TensorInfo], images: Feed, seed: int) -> Feed:
    """Return images with seeded values for all other inputs."""
    return _whole(inputs, images, "noise", seed)


def _whole(inputs: Sequence[TensorInfo], images: Feed, kind: str, seed: int) -> Feed:
    """Return images with values for all other inputs."""
    return {
        tensor.name: images[tensor.name] if tensor.name in images else _values(tensor, kind, at)
        for at, tensor in enumerate(inputs, start=100 * seed)
    }


def _values(tensor: TensorInfo, kind: str, seed: int) -> Array:
    """Return values of an input that is no image."""
    low, high = tensor.values or (0.0, 1.0)
    dtype = np.dtype(tensor.dtype)
    shape = tuple(map(int, tensor.shape))
    if kind in ("least", "most"):
        return np.full(shape, low if kind == "least" else high, dtype)
    generator = np.random.default_rng(seed)
    if dtype.kind in "iub":
        return generator.integers(int(low), int(high), shape, endpoint=True).astype(dtype)
    return generator.uniform(low, high, shape).astype(dtype)


def normalised(image: Image, rule: Preprocessing) -> Image:
    """Return what a network is fed of an image with values 0..1, channels in its order."""
    count = image.shape[-3]  # an image in shades of grey has one channel
    mean, std = (np.array(value, np.float32)[:count, None, None] for value in (rule.mean, rule.std))
    return ((image * np.float32(255 * rule.scale) - mean) / std).astype(np.float32)


def synthetic(shape: tuple[int, ...], seed: int = 0) -> dict[str, Image]:
    """Return images in 0..1 that differ as much as they can: noise and the extremes.

    Args:
        shape: (batch, channels, height, width).
        seed: of the noise.
    """
    noise = np.random.default_rng(seed).random(shape, dtype=np.float32)
    ramp = np.linspace(0, 1, shape[-1], dtype=np.float32)
    return {
        "noise": noise,
        "ramp": _different(np.ascontiguousarray(np.broadcast_to(ramp, shape))),
        "black": np.zeros(shape, np.float32),
        "white": np.ones(shape, np.float32),
    }


def _different(images: Image) -> Image:
    """Return the images of a batch made different: each is shifted by another part of its width."""
    width = images.shape[-1]
    shifted = (np.roll(x, width * i // len(images), -1) for i, x in enumerate(images))
    return np.stack(list(shifted))
