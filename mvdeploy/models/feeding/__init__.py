"""How images are fed: what is said of a checkpoint, and what is asked for instead."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from mvdeploy.errors import UsageError
from mvdeploy.files import reading
from mvdeploy.plugins import unknown
from mvdeploy.records import Preprocessing
from mvdeploy.records.spec import CHANNEL_ORDERS, INTERPOLATIONS, ImageChanges, ImageRule

MOST_PIXELS = 178_956_970
"""Of a resized image; more is refused in files too (it is Pillow's limit)."""

LEAST = 1e-6
"""What values are scaled by and divided by is no smaller: float32 has to hold what comes of it."""


@dataclasses.dataclass(frozen=True)
class Feed:
    """What a network is fed.

    Attributes:
        channel_order: ``RGB`` or ``BGR``.
        images: the rest of the preprocessing.
        image_size: height and width of the network's input, pixels; None if not said.
    """

    channel_order: str
    images: ImageRule
    image_size: tuple[int, int] | None = None


def steps(feed: Feed, image_size: tuple[int, int]) -> Preprocessing:
    """Return the steps for an input of a size (height, width)."""
    rule = feed.images
    sides = (min(image_size),) * 2 if rule.fit == "shortest" else image_size
    return Preprocessing(
        resize=(rule.resized(sides[0]), rule.resized(sides[1])),
        crop=image_size,
        interpolation=rule.interpolation,
        channel_order=feed.channel_order,
        scale=rule.scale,
        mean=rule.mean,
        std=rule.std,
        fit="stretch" if rule.fit == "stretch" else "cover",
        rounding=rule.rounding,
    )


def changed(steps: Preprocessing, changes: ImageChanges) -> Preprocessing:
    """Return the steps with what is asked for instead.

    Raises:
        UsageError: there is no such filter or channel order, or a number is out of range.
    """
    asked = {name: value for name, value in vars(changes).items() if value is not None}
    share = asked.pop("crop", None)
    if share is not None:
        if not 0 < share <= 1:
            raise UsageError(
                f"A crop of {share:g} is no share of an image.",
                "Give more than 0 and at most 1, as in --crop 0.875; 1 crops nothing of a square.",
            )
        height, width = steps.crop
        asked["resize"] = (math.floor(height / share), math.floor(width / share))
    _check(changes, 255 * steps.scale)
    steps = dataclasses.replace(steps, **asked)
    rows, columns = steps.resize
    if rows * columns > MOST_PIXELS:
        raise UsageError(
            f"Images would be resized to {rows}x{columns}, which is more than {MOST_PIXELS:,} "
            "pixels.",
            "Give a larger --crop, as in --crop 0.875, or a smaller --image-size.",
        )
    return steps


def _check(changes: ImageChanges, brightest: float) -> None:
    """Refuse what no image is fed by; `brightest` is what white is scaled to."""
    for what, known, asked in (
        ("interpolation", INTERPOLATIONS, changes.interpolation),
        ("channel order", CHANNEL_ORDERS, changes.channel_order),
    ):
        if asked is not None and asked not in known:
            raise unknown(what, asked, known)
    mean, std = changes.mean or (), changes.std or ()
    if any(value <= 0 for value in std):
        raise UsageError("A standard deviation is not above 0.", "Give --std positive numbers.")
    if any(value < LEAST for value in std):
        raise UsageError(
            f"A standard deviation of {min(std):g} is less than any images have.",
            "Give --std the numbers that the network was trained with.",
        )
    beyond = next((value for value in (*mean, *std) if abs(value) > brightest), None)
    if beyond is not None:
        raise UsageError(
            f"{beyond:g} is more than any pixel has: they are scaled to 0..{brightest:g} first.",
            f"Give --mean and --std for such values: {beyond:g} of 0..255 is "
            f"{beyond / 255 * brightest:.4g}.",
        )


def describe(steps: Preprocessing) -> str:
    """Say in words how images are fed."""
    height, width = steps.resize
    if steps.fit == "stretch":
        resized = f"stretched to {height}x{width}"
    elif height == width:
        resized = f"shorter side to {height}"
    else:
        resized = f"resized to cover {height}x{width}"
    parts = [steps.channel_order, f"{resized} ({steps.interpolation})"]
    if steps.fit != "stretch" or steps.crop != steps.resize:
        parts.append(f"centre {steps.crop[0]}x{steps.crop[1]}")
    white = 255 * steps.scale
    parts.append(f"values 0..{white:g}")
    if any(steps.mean) or set(steps.std) != {1.0}:
        parts.append(f"mean {_numbers(steps.mean)}, std {_numbers(steps.std)}")
    return ", ".join(parts)


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.4g}" for value in (values if len(set(values)) > 1 else values[:1]))


def read_settings(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        UsageError: the file holds none.
    """
    try:
        settings = json.loads(reading.text(file, what="a settings file", encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not valid JSON ({error}).", "Fetch it again.") from error
    if not isinstance(settings, dict):
        raise UsageError(f"{file} holds no JSON object.", "Fetch it again.")
    return settings
