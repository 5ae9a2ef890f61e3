"""Settings of timm: a ``pretrained_cfg``, as networks have it and ``config.json`` of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mvdeploy.errors import UsageError
from mvdeploy.models.feeding import LEAST, Feed
from mvdeploy.records.spec import INTERPOLATIONS, Channels, ImageRule
from mvdeploy.text_format import elide

KEY = "pretrained_cfg"
"""Entry of a folder's config.json."""

_DEFAULTS: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
_FITS = {"center": "cover", "squash": "stretch"}
"""Crop modes that are followed; 'border' pads images with the mean colour."""


def read(settings: Mapping[str, Any], source: object) -> Feed:
    """Return what images are fed by a ``pretrained_cfg``, as timm's own transforms do it.

    Args:
        settings: its content; timm's defaults hold for what it does not say.
        source: a file or the name of a network, for messages.

    Raises:
        UsageError: images are prepared in a way that mvdeploy does not know.
    """
    # Like timm, which takes null, 0 and nothing for not said.
    own = {**_DEFAULTS, **{key: value for key, value in settings.items() if value}}
    size, share = own["input_size"], own["crop_pct"]
    if not _numbers(size) or size[0] != 3 or any(int(side) != side or side < 1 for side in size):
        raise _unknown(source, "input_size", size)
    if not _is_number(share) or not 0 < share <= 1:
        raise _unknown(source, "crop_pct", share)
    for key, known in (("interpolation", INTERPOLATIONS), ("crop_mode", _FITS)):
        if not isinstance(own[key], str) or own[key] not in known:
            raise _unknown(source, key, own[key])
    rule = ImageRule(
        crop_share=float(share),
        margin=0,
        interpolation=own["interpolation"],
        fit=_FITS[own["crop_mode"]],
        mean=_channels(own, "mean", source),
        std=_channels(own, "std", source),
        rounding="timm",
    )
    if min(rule.std) < LEAST:
        raise _unknown(source, "std", own["std"])
    return Feed("RGB", rule, (int(size[1]), int(size[2])))


def _channels(own: Mapping[str, Any], key: str, source: object) -> Channels:
    values = own[key]
    if not _numbers(values):
        raise _unknown(source, key, values)
    return float(values[0]), float(values[1]), float(values[2])


def _numbers(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_number, value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


def _unknown(source: object, key: str, value: object) -> UsageError:
    return UsageError(
        f"{source} cannot be followed: '{key}' is {elide(repr(value), 200)}.",
        "Say how images are fed with --mean, --std, --crop and --interpolation.",
    )
