"""What a program is fed for what its network is fed: images in the form that the program takes.

A network takes images as float32, the channels first. A program may take them as numbers of 8 bits,
as halves, or with the channels last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mvdeploy.records import Artifact, Preprocessing, TensorInfo

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Feed = Mapping[str, npt.NDArray[Any]]

_PICTURES = "coreml"
"""Format whose uint8 inputs are single pictures (H, W, 3), not tensors."""


def takes_images(artifact: Artifact) -> bool:
    """Say whether an artifact takes images of 8 bits, to which what is fed has to be rounded."""
    return any(info.dtype == "uint8" and info.is_image for info in artifact.inputs)


def are_pictures(format_name: str) -> bool:
    """Say whether programs of a format take bytes of single pictures (H, W, 3), not tensors."""
    return format_name == _PICTURES


def fed(artifact: Artifact, feed: Feed) -> dict[str, npt.NDArray[Any]]:
    """Return what an engine is given for what the network is given, under the program's names."""
    pairs = zip(artifact.inputs, feed.values(), strict=True)
    return {info.name: _as_program(artifact, info, array) for info, array in pairs}


def unfed(artifact: Artifact, inputs: Feed) -> dict[str, npt.NDArray[Any]]:
    """Return what the network is given for what an engine is given."""
    return {info.name: _as_network(artifact, info, inputs[info.name]) for info in artifact.inputs}


def rounded(artifact: Artifact, feed: Feed) -> dict[str, npt.NDArray[Any]]:
    """Return what the network is given once it has been in the form that the program takes."""
    return dict(zip(feed, unfed(artifact, fed(artifact, feed)).values(), strict=True))


def _as_program(artifact: Artifact, info: TensorInfo, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not info.is_image:
        return array.astype(info.dtype, copy=False)  # a format may lack the network's own type
    if info.dtype == "uint8":
        each = [pixels(image[None], artifact.preprocessing) for image in array]
        if artifact.format == _PICTURES:
            return each[0]
        array = np.stack(each).transpose(0, 3, 1, 2)
    last = info.layout == "NHWC"
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1) if last else array, dtype=info.dtype)


def _as_network(artifact: Artifact, info: TensorInfo, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not info.is_image:
        own = {tensor.name: tensor.dtype for tensor in artifact.spec.inputs}
        return array.astype(own.get(info.name, array.dtype), copy=False)
    if artifact.format == _PICTURES and info.dtype == "uint8":
        return tensor(array, artifact.preprocessing)
    if info.layout == "NHWC":
        array = array.transpose(0, 3, 1, 2)
    if info.dtype == "uint8":
        each = [tensor(image.transpose(1, 2, 0), artifact.preprocessing) for image in array]
        return np.concatenate(each)
    return np.ascontiguousarray(array, dtype=np.float32)


def pixels(tensor: Array, rule: Preprocessing) -> Pixels:
    """Return the image that a tensor was made of, as near as 8 bits come.

    Args:
        tensor: (1, C, H, W), as the network is fed.
        rule: how images become such tensors.

    Returns:
        (H, W, C), red first.
    """
    std, mean = (np.asarray(value)[: tensor.shape[1]] for value in (rule.std, rule.mean))
    channels = tensor[0].transpose(1, 2, 0) * std + mean
    whole = np.rint(channels / rule.scale).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(whole[..., ::-1] if rule.channel_order == "BGR" else whole)


def tensor(image: Pixels, rule: Preprocessing) -> Array:
    """Return what a network is fed of an image (H, W, C), red first: (1, C, H, W)."""
    ordered = image[..., ::-1] if rule.channel_order == "BGR" else image
    std, mean = (np.asarray(value)[: image.shape[-1]] for value in (rule.std, rule.mean))
    scaled = (ordered * rule.scale - mean) / std
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], dtype=np.float32)
