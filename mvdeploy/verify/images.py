"""Photographs for programs that take images instead of tensors: 8 bits, the channels last."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mvdeploy.records import Artifact, Preprocessing

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def takes_images(artifact: Artifact) -> bool:
    """Say whether an artifact takes images."""
    return artifact.inputs[0].dtype == "uint8"


def pixels(tensor: Array, rule: Preprocessing) -> Pixels:
    """Return the image that a tensor was made of, as near as 8 bits come.

    Args:
        tensor: (1, 3, H, W), as the network is fed.
        rule: how images become such tensors.

    Returns:
        (H, W, 3), red first.
    """
    channels = tensor[0].transpose(1, 2, 0) * np.asarray(rule.std) + np.asarray(rule.mean)
    whole = np.rint(channels / rule.scale).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(whole[..., ::-1] if rule.channel_order == "BGR" else whole)


def tensor(image: Pixels, rule: Preprocessing) -> Array:
    """Return what a network is fed of an image (H, W, 3), red first: (1, 3, H, W)."""
    ordered = image[..., ::-1] if rule.channel_order == "BGR" else image
    scaled = (ordered * rule.scale - np.asarray(rule.mean)) / np.asarray(rule.std)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], dtype=np.float32)


def rounded(inputs: Mapping[str, Array], rule: Preprocessing) -> dict[str, Array]:
    """Return inputs as they are once they have been images of 8 bits."""
    return {name: tensor(pixels(x, rule), rule) for name, x in inputs.items()}
